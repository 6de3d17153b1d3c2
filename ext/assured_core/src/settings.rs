//! What the engine is told at start. Ruby fills in every field; there are no defaults here.

use std::time::Duration;

/// Everything an engine needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Prefix of the tracking keys, without the trailing colon.
    pub namespace: String,
    /// The instance id that the user asked for; taken as it is where that name is free.
    pub instance_name: Option<String>,
    /// Name of the host, for the registry and for ids nobody chose.
    pub hostname: String,
    /// Process id, for the registry and for ids nobody chose.
    pub pid: u32,
    /// Unique to this process; makes ids and spare record names unique.
    pub nonce: String,
    /// Version of the gem, for the registry.
    pub version: String,
    /// Time between two heartbeats, and between two sweeps.
    pub heartbeat_interval: Duration,
    /// Lifetime of one heartbeat.
    pub heartbeat_ttl: Duration,
    /// How long an instance whose connection is closed may be silent before it counts as dead; zero: until its
    /// heartbeat expires.
    pub death_grace: Duration,
    /// Lifetime of the recovery lock, renewed while the work lasts.
    pub recovery_lock_ttl: Duration,
    /// How long `track` waits for Redis before the job runs all the same.
    pub track_timeout: Duration,
    /// Whether this instance sweeps by itself.
    pub auto_recovery: bool,
    /// Who pushes orphans.
    pub push_by: PushBy,
    /// How often a job may be recovered before it counts as poison, where its class says nothing else.
    pub max_recoveries: u64,
    /// Bounds of Sidekiq's Dead set.
    pub dead_set: DeadSet,
    /// Unit of `enqueued_at` in the running Sidekiq version.
    pub timestamps: Timestamps,
    /// The Redis that holds the tracking keys.
    pub tracking: RedisDetails,
    /// The Redis that holds the queues, when it is another one.
    pub queues: Option<RedisDetails>,
}

/// Bounds of Sidekiq's Dead set, as Sidekiq's own configuration has them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeadSet {
    /// How many jobs it keeps.
    pub max_jobs: u64,
    /// How long it keeps one.
    pub timeout: Duration,
}

impl Settings {
    /// The grace, unless it is switched off or would end after the heartbeat does.
    pub fn grace(&self) -> Option<Duration> {
        Some(self.death_grace).filter(|grace| !grace.is_zero() && *grace < self.heartbeat_ttl)
    }
}

/// Who pushes an orphan back into its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushBy {
    /// The engine itself: no client middleware is configured, so nobody else wants to see the job.
    Engine,
    /// Ruby's `Sidekiq::Client`, so that client middleware sees the job.
    Client,
}

/// How the running Sidekiq version writes points in time into payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// Sidekiq up to 7: seconds, as a float.
    FloatSeconds,
    /// Sidekiq 8: milliseconds, as an integer.
    IntegerMillis,
}

/// Where a Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// Host name or IP address (without brackets), and port.
    Tcp(String, u16),
    /// Path of a unix socket.
    Unix(String),
}

/// The fields of a Redis connection, as Sidekiq's own client object has them. Fields and no URL:
/// URL parsers differ in what they decode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisDetails {
    /// Where the server is.
    pub address: Address,
    /// Database number.
    pub db: i64,
    /// ACL user, if any.
    pub username: Option<String>,
    /// Password, if any.
    pub password: Option<String>,
    /// Limit for connecting, handshake included.
    pub connect_timeout: Duration,
    /// Limit for one reply.
    pub read_timeout: Duration,
    /// Limit for sending.
    pub write_timeout: Duration,
    /// Prefix that redis-namespace puts before every key, colon included; empty without it.
    pub key_prefix: String,
}
