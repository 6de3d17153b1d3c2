//! Reads the Hash that Ruby filled. No defaults here: a missing key is a bug in Ruby's part.

use std::time::Duration;

use assured_core::settings::{Address, DeadSet, PushBy, RedisDetails, Settings, Timestamps};
use magnus::{Error, RHash, Ruby, TryConvert};

use crate::error::error;

/// Converts `Configuration#to_native`.
pub fn settings(ruby: &Ruby, hash: RHash) -> Result<Settings, Error> {
    Ok(Settings {
        namespace: field(ruby, hash, "namespace")?,
        instance_name: field(ruby, hash, "instance_id")?,
        hostname: field(ruby, hash, "hostname")?,
        pid: field(ruby, hash, "pid")?,
        nonce: field(ruby, hash, "nonce")?,
        version: field(ruby, hash, "version")?,
        heartbeat_interval: seconds(ruby, hash, "heartbeat_interval")?,
        heartbeat_ttl: seconds(ruby, hash, "heartbeat_ttl")?,
        death_grace: seconds(ruby, hash, "death_grace")?,
        recovery_lock_ttl: seconds(ruby, hash, "recovery_lock_ttl")?,
        track_timeout: seconds(ruby, hash, "track_timeout")?,
        auto_recovery: field(ruby, hash, "auto_recovery")?,
        push_by: if field(ruby, hash, "client_middleware")? { PushBy::Client } else { PushBy::Engine },
        max_recoveries: field(ruby, hash, "max_recoveries")?,
        dead_set: DeadSet {
            max_jobs: field(ruby, hash, "dead_max_jobs")?,
            timeout: seconds(ruby, hash, "dead_timeout")?,
        },
        timestamps: if field(ruby, hash, "integer_timestamps")? {
            Timestamps::IntegerMillis
        } else {
            Timestamps::FloatSeconds
        },
        tracking: redis(ruby, field(ruby, hash, "tracking")?)?,
        queues: field::<Option<RHash>>(ruby, hash, "queues")?
            .map(|queues| redis(ruby, queues))
            .transpose()?,
    })
}

fn redis(ruby: &Ruby, hash: RHash) -> Result<RedisDetails, Error> {
    let address = match field::<Option<String>>(ruby, hash, "path")? {
        Some(path) => Address::Unix(path),
        None => Address::Tcp(field(ruby, hash, "host")?, field(ruby, hash, "port")?),
    };
    Ok(RedisDetails {
        address,
        db: field(ruby, hash, "db")?,
        username: field(ruby, hash, "username")?,
        password: field(ruby, hash, "password")?,
        connect_timeout: seconds(ruby, hash, "connect_timeout")?,
        read_timeout: seconds(ruby, hash, "read_timeout")?,
        write_timeout: seconds(ruby, hash, "write_timeout")?,
        key_prefix: field(ruby, hash, "key_prefix")?,
    })
}

fn field<T: TryConvert>(ruby: &Ruby, hash: RHash, name: &str) -> Result<T, Error> {
    hash.fetch(ruby.to_symbol(name))
        .map_err(|cause| error(ruby, "ConfigurationError", format!("reading {name}: {cause}")))
}

fn seconds(ruby: &Ruby, hash: RHash, name: &str) -> Result<Duration, Error> {
    let seconds: f64 = field(ruby, hash, name)?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|cause| error(ruby, "ConfigurationError", format!("reading {name}: {cause}")))
}
