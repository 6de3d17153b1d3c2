//! One socket to Redis: opens it, sends a batch, reads the replies.

use redis::{Client, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, Value};

use crate::error::{Error, Remedy, Result};
use crate::settings::{Address, RedisDetails};

/// An open connection.
pub struct Connection {
    inner: redis::Connection,
}

impl Connection {
    /// Connects, authenticates and selects the database, and names the connection for `CLIENT LIST`.
    ///
    /// # Errors
    /// [`Remedy::TellUser`] where the server rejects the credentials, else [`Remedy::Reconnect`] or
    /// [`Remedy::Wait`].
    pub fn open(details: &RedisDetails, name: &str) -> Result<Self> {
        let failed = |error: redis::RedisError| {
            let mut error = Error::io("connect", &error);
            error.message = format!("{} ({})", error.message, describe(&details.address));
            error
        };
        let client = Client::open(info(details).map_err(failed)?).map_err(failed)?;
        let mut inner = client.get_connection_with_timeout(details.connect_timeout).map_err(failed)?;
        // The crate clears both timeouts after connecting, and then would wait for ever.
        inner.set_read_timeout(Some(details.read_timeout)).map_err(failed)?;
        inner.set_write_timeout(Some(details.write_timeout)).map_err(failed)?;
        // An ACL may forbid CLIENT; the name is a courtesy to whoever reads CLIENT LIST.
        let _ = redis::cmd("CLIENT").arg("SETNAME").arg(name).query::<()>(&mut inner);
        Ok(Self { inner })
    }

    /// Sends all commands at once and reads their replies. An error reply of the server is a value
    /// ([`Value::ServerError`]) in its place.
    ///
    /// # Errors
    /// When the connection fails; then nobody knows which commands were executed, and the connection
    /// must not be used again.
    pub fn batch(&mut self, doing: &'static str, cmds: &[Cmd]) -> Result<Vec<Value>> {
        let failed = |error: redis::RedisError| Error::io(doing, &error);
        let mut bytes = Vec::new();
        for cmd in cmds {
            cmd.write_packed_command(&mut bytes);
        }
        self.inner.send_packed_command(&bytes).map_err(failed)?;
        // Stops at the first failure: the crate's own pipeline would wait one timeout per reply.
        cmds.iter()
            .map(|_| self.inner.recv_response())
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| Error { remedy: Remedy::Reconnect, ..failed(error) })
    }
}

fn info(details: &RedisDetails) -> redis::RedisResult<ConnectionInfo> {
    let address = match &details.address {
        Address::Tcp(host, port) => ConnectionAddr::Tcp(host.clone(), *port),
        Address::Unix(path) => ConnectionAddr::Unix(path.into()),
    };
    // CLIENT SETINFO costs two more replies, each with a timeout of its own.
    let mut redis = RedisConnectionInfo::default().set_db(details.db).set_skip_set_lib_name();
    if let Some(username) = &details.username {
        redis = redis.set_username(username);
    }
    if let Some(password) = &details.password {
        redis = redis.set_password(password);
    }
    Ok(address.into_connection_info()?.set_redis_settings(redis))
}

/// How an address reads in a log line.
fn describe(address: &Address) -> String {
    match address {
        Address::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
        Address::Tcp(host, port) => format!("{host}:{port}"),
        Address::Unix(path) => path.clone(),
    }
}
