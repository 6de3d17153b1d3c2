//! A connection that is opened at first use and replaced when it fails, and that knows the scripts.

use redis::{Cmd, FromRedisValue, Value};

use crate::connection::Connection;
use crate::error::{Error, Remedy, Result};
use crate::scripts;
use crate::settings::RedisDetails;

/// A connection that heals itself.
pub(super) struct Link {
    pub(super) details: RedisDetails,
    name: String,
    connection: Option<Connection>,
}

impl Link {
    pub(super) fn new(details: &RedisDetails, role: &str) -> Self {
        let ours = format!("sidekiq-assured-jobs:{role}");
        let name = match &details.client_name {
            Some(theirs) => format!("{theirs}:{ours}"),
            None => ours,
        };
        Self { details: details.clone(), name, connection: None }
    }

    /// Runs a batch that may run twice: a connection that turns out to be dead is replaced and the batch sent
    /// once more.
    pub(super) fn run(&mut self, doing: &'static str, cmds: &[Cmd]) -> Result<Vec<Value>> {
        if cmds.is_empty() {
            return Ok(Vec::new());
        }
        let reused = self.connection.is_some();
        match self.run_once(doing, cmds) {
            Err(error) if reused && error.remedy == Remedy::Reconnect => self.run_once(doing, cmds),
            outcome => outcome,
        }
    }

    /// The same for a batch that must not run twice. Where a script was not known, nothing of a batch of
    /// scripts has run.
    pub(super) fn run_once(&mut self, doing: &'static str, cmds: &[Cmd]) -> Result<Vec<Value>> {
        let replies = self.send(doing, cmds)?;
        let errors = || replies.iter().filter_map(|reply| server_error(doing, reply));
        if errors().any(|error| error.remedy == Remedy::LoadScripts) {
            let loads: Vec<_> = scripts::ALL.iter().map(|script| script.load()).collect();
            for reply in self.send("load scripts", &loads)? {
                parse::<String>("load scripts", reply)?;
            }
            return self.send(doing, cmds);
        }
        if errors().any(|error| error.remedy == Remedy::Reconnect || error.wants_login()) {
            self.connection = None;
        }
        Ok(replies)
    }

    pub(super) fn send(&mut self, doing: &'static str, cmds: &[Cmd]) -> Result<Vec<Value>> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&mut self.details, &self.name)?,
        };
        // Put back only after success: what failed in the middle of a batch cannot be trusted.
        let connection = self.connection.insert(connection);
        let outcome = connection.batch(doing, cmds);
        if outcome.is_err() {
            self.connection = None;
        }
        outcome
    }
}

pub(super) fn server_error(doing: &'static str, reply: &Value) -> Option<Error> {
    match reply {
        Value::ServerError(error) => Some(Error::server(doing, error)),
        _ => None,
    }
}

pub(super) fn one<T: FromRedisValue>(link: &mut Link, doing: &'static str, command: Cmd) -> Result<T> {
    let reply = link.run(doing, &[command])?.into_iter().next();
    parse(doing, reply.ok_or_else(|| Error::reply(doing, "none"))?)
}

pub(super) fn parse<T: FromRedisValue>(doing: &'static str, reply: Value) -> Result<T> {
    if let Some(error) = server_error(doing, &reply) {
        return Err(error);
    }
    redis::from_redis_value(reply).map_err(|error| Error::reply(doing, error))
}
