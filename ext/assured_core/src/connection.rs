//! One socket to Redis: opens it, sends a batch, reads the replies.

mod inherited;
mod sentinel;
mod socket;
mod tls;

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use redis::{Cmd, Parser, RedisError, Value};

use crate::Bytes;
use crate::error::{CONNECTING, Error, Remedy, Result};
use crate::password::Password;
use crate::settings::{Address, RedisDetails, Tls};
use socket::Stream;

/// An open connection.
pub struct Connection {
    stream: Stream,
    parser: Parser,
    /// For a whole batch, where there is one: else each reply has its own.
    limit: Option<Duration>,
}

/// How long opening a connection may take.
#[derive(Clone, Copy)]
struct Patience {
    /// Each step: a sentinel, the server, another password.
    step: Duration,
    /// All of them together, where that is limited.
    end: Option<Instant>,
}

impl Patience {
    /// When a step must be over that begins now.
    fn deadline(self) -> Instant {
        let step = Instant::now() + self.step;
        self.end.map_or(step, |end| end.min(step))
    }

    /// That of the next of `count` steps that share what time is left.
    fn share(self, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        let now = Instant::now();
        Self { end: self.end.map(|end| now + end.saturating_duration_since(now) / count), ..self }
    }
}

/// Who logs in.
#[derive(Clone, Copy)]
struct Login<'a> {
    username: Option<&'a str>,
    password: Option<&'a Password>,
    /// Whether a password that the user of this name does not have may be the default user's.
    or_default_user: bool,
}

impl Connection {
    /// Connects, authenticates and selects the database, and names the connection for `CLIENT LIST`. Where
    /// sentinels tell which server to take, they are asked each time, and the one that answered is the first
    /// to be asked the next time. All of it is over at `end`, if that is given.
    ///
    /// # Errors
    /// [`Remedy::TellUser`] where one side rejects the credentials of the other, else [`Remedy::Reconnect`] or
    /// [`Remedy::Wait`].
    pub fn open(details: &mut RedisDetails, name: &str, end: Option<Instant>) -> Result<Self> {
        let patience = Patience { step: details.connect_timeout, end };
        let tls = details.tls.as_ref();
        let by_sentinel = matches!(details.address, Address::Sentinel(_));
        let place = match &mut details.address {
            Address::Sentinel(sentinels) => {
                let (host, port) = sentinel::master(sentinels, patience)?;
                Address::Tcp(host, port)
            }
            place => place.clone(),
        };
        let greeted = Self::connect(&place, tls, patience).and_then(|mut connection| {
            let login = Login {
                username: details.username.as_deref(),
                password: details.password.as_ref(),
                or_default_user: details.username_optional,
            };
            connection.log_in(login, patience)?;
            connection.greet(details.db, name, by_sentinel)?;
            match end {
                // What is asked next is a batch like others.
                Some(end) => connection.stream.extend(end.min(Instant::now() + details.read_timeout)),
                None => connection
                    .stream
                    .settle(details.read_timeout, details.write_timeout)
                    .map_err(connecting)?,
            }
            Ok(connection)
        });
        greeted
            .map_err(|error| Error { message: format!("{} ({})", error.message, describe(&place)), ..error })
    }

    /// From now on each batch has this limit, whatever it consists of.
    pub fn limit_batches(&mut self, limit: Duration) {
        self.limit = Some(limit);
    }

    /// Whether nothing has happened since the last batch: the other end has not closed the connection.
    pub fn is_quiet(&mut self) -> bool {
        self.stream.is_quiet()
    }

    fn connect(place: &Address, tls: Option<&Tls>, patience: Patience) -> Result<Self> {
        let deadline = patience.deadline();
        let stream = match place {
            Address::Tcp(host, port) => Stream::tcp(host, *port, tls, deadline),
            Address::Unix(path) => Stream::unix(path, deadline),
            Address::Sentinel(_) => unreachable!("sentinels have been asked for the place"),
        };
        Ok(Self { stream: stream.map_err(connecting)?, parser: Parser::new(), limit: None })
    }

    /// Takes the password that was right the last time; only one that is refused is asked for anew. So nobody
    /// waits for Ruby whose password is still right.
    fn log_in(&mut self, login: Login<'_>, patience: Patience) -> Result<()> {
        let Some(password) = login.password else { return Ok(()) };
        let mut known = password.latest();
        let refusal = match self.authenticate(login, known.value.as_ref()) {
            Err(error) if error.wants_login() => error,
            outcome => return outcome,
        };
        known = match password.newer(&known, patience.deadline()) {
            Some(newer) => newer,
            None => return Err(refusal),
        };
        self.stream.extend(patience.deadline());
        self.authenticate(login, known.value.as_ref())
    }

