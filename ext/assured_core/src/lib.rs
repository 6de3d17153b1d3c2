//! The engine of sidekiq-assured-jobs: it records which jobs a process holds, proves that the process
//! lives, and brings back the jobs of processes that do not. It knows Redis and threads, and no Ruby.
//!
//! A job's way through the files: [`engine`] takes the call, [`registry`] remembers the attempt,
//! [`pipeline`] mirrors it to Redis through [`store`], [`heartbeat`] keeps the claim alive, and, after a
//! crash, another instance's [`sweeper`] reaches a verdict ([`verdict`]) and runs a [`recovery`].

pub mod assured_classes;
pub mod backoff;
pub mod clock;
pub mod connection;
pub mod engine;
pub mod error;
pub mod events;
pub mod fast_death;
pub mod fetch;
pub mod heartbeat;
pub mod identity;
pub mod inspection;
pub mod keys;
pub mod obituary;
pub mod outage;
#[cfg(debug_assertions)]
pub mod panics;
pub mod password;
pub mod payload;
pub mod pipeline;
pub mod printable;
pub mod pulse;
pub mod record;
pub mod recovery;
pub mod registry;
pub mod released;
pub mod scripts;
pub mod settings;
pub mod store;
pub mod sweeper;
pub mod threads;
pub mod verdict;
pub mod waiter;
pub mod watch;

/// A name or payload as Redis holds it. Jids, ids and queue names may contain any byte.
pub type Bytes = Vec<u8>;
