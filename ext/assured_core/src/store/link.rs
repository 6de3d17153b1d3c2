//! A connection that is opened at first use and replaced when it fails, and that knows the scripts.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, Value};

use crate::connection::Connection;
use crate::error::{Error, Remedy, Result};
use crate::scripts::{self, AtomicStep};
use crate::settings::RedisDetails;

/// Where a connection is, while it is open. Whoever runs a batch holds the lock.
type Slot = Mutex<Option<Connection>>;

/// Connections of this process over which its heartbeat goes when it cannot have one of its own.
#[derive(Default)]
pub struct Lenders {
    slots: Mutex<Vec<Weak<Slot>>>,
}

impl Lenders {
    fn add(&self, slot: &Arc<Slot>) {
        let mut slots = self.slots.lock();
        // Those of threads that began anew are gone.
        slots.retain(|slot| slot.strong_count() > 0);
        slots.push(Arc::downgrade(slot));
    }

    /// Runs a batch over one that is open and that nobody uses at this moment, if there is any.
    fn run(&self, doing: &'static str, cmds: &[Cmd]) -> Option<Result<Vec<Value>>> {
        let slots: Vec<_> = self.slots.lock().iter().filter_map(Weak::upgrade).collect();
        slots.iter().find_map(|slot| {
            let mut slot = slot.try_lock()?;
            let connection = slot.take()?;
            Some(batch(connection, &mut slot, doing, cmds))
        })
    }
}

/// A connection that heals itself.
pub(super) struct Link {
    pub(super) details: RedisDetails,
    name: String,
    connection: Arc<Slot>,
    lenders: Option<Arc<Lenders>>,
    introduces_itself: bool,
    peer: Option<Peer>,
    /// Why there is no connection for the next batch, where that is known already.
    missing: Option<Error>,
    /// For opening a connection, with all that belongs to it, and again for each batch.
    limit: Option<Duration>,
}

/// What a server calls one of its connections. Client ids begin anew when a server restarts, so one alone says
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Names this run of the server.
    pub run: String,
    /// The client id.
    pub client: u64,
    /// Since when the connection is open.
    pub since: Instant,
}

impl Peer {
    /// As it stands in the hash `beats`.
    pub fn describe(&self) -> String {
        format!("{} {}", self.run, self.client)
    }
}

impl Link {
    pub(super) fn new(details: &RedisDetails, role: &str) -> Self {
        let ours = format!("sidekiq-assured-jobs:{role}");
        let name = match &details.client_name {
            Some(theirs) => format!("{theirs}:{ours}"),
            None => ours,
        };
        Self {
            details: details.clone(),
            name,
            connection: Arc::default(),
            lenders: None,
            introduces_itself: false,
            peer: None,
            missing: None,
            limit: None,
        }
    }

    /// From now on neither opening a connection nor a batch takes longer than this.
    pub(super) fn limit(&mut self, limit: Duration) {
        self.limit = Some(limit);
        if let Some(connection) = self.connection.lock().as_mut() {
            connection.limit_batches(limit.min(self.details.read_timeout));
        }
    }

    /// From now on others may use the connection while it is idle.
    pub(super) fn lend(&self, lenders: &Lenders) {
        lenders.add(&self.connection);
    }

    /// From now on a batch goes over somebody else's connection if there is none of its own.
    pub(super) fn borrow(&mut self, lenders: Arc<Lenders>) {
        self.lenders = Some(lenders);
    }

    /// From now on each new connection asks the server how it is called there.
    pub(super) fn introduce(&mut self) {
        self.introduces_itself = true;
    }

    pub(super) fn is_open(&self) -> bool {
        self.connection.lock().is_some()
    }

    /// Whether it is open as far as can be seen without a command.
    pub(super) fn is_quiet(&self) -> bool {
        self.connection.lock().as_mut().is_some_and(Connection::is_quiet)
    }

    pub(super) fn close(&mut self) {
        *self.connection.lock() = None;
    }

    /// What the server calls this connection, which is opened if it is not yet. Nothing where it does not say so.
    pub(super) fn peer(&mut self, doing: &'static str) -> Result<Option<Peer>> {
        let connection = Arc::clone(&self.connection);
        self.open(doing, &mut connection.lock())?;
        Ok(self.peer.clone())
    }

    /// The same, for a batch that says over which connection it goes. Nothing where it goes over a borrowed one.
    pub(super) fn peer_of_next(&mut self, doing: &'static str) -> Result<Option<Peer>> {
        match self.peer(doing) {
            Err(error) if self.lenders.is_some() => {
                self.missing = Some(error);
                Ok(None)
            }
            outcome => outcome,
        }
    }

    fn open(&mut self, doing: &'static str, slot: &mut Option<Connection>) -> Result<()> {
        if slot.is_some() {
            return Ok(());
        }
        let end = self.limit.map(|limit| Instant::now() + limit);
        let mut connection = Connection::open(&mut self.details, &self.name, end)?;
        self.peer = match self.introduces_itself {
            true => ask_peer(&mut connection, doing)?,
            false => None,
        };
        if let Some(limit) = self.limit {
            connection.limit_batches(limit.min(self.details.read_timeout));
        }
        *slot = Some(connection);
        Ok(())
    }

    /// Runs a batch that may run twice: a connection that turns out to be dead is replaced and the batch sent
    /// once more.
    pub(super) fn run(&mut self, doing: &'static str, cmds: &[Cmd]) -> Result<Vec<Value>> {
        if cmds.is_empty() {
            return Ok(Vec::new());
        }
        let reused = self.is_open();
        match self.attempt(doing, cmds) {
            Err(error) if reused && error.remedy == Remedy::Reconnect => self.attempt(doing, cmds),
            outcome => outcome,
        }
    }

