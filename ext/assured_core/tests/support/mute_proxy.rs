//! Stands between an engine and Redis, and turns connections into black holes: they stay open, and nothing comes
//! through any more, or only after a while.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// A port that leads to Redis.
pub struct MuteProxy {
    pub port: u16,
    opened: Arc<AtomicUsize>,
    mute_below: Arc<AtomicUsize>,
}

impl MuteProxy {
    /// Its threads end with the connections that they serve.
    pub fn to(target: u16) -> Self {
        Self::slow(target, Duration::ZERO)
    }

    /// Whatever is sent takes so long.
    pub fn slow(target: u16, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (opened, mute_below) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let proxy = Self { port, opened: Arc::clone(&opened), mute_below: Arc::clone(&mute_below) };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let number = opened.fetch_add(1, Ordering::SeqCst);
                // Refused when the test is over and its Redis gone: then so is the client.
                if let Ok(server) = TcpStream::connect(("127.0.0.1", target)) {
                    let ways = [
                        (client.try_clone().unwrap(), server.try_clone().unwrap()),
                        (server.try_clone().unwrap(), client.try_clone().unwrap()),
                    ];
                    for ((from, to), delay) in ways.into_iter().zip([delay, Duration::ZERO]) {
                        let mute_below = Arc::clone(&mute_below);
                        thread::spawn(move || {
                            copy(from, to, delay, || number < mute_below.load(Ordering::SeqCst))
                        });
                    }
                }
            }
        });
        proxy
    }

    /// Mutes all connections that are open, and the next `more`.
    pub fn mute(&self, more: usize) {
        self.mute_below.store(self.opened() + more, Ordering::SeqCst);
    }

    /// How many connections there have been.
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, delay: Duration, mute: impl Fn() -> bool) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(size @ 1..) = from.read(&mut buffer) {
        thread::sleep(delay);
        if !mute() && to.write_all(&buffer[..size]).is_err() {
            break;
        }
    }
    // A black hole does not tell that the other end has gone.
    if !mute() {
        let _ = to.shutdown(std::net::Shutdown::Both);
    }
}
