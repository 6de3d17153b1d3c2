//! A real redis-server, and means to seed and compare whole key spaces.

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of this")]

mod sequences;
mod server;
mod space;

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use assured_core::Bytes;
use assured_core::error::Result;
use assured_core::identity::Identity;
use assured_core::password::Passwords;
use assured_core::settings::{Address, DeadSet, RedisDetails, Settings, Timestamps};
use assured_core::store::{Record, Return, Store};

pub use sequences::{Real, World, try_sequences};
pub use server::RedisServer;
pub use space::{Space, expiring, hash, list, ranked, record_of, set, shown, sorted, space, text};

/// How long a condition may take. Far above what a healthy run needs: the machine may be busy.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Registry entry of the instance under test.
pub const ENTRY: &str = r#"{"nonce":"mine"}"#;

/// What one test works on: a database of its own, so that its whole key space can be compared.
pub struct Redis {
    server: Arc<RedisServer>,
    db: i64,
    connection: redis::Connection,
}

impl Redis {
    /// An empty database of the server that the tests of this binary share.
    pub fn shared() -> Self {
        static SERVER: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());
        static LAST_DB: AtomicI64 = AtomicI64::new(0);

        let mut shared = SERVER.lock().unwrap_or_else(|poison| poison.into_inner());
        let server = shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(RedisServer::start(&[]));
            *shared = Arc::downgrade(&server);
            server
        });
        Self::on(server, LAST_DB.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// A server of one's own, for tests that disturb it.
    pub fn own() -> Self {
        Self::on(Arc::new(RedisServer::start(&[])), 0)
    }

    fn on(server: Arc<RedisServer>, db: i64) -> Self {
        let connection = server.connect(db);
        Self { server, db, connection }
    }

    /// Kills the server; a new, empty one takes its port when `back` is called.
    pub fn away(&mut self) {
        self.server.kill();
    }

    /// Starts a server, empty, on the port of the one that [`Redis::away`] killed.
    pub fn back(&mut self) {
        self.server.start_again();
        self.connection = self.server.connect(self.db);
    }

    /// Stops the server's process from running: connections stay open and nothing is answered.
    pub fn freeze(&self) {
        self.server.signal(libc::SIGSTOP);
    }

    /// Lets a frozen server run again.
    pub fn thaw(&self) {
        self.server.signal(libc::SIGCONT);
    }

    /// Another connection, for a command that takes long.
    pub fn connect(&self) -> redis::Connection {
        self.server.connect(self.db)
    }

    pub fn details(&self) -> RedisDetails {
        RedisDetails {
            address: Address::Tcp("127.0.0.1".into(), self.server.port()),
            tls: None,
            db: self.db,
            username: None,
            username_optional: false,
            password: None,
            client_name: None,
            connect_timeout: Duration::from_secs(2),
            read_timeout: Duration::from_secs(2),
            write_timeout: Duration::from_secs(2),
            key_prefix: String::new(),
        }
    }

    /// Settings of an instance with a nonce of its own.
    pub fn settings(&self) -> Settings {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let nonce = format!("n{}", LAST.fetch_add(1, Ordering::Relaxed));
        Settings {
            namespace: "ns".into(),
            instance_name: Some(format!("name-{nonce}")),
            hostname: "host".into(),
            pid: std::process::id(),
            nonce,
            version: "2".into(),
            heartbeat_interval: Duration::from_millis(200),
            // Long: on a busy machine nobody shall be declared dead by mistake. The dead are seeded.
            heartbeat_ttl: Duration::from_secs(4),
            death_grace: Duration::ZERO,
            recovery_lock_ttl: Duration::from_secs(5),
            track_timeout: Duration::from_secs(2),
            auto_recovery: true,
            max_recoveries: 3,
            dead_after: Duration::from_secs(60),
            assured_classes: Vec::new(),
            dead_set: DeadSet { max_jobs: 10_000, timeout: Duration::from_secs(180 * 24 * 3600) },
            timestamps: Timestamps::IntegerMillis,
            tracking: self.details(),
            queues: None,
            reserved_threads: 0,
            passwords: Arc::new(Passwords::new(Duration::from_secs(600))),
        }
    }

    pub fn store(&self) -> Store {
        Store::new(&self.settings(), "test")
    }

    /// Runs one command, given as words.
    pub fn run<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> T {
        self.run_bytes(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
    }

    /// The same with words that need not be text.
    pub fn run_bytes<T: redis::FromRedisValue>(&mut self, words: &[&[u8]]) -> T {
        let mut cmd = redis::Cmd::new();
        cmd.arg(words);
        cmd.query(&mut self.connection)
            .unwrap_or_else(|error| panic!("{}: {error}", words.join(&b' ').escape_ascii()))
    }

    /// Runs a command.
    pub fn call<T: redis::FromRedisValue>(&mut self, command: &redis::Cmd) -> T {
        command.query(&mut self.connection).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Writes keys.
    pub fn seed(&mut self, keys: &Space) {
        keys.write(&mut self.connection);
    }

    /// The whole key space of this database, but for what has tests of its own: the counters, the last beats, the name of
    /// the data.
    pub fn dump(&mut self) -> Space {
        Space::read(&mut self.connection).ignoring("ns:stats").ignoring("ns:beats").ignoring("ns:epoch")
    }

    /// One of the counters.
    pub fn counter(&mut self, name: &str) -> u64 {
        self.run::<Option<u64>>(&["HGET", "ns:stats", name]).unwrap_or(0)
    }

    /// Length of a queue.
    pub fn queued(&mut self, queue: &str) -> usize {
        self.run(&["LLEN", &format!("queue:{queue}")])
    }

    /// What is left of an instance once the verdict has fallen.
    pub fn mark_dead(&mut self, id: &str) {
        self.run::<()>(&["DEL", &format!("ns:instance:{id}")]);
        self.run::<()>(&["HSET", "ns:beats", id, "expired"]);
    }

    /// The verdict of somebody who finds an instance dead; false where it has beaten at that very moment.
    pub fn declare_dead(&mut self, id: &str) -> bool {
        let mut judge = self.store();
        let seen = judge.look().unwrap().into_iter().find(|seen| seen.id == id.as_bytes());
        seen.is_some_and(|seen| judge.expire(&seen).unwrap())
    }

    /// Waits until a condition on this database holds.
    pub fn until(&mut self, mut condition: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "never came; now it is {:#?}", self.dump());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Waits until `condition` holds.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The instance under test.
pub fn identity(id: &str) -> Identity {
    Identity { id: id.into(), entry: ENTRY.into() }
}

/// An attempt to record.
pub fn record(name: &str, spare: &str, payload: &str) -> Record {
    Record { name: name.into(), spare: spare.into(), text: payload.into() }
}

/// A record on its way into the queue `q`.
pub fn to_queue(name: &str, payload: &str) -> Return {
    Return { name: name.into(), queue: b"q".to_vec(), payload: payload.into() }
}

/// Names as the store wants them.
pub fn names(names: &[&str]) -> Vec<Bytes> {
    names.iter().map(|name| Bytes::from(*name)).collect()
}