    /// Runs a command that must not run twice. Of one, it is known that it has not run where the server does not know
    /// its script; of a batch, that would be known of a part.
    pub(super) fn run_once(&mut self, doing: &'static str, command: Cmd) -> Result<Value> {
        self.attempt(doing, &[command])?.pop().ok_or_else(|| Error::reply(doing, "none"))
    }

    /// Runs a batch that may run twice, on the connection that is there. It is sent anew as a whole where a script was
    /// not known: what the other commands have read before that script ran is out of date.
    pub(super) fn attempt(&mut self, doing: &'static str, cmds: &[Cmd]) -> Result<Vec<Value>> {
        let mut replies = self.send(doing, cmds)?;
        if fails_by(doing, &replies, |error| error.remedy == Remedy::LoadScripts) {
            // In one go, so that a server that forgets its scripts again and again has no time for it in between.
            let mut batch: Vec<_> = scripts::all_before(cmds).map(AtomicStep::load).collect();
            let loads = batch.len();
            batch.extend_from_slice(cmds);
            let mut loaded = self.send(doing, &batch)?;
            replies = loaded.split_off(loads);
            // Who may not load scripts may still run those that somebody else has loaded meanwhile.
            if fails_by(doing, &replies, |error| error.remedy == Remedy::LoadScripts) {
                for reply in loaded {
                    parse::<String>("load scripts", reply)?;
                }
            }
        }
        if fails_by(doing, &replies, |error| error.remedy == Remedy::Reconnect || error.wants_login()) {
            self.close();
        }
        Ok(replies)
    }

    pub(super) fn send(&mut self, doing: &'static str, cmds: &[Cmd]) -> Result<Vec<Value>> {
        #[cfg(debug_assertions)]
        let db = self.details.db;
        let slot = Arc::clone(&self.connection);
        let mut slot = slot.lock();
        let opened = self.missing.take().map_or_else(|| self.open(doing, &mut slot), Err);
        if let Err(error) = opened {
            let borrowed = self.lenders.as_ref().and_then(|lenders| lenders.run(doing, cmds));
            return borrowed.unwrap_or(Err(error));
        }
        #[cfg(debug_assertions)]
        crate::panics::here(db, doing, crate::panics::At::Before);
        let connection = slot.take().ok_or_else(|| Error::reply(doing, "none"))?;
        let outcome = batch(connection, &mut slot, doing, cmds);
        #[cfg(debug_assertions)]
        crate::panics::here(db, doing, crate::panics::At::After);
        outcome
    }
}

/// What failed in the middle of a batch cannot be trusted: only a connection that got through is put into its place.
fn batch(
    mut connection: Connection,
    place: &mut Option<Connection>,
    doing: &'static str,
    cmds: &[Cmd],
) -> Result<Vec<Value>> {
    let replies = connection.batch(doing, cmds)?;
    *place = Some(connection);
    Ok(replies)
}

/// Whether the server answers this command with an error for good: forbidden by an ACL, not known to it or to a proxy.
///
/// # Errors
/// When it does so for now only.
pub(super) fn refused(doing: &'static str, reply: &Value) -> Result<bool> {
    match reply {
        Value::ServerError(error) if TRANSIENT.contains(&error.code()) => Err(Error::server(doing, error)),
        Value::ServerError(_) => Ok(true),
        _ => Ok(false),
    }
}

const TRANSIENT: [&str; 5] = ["BUSY", "LOADING", "MASTERDOWN", "TRYAGAIN", "CLUSTERDOWN"];

/// Nothing where the server refuses to tell.
fn ask_peer(connection: &mut Connection, doing: &'static str) -> Result<Option<Peer>> {
    let mut info = redis::cmd("INFO");
    info.arg("server");
    let replies = connection.batch(doing, &[client_id(), info])?;
    for reply in &replies {
        if refused(doing, reply)? {
            return Ok(None);
        }
    }
    let mut replies = replies.into_iter();
    let mut next = || replies.next().unwrap_or(Value::Nil);
    let (client, info): (u64, String) = (parse(doing, next())?, parse(doing, next())?);
    let run = info.lines().find_map(|line| line.strip_prefix("run_id:"));
    Ok(run.map(|run| Peer { run: run.trim().to_owned(), client, since: Instant::now() }))
}

pub(super) fn client_id() -> Cmd {
    let mut cmd = redis::cmd("CLIENT");
    cmd.arg("ID");
    cmd
}

fn fails_by(doing: &'static str, replies: &[Value], kind: impl Fn(&Error) -> bool) -> bool {
    replies.iter().filter_map(|reply| server_error(doing, reply)).any(|error| kind(&error))
}

pub(super) fn server_error(doing: &'static str, reply: &Value) -> Option<Error> {
    match reply {
        Value::ServerError(error) => Some(Error::server(doing, error)),
        _ => None,
    }
}

pub(super) fn one<T: FromRedisValue>(link: &mut Link, doing: &'static str, command: Cmd) -> Result<T> {
    let reply = link.run(doing, &[command])?.pop();
    parse(doing, reply.ok_or_else(|| Error::reply(doing, "none"))?)
}

pub(super) fn parse<T: FromRedisValue>(doing: &'static str, reply: Value) -> Result<T> {
    if let Some(error) = server_error(doing, &reply) {
        return Err(error);
    }
    redis::from_redis_value(reply).map_err(|error| Error::reply(doing, error))
}