    fn authenticate(&mut self, login: Login<'_>, password: Option<&Bytes>) -> Result<()> {
        let Some(password) = password else {
            return Err(Error::no_login("nothing is known of the password: the callable has not answered"));
        };
        let auth = |username: Option<&str>| {
            let mut auth = redis::cmd("AUTH");
            auth.arg(username).arg(password);
            auth
        };
        match (self.ask(auth(login.username)), login.username) {
            (Err(error), Some(_)) if login.or_default_user && error.wants_login() => {
                self.ask(auth(None)).map_err(|_| error)
            }
            (outcome, _) => outcome,
        }
        .map(drop)
        .map_err(|error| Error {
            // Whatever the words, a server that refuses AUTH will do so again.
            remedy: if error.remedy == Remedy::Wait { Remedy::TellUser } else { error.remedy },
            message: without(error.message, password),
            ..error
        })
    }

    fn greet(&mut self, db: i64, name: &str, must_be_master: bool) -> Result<()> {
        if db != 0 {
            let mut select = redis::cmd("SELECT");
            select.arg(db);
            self.ask(select)?;
        }
        let mut cmds = vec![redis::cmd("CLIENT")];
        cmds[0].arg("SETNAME").arg(name);
        if must_be_master {
            cmds.push(redis::cmd("ROLE"));
        }
        // An ACL may forbid both: the name is a courtesy to whoever reads CLIENT LIST, and a replica refuses the
        // first command that writes.
        match self.batch(CONNECTING, &cmds)?.get(1).and_then(sentinel::role) {
            Some(role) if role != "master" => {
                let message = format!("this server is a {role}, though a sentinel calls it the master");
                Err(Error { doing: CONNECTING, remedy: Remedy::Reconnect, message })
            }
            _ => Ok(()),
        }
    }

    /// One command of the handshake.
    fn ask(&mut self, command: Cmd) -> Result<Value> {
        let reply = self.batch(CONNECTING, &[command])?.pop();
        match reply.ok_or_else(|| Error::reply(CONNECTING, "none"))? {
            Value::ServerError(error) => Err(Error::server(CONNECTING, &error)),
            value => Ok(value),
        }
    }

    /// Sends all commands at once and reads their replies. An error reply of the server is a value
    /// ([`Value::ServerError`]) in its place.
    ///
    /// # Errors
    /// When the connection fails; then nobody knows which commands were executed, and the connection
    /// must not be used again.
    pub fn batch(&mut self, doing: &'static str, cmds: &[Cmd]) -> Result<Vec<Value>> {
        let failed = |error: RedisError| {
            let error = Error::io(doing, &error);
            // A server with TLS 1.3 refuses a client certificate only after the handshake.
            let remedy =
                if error.message.contains("fatal alert") { Remedy::TellUser } else { Remedy::Reconnect };
            Error { remedy, ..error }
        };
        if let Some(limit) = self.limit {
            self.stream.extend(Instant::now() + limit);
        }
        let mut bytes = Vec::new();
        for cmd in cmds {
            cmd.write_packed_command(&mut bytes);
        }
        if let Err(error) = self.stream.write_all(&bytes).and_then(|()| self.stream.flush()) {
            let last_words = match error.kind() {
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
                    self.parser.parse_value(&mut self.stream)
                }
                _ => Ok(Value::Nil),
            };
            return Err(match last_words {
                Ok(Value::ServerError(words)) => {
                    Error { remedy: Remedy::Reconnect, ..Error::server(doing, &words) }
                }
                _ => failed(error.into()),
            });
        }
        let mut replies = Vec::with_capacity(cmds.len());
        for _ in cmds {
            // Stops at the first failure: one timeout for each reply would add up.
            let reply = self.parser.parse_value(&mut self.stream).map_err(failed)?;
            if let Some(error) = refusal_to_serve(doing, &reply) {
                return Err(error);
            }
            replies.push(reply);
        }
        Ok(replies)
    }
}

/// A server that has no connection left says so to the first command, and hangs up.
fn refusal_to_serve(doing: &'static str, reply: &Value) -> Option<Error> {
    match reply {
        Value::ServerError(error) => Some(Error::server(doing, error)).filter(Error::is_crowded),
        _ => None,
    }
}

fn connecting(error: std::io::Error) -> Error {
    // Nothing that certificates or settings of TLS forbid gets better by itself.
    let permanent = tls::is_refusal(&error);
    let remedy = if permanent { Remedy::TellUser } else { Remedy::Reconnect };
    Error { doing: CONNECTING, remedy, message: error.to_string() }
}

/// A server may repeat what it was told.
fn without(message: String, password: &Bytes) -> String {
    match std::str::from_utf8(password) {
        Ok(password) if !password.is_empty() => message.replace(password, "…"),
        _ => message,
    }
}

/// How an address reads in a log line.
fn describe(address: &Address) -> String {
    match address {
        Address::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
        Address::Tcp(host, port) => format!("{host}:{port}"),
        Address::Unix(path) => path.clone(),
        Address::Sentinel(sentinels) => format!("sentinels of {}", sentinels.master),
    }
}
