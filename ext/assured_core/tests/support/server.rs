//! A redis-server process on a free port of the loopback interface, without persistence.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Enough for one database per test.
const DATABASES: &str = "500";

pub struct RedisServer {
    port: u16,
    options: Vec<String>,
    process: Mutex<Child>,
}

impl RedisServer {
    pub fn start(options: &[&str]) -> Self {
        let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
        // Another process may be faster with a port that was free a moment ago.
        for _ in 0..5 {
            let port = free_port();
            if let Some(process) = launch(port, &options) {
                return Self { port, options, process: Mutex::new(process) };
            }
        }
        panic!("redis-server does not start; is it installed?");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn kill(&self) {
        let mut process = self.process.lock().unwrap();
        let _ = process.kill();
        let _ = process.wait();
    }

    pub fn start_again(&self) {
        *self.process.lock().unwrap() = launch(self.port, &self.options).expect("the port is still free");
    }

    pub fn signal(&self, signal: i32) {
        let pid = self.process.lock().unwrap().id();
        // SAFETY: the process is a child that was not waited for, so its id is not anybody else's.
        let failed = unsafe { libc::kill(pid.cast_signed(), signal) };
        assert_eq!(failed, 0, "signal {signal}");
    }

    pub fn connect(&self, db: i64) -> redis::Connection {
        let url = format!("redis://127.0.0.1:{}/{db}", self.port);
        redis::Client::open(url).unwrap().get_connection().unwrap()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The server once it answers; nothing if it ends before that.
fn launch(port: u16, options: &[String]) -> Option<Child> {
    let mut process = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--databases", DATABASES])
        .args(options)
        .current_dir(std::env::temp_dir())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if process.try_wait().unwrap().is_some() {
            return None;
        }
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        match client.get_connection() {
            Ok(_) => return Some(process),
            // The server answers, and wants a password.
            Err(error) if error.code().is_some() => return Some(process),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    let _ = process.kill();
    let _ = process.wait();
    None
}
