//! Reads the Hash that Ruby filled. No defaults here: a missing key is a bug in Ruby's part.

use std::sync::Arc;
use std::time::Duration;

use assured_core::password::{Password, Passwords};
use assured_core::settings::{
    Address, DeadSet, Pem, RedisDetails, Sentinel, Sentinels, Settings, Timestamps, Tls, Verify,
};
use magnus::{Error, RArray, RHash, RString, Ruby, TryConvert};

use crate::error::error;
use crate::strings::bytes;

/// Converts what `EngineSettings.of` returns.
pub fn settings(ruby: &Ruby, hash: RHash) -> Result<Settings, Error> {
    let passwords = Arc::new(Passwords::new(seconds(ruby, hash, "password_refresh")?));
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
        reserved_threads: field(ruby, hash, "reserved_threads")?,
        auto_recovery: field(ruby, hash, "auto_recovery")?,
        max_recoveries: field(ruby, hash, "max_recoveries")?,
        dead_after: seconds(ruby, hash, "dead_after")?,
        assured_classes: field::<Vec<(String, Option<u64>)>>(ruby, hash, "assured_classes")?,
        dead_set: DeadSet {
            max_jobs: field(ruby, hash, "dead_max_jobs")?,
            timeout: seconds(ruby, hash, "dead_timeout")?,
        },
        timestamps: if field(ruby, hash, "integer_timestamps")? {
            Timestamps::IntegerMillis
        } else {
            Timestamps::FloatSeconds
        },
        tracking: redis(ruby, field(ruby, hash, "tracking")?, &passwords)?,
        queues: field::<Option<RHash>>(ruby, hash, "queues")?
            .map(|queues| redis(ruby, queues, &passwords))
            .transpose()?,
        passwords,
    })
}

fn redis(ruby: &Ruby, hash: RHash, passwords: &Arc<Passwords>) -> Result<RedisDetails, Error> {
    let address = match (field::<Option<RHash>>(ruby, hash, "sentinels")?, field(ruby, hash, "path")?) {
        (Some(sentinels), _) => Address::Sentinel(Sentinels {
            master: field(ruby, sentinels, "master")?,
            servers: field::<RArray>(ruby, sentinels, "servers")?
                .into_iter()
                .map(|server| sentinel(ruby, RHash::try_convert(server)?, passwords))
                .collect::<Result<_, _>>()?,
        }),
        (None, Some(path)) => Address::Unix(path),
        (None, None) => Address::Tcp(field(ruby, hash, "host")?, field(ruby, hash, "port")?),
    };
    Ok(RedisDetails {
        address,
        tls: tls(ruby, hash)?,
        db: field(ruby, hash, "db")?,
        username: field(ruby, hash, "username")?,
        username_optional: field(ruby, hash, "username_optional")?,
        password: password(ruby, hash, passwords)?,
        client_name: field(ruby, hash, "client_name")?,
        connect_timeout: seconds(ruby, hash, "connect_timeout")?,
        read_timeout: seconds(ruby, hash, "read_timeout")?,
        write_timeout: seconds(ruby, hash, "write_timeout")?,
        key_prefix: field(ruby, hash, "key_prefix")?,
    })
}

fn sentinel(ruby: &Ruby, hash: RHash, passwords: &Arc<Passwords>) -> Result<Sentinel, Error> {
    Ok(Sentinel {
        host: field(ruby, hash, "host")?,
        port: field(ruby, hash, "port")?,
        username: field(ruby, hash, "username")?,
        password: password(ruby, hash, passwords)?,
        tls: tls(ruby, hash)?,
    })
}

/// One that a callable gives has a number, by which Ruby is asked for it.
fn password(ruby: &Ruby, hash: RHash, passwords: &Arc<Passwords>) -> Result<Option<Password>, Error> {
    let value = field::<Option<RString>>(ruby, hash, "password")?.map(bytes);
    Ok(match field(ruby, hash, "password_number")? {
        Some(number) => Some(passwords.add(number, value)),
        None => value.map(Password::Fixed),
    })
}

fn tls(ruby: &Ruby, hash: RHash) -> Result<Option<Tls>, Error> {
    let Some(hash) = field::<Option<RHash>>(ruby, hash, "tls")? else { return Ok(None) };
    let client = match (pem(ruby, hash, "cert")?, pem(ruby, hash, "key")?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => None,
    };
    Ok(Some(Tls {
        ca_file: field(ruby, hash, "ca_file")?,
        ca_path: field(ruby, hash, "ca_path")?,
        client,
        verify: match (field(ruby, hash, "verify_peer")?, field(ruby, hash, "verify_hostname")?) {
            (false, _) => Verify::Nothing,
            (true, false) => Verify::Certificate,
            (true, true) => Verify::CertificateAndName,
        },
        min_version: field(ruby, hash, "min_version")?,
        max_version: field(ruby, hash, "max_version")?,
    }))
}

/// `{text:}` or `{file:}`
fn pem(ruby: &Ruby, hash: RHash, name: &str) -> Result<Option<Pem>, Error> {
    let Some(source) = field::<Option<RHash>>(ruby, hash, name)? else { return Ok(None) };
    Ok(Some(match field(ruby, source, "file")? {
        Some(path) => Pem::File(path),
        None => Pem::Text(field(ruby, source, "text")?),
    }))
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
