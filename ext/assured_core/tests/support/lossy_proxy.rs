//! Stands between an engine and Redis, and loses a reply when told to: the command was executed, and nobody
//! hears of it. Or it holds a reply back, as if whoever waits for it had been stopped.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use assured_core::payload::FLAG;

/// A port that leads to Redis.
pub struct LossyProxy {
    pub port: u16,
    lose: Arc<Mutex<Option<Vec<u8>>>>,
    hold: Arc<AtomicBool>,
}

/// How long the client waits for the lost reply.
const HELD: Duration = Duration::from_millis(200);

/// How often it is asked whether a reply that is held back may go.
const POLL: Duration = Duration::from_millis(2);

impl LossyProxy {
    /// Its threads end with the connections that they serve.
    pub fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let lose = Arc::new(Mutex::new(None));
        let hold = Arc::new(AtomicBool::new(false));
        let (shared, held) = (Arc::clone(&lose), Arc::clone(&hold));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Refused when the test is over and its Redis gone: then so is the client.
                if let Ok(server) = TcpStream::connect(("127.0.0.1", target)) {
                    connect(client, server, &shared, &held);
                }
            }
        });
        Self { port, lose, hold }
    }

    /// The next fetch is executed and its reply lost; the connection ends.
    pub fn lose_next_fetch(&self) {
        // Nothing but a fetch names the flag unescaped.
        self.lose_next(FLAG);
    }

    /// The same for the next request that contains `text`.
    pub fn lose_next(&self, text: &str) {
        *self.lose.lock().unwrap() = Some(text.into());
    }

    /// The same, but the connection stays, and the reply comes with [`LossyProxy::let_go`].
    pub fn hold_next_fetch(&self) {
        self.hold.store(true, Ordering::SeqCst);
        self.lose_next_fetch();
    }

    pub fn let_go(&self) {
        self.hold.store(false, Ordering::SeqCst);
    }

    /// Whether it has happened.
    pub fn has_lost(&self) -> bool {
        self.lose.lock().unwrap().is_none()
    }
}

fn connect(client: TcpStream, server: TcpStream, lose: &Arc<Mutex<Option<Vec<u8>>>>, hold: &Arc<AtomicBool>) {
    let cut = Arc::new(AtomicBool::new(false));
    let (from_client, to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (lose, hold, cutting) = (Arc::clone(lose), Arc::clone(hold), Arc::clone(&cut));
    thread::spawn(move || {
        copy(from_client, to_server, |bytes| {
            let mut lose = lose.lock().unwrap();
            let meant = |text: &mut Vec<u8>| bytes.windows(text.len()).any(|part| part == text);
            if lose.take_if(meant).is_some() {
                cutting.store(true, Ordering::SeqCst);
            }
            true
        });
    });
    thread::spawn(move || {
        copy(server, client, |_| {
            let cut = cut.load(Ordering::SeqCst);
            let mut held = false;
            while cut && hold.load(Ordering::SeqCst) {
                held = true;
                thread::sleep(POLL);
            }
            if cut && !held {
                thread::sleep(HELD);
            }
            !cut || held
        });
    });
}

/// Copies while `go_on` says so, then closes both ends.
fn copy(mut from: TcpStream, mut to: TcpStream, go_on: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        if !go_on(&buffer[..size]) || to.write_all(&buffer[..size]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
