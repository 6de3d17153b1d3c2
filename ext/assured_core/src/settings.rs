//! What the engine is told at start. Ruby fills in every field; there are no defaults here.

use std::sync::Arc;
use std::time::Duration;

use crate::password::{Password, Passwords};

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
    /// How many threads Sidekiq has yet to start, which must find room beside the engine's.
    pub reserved_threads: usize,
    /// Whether this instance sweeps by itself.
    pub auto_recovery: bool,
    /// How often a job may be recovered before it counts as poison, where its class says nothing else.
    pub max_recoveries: u64,
    /// How long an orphan that cannot go back is tried before it goes to the Dead set.
    pub dead_after: Duration,
    /// Names of the classes that are known to be assured, and how often their jobs may be recovered, where a class says
    /// so.
    pub assured_classes: Vec<(String, Option<u64>)>,
    /// Bounds of Sidekiq's Dead set.
    pub dead_set: DeadSet,
    /// Unit of `enqueued_at` in the running Sidekiq version.
    pub timestamps: Timestamps,
    /// The Redis that holds the tracking keys.
    pub tracking: RedisDetails,
    /// The Redis that holds the queues, when it is another one.
    pub queues: Option<RedisDetails>,
    /// The passwords in these details that Ruby is asked for.
    pub passwords: Arc<Passwords>,
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

/// How the running Sidekiq version writes points in time into payloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamps {
    /// Sidekiq up to 7: seconds, as a float.
    FloatSeconds,
    /// Sidekiq 8: milliseconds, as an integer.
    IntegerMillis,
}

/// Where a Redis is.
#[derive(Clone, Debug)]
pub enum Address {
    /// Host name or IP address (without brackets), and port.
    Tcp(String, u16),
    /// Path of a unix socket.
    Unix(String),
    /// Wherever sentinels say.
    Sentinel(Sentinels),
}

/// Sentinels that know where a master is.
#[derive(Clone, Debug)]
pub struct Sentinels {
    /// Name of the master.
    pub master: String,
    /// Whom to ask, in this order.
    pub servers: Vec<Sentinel>,
}

/// One sentinel.
#[derive(Clone, Debug)]
pub struct Sentinel {
    /// Host name or IP address (without brackets).
    pub host: String,
    /// Port.
    pub port: u16,
    /// ACL user, if any.
    pub username: Option<String>,
    /// Password, if any.
    pub password: Option<Password>,
    /// How it is spoken to, unless in plain text.
    pub tls: Option<Tls>,
}

/// How TLS is spoken.
#[derive(Clone, Debug)]
pub struct Tls {
    /// File with certificates of authorities.
    pub ca_file: Option<String>,
    /// Directory with certificates of authorities, as `openssl rehash` names them. With neither, the system's.
    pub ca_path: Option<String>,
    /// The client's certificate, with those that stand between it and its authority, and its key.
    pub client: Option<(Pem, Pem)>,
    /// What the server has to prove.
    pub verify: Verify,
    /// Lowest version: 12 or 13.
    pub min_version: u8,
    /// Highest version: 12 or 13.
    pub max_version: u8,
}

/// Certificates or a key.
#[derive(Clone)]
pub enum Pem {
    /// The text itself.
    Text(String),
    /// A file, read at each connection.
    File(String),
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text"),
            Self::File(path) => write!(f, "File({path})"),
        }
    }
}

/// What a server has to prove by its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Nothing: whoever answers is believed.
    Nothing,
    /// That an authority that is trusted knows it.
    Certificate,
    /// That it bears the name it was called by, besides.
    CertificateAndName,
}

/// The fields of a Redis connection, as Sidekiq's own client object has them. Fields and no URL:
/// URL parsers differ in what they decode.
#[derive(Clone, Debug)]
pub struct RedisDetails {
    /// Where the server is.
    pub address: Address,
    /// How it is spoken to, unless in plain text.
    pub tls: Option<Tls>,
    /// Database number.
    pub db: i64,
    /// ACL user, if any.
    pub username: Option<String>,
    /// Whether a password that is not this user's may be the default user's, as redis-rb 4 has it.
    pub username_optional: bool,
    /// Password, if any.
    pub password: Option<Password>,
    /// What the application calls its connections, if anything.
    pub client_name: Option<String>,
    /// Limit for connecting, handshake included.
    pub connect_timeout: Duration,
    /// Limit for one reply.
    pub read_timeout: Duration,
    /// Limit for sending.
    pub write_timeout: Duration,
    /// Prefix that redis-namespace puts before every key, colon included; empty without it.
    pub key_prefix: String,
}
