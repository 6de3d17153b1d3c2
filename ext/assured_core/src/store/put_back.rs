//! Records on their way back into their queues: one atomic step each, or two where queues and tracking keys lie
//! in two Redis servers.

use std::time::Duration;

use redis::{Cmd, Value};

use super::link::parse;
use super::{Store, cmd, millis};
use crate::Bytes;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::scripts;
use crate::verdict::Sighting;

/// What became of a record that should go back to its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeued {
    /// It is in its queue.
    Yes,
    /// It is no longer recorded: somebody else took care of it.
    Gone,
    /// Its queue's key holds something else than a list; it stays recorded.
    Refused,
    /// This user of Redis may not push into its queue, or not remove its record; it stays recorded.
    Forbidden,
}

/// Why that is so.
pub const FORBIDDEN: &str = "this user of Redis may not do what puts it into its queue";

/// A record on its way back into a queue.
#[derive(Clone, Debug)]
pub struct Return {
    /// Name of the record.
    pub name: Bytes,
    /// Name of the queue.
    pub queue: Bytes,
    /// Payload to push.
    pub payload: Bytes,
}

impl Requeued {
    pub(super) fn from_reply(reply: i64) -> Self {
        match reply {
            0 => Self::Gone,
            1 => Self::Yes,
            _ => Self::Refused,
        }
    }
}

/// Who moves records.
#[derive(Clone, Copy)]
pub(super) enum Mover<'a> {
    /// Somebody who has found the instance dead, known by this token.
    Judge(&'a [u8]),
    /// The instance itself, with its registry entry.
    Owner(&'a str),
    /// The same, for jobs that have become due.
    Poller(&'a str),
}

impl<'a> Mover<'a> {
    /// How jobs get into their queue: those that had their turn are next again.
    fn push(self) -> &'static str {
        match self {
            Self::Judge(_) | Self::Owner(_) => "RPUSH",
            Self::Poller(_) => "LPUSH",
        }
    }

    /// What a verdict says, where there is to be one.
    pub(super) fn token(self) -> &'a [u8] {
        match self {
            Self::Judge(by) => by,
            Self::Owner(_) | Self::Poller(_) => b"",
        }
    }

    /// The registry entry, for scripts that check whose the id is.
    pub(super) fn entry(self) -> &'a [u8] {
        match self {
            Self::Judge(_) => b"",
            Self::Owner(entry) | Self::Poller(entry) => entry.as_bytes(),
        }
    }
}

/// How long a verdict waits for its instance to find it.
pub(super) const VERDICT_LIFETIME: Duration = Duration::from_secs(3600);

impl Store {
    /// Puts records of a dead instance back into their queues. `None`: the instance beats, nothing was done.
    pub fn requeue(&mut self, id: &[u8], by: &[u8], returns: &[Return]) -> Result<Option<Vec<Requeued>>> {
        self.put_back(id, Mover::Judge(by), returns)
    }

    /// Puts records of this instance itself back into their queues.
    pub fn give_back(&mut self, identity: &Identity, returns: &[Return]) -> Result<Vec<Requeued>> {
        self.put_back(&identity.id, Mover::Owner(&identity.entry), returns)?
            .ok_or_else(|| Error::reply("give back", "the owner was asked whether it is dead"))
    }

    /// Moves the record of a job that has become due into the queue, with the payload that client middleware made
    /// of it.
    pub fn enqueue(&mut self, identity: &Identity, due: Return) -> Result<Requeued> {
        let outcomes = self.put_back(&identity.id, Mover::Poller(&identity.entry), &[due])?;
        outcomes
            .and_then(|outcomes| outcomes.first().copied())
            .ok_or_else(|| Error::reply("enqueue", "no outcome"))
    }

    fn put_back(&mut self, id: &[u8], mover: Mover<'_>, returns: &[Return]) -> Result<Option<Vec<Requeued>>> {
        if returns.is_empty() {
            return Ok(Some(Vec::new()));
        }
        if self.queues.is_some() {
            return self.put_back_across(id, mover, returns);
        }
        let mut keys = vec![
            self.keys.jobs(id),
            self.keys.instance(id),
            self.keys.verdict(id),
            self.keys.queues(),
            self.keys.instances(),
            self.keys.stats(),
            self.keys.beats(),
        ];
        let lifetime = millis(VERDICT_LIFETIME);
        let mut args: Vec<&[u8]> = vec![mover.token(), &lifetime, id, mover.entry(), mover.push().as_bytes()];
        for item in returns {
            keys.extend([self.keys.job(&item.name), self.keys.queue(&item.queue)]);
            args.extend([item.name.as_slice(), &item.queue, &item.payload]);
        }
        let reply: Option<Vec<i64>> = match self.one("requeue", scripts::REQUEUE.call(&keys, &args)) {
            Err(error) if error.is_forbidden() => return self.put_back_singly(id, mover, returns),
            outcome => outcome?,
        };
        Ok(reply.map(|queued| queued.into_iter().map(Requeued::from_reply).collect()))
    }

    /// A queue that this user may not touch keeps no other job from its own.
    fn put_back_singly(
        &mut self,
        id: &[u8],
        mover: Mover<'_>,
        returns: &[Return],
    ) -> Result<Option<Vec<Requeued>>> {
        if returns.len() == 1 {
            return Ok(Some(vec![Requeued::Forbidden]));
        }
        let mut outcomes = Vec::with_capacity(returns.len());
        for item in returns.chunks(1) {
            match self.put_back(id, mover, item)? {
                Some(outcome) => outcomes.extend(outcome),
                None => return Ok(None),
            }
        }
        Ok(Some(outcomes))
    }

    /// Queues and tracking keys in two Redis servers cannot change in one step: push first, release then.
    /// A crash in between queues a job twice, and loses none.
    fn put_back_across(
        &mut self,
        id: &[u8],
        mover: Mover<'_>,
        returns: &[Return],
    ) -> Result<Option<Vec<Requeued>>> {
        let names: Vec<_> = returns.iter().map(|item| &item.name).collect();
        let Some(mut outcomes) = self.held(id, &names, matches!(mover, Mover::Judge(_)))? else {
            return Ok(None);
        };
        let held: Vec<_> = (0..returns.len()).filter(|i| outcomes[*i] == Requeued::Yes).collect();
        if held.is_empty() {
            return Ok(Some(outcomes));
        }

        let known: Vec<_> =
            held.iter().map(|i| cmd("SADD", [&self.keys.queues(), &returns[*i].queue])).collect();
        let pushes: Vec<_> = held
            .iter()
            .map(|i| cmd(mover.push(), [&self.keys.queue(&returns[*i].queue), &returns[*i].payload]))
            .collect();
        let queues = self.queues.as_mut().expect("only called with a second Redis");
        // The first batch proves the connection: the second must not be sent twice.
        for reply in queues.run("requeue", &known)? {
            parse::<i64>("requeue", reply)?;
        }
        let mut pushed = Vec::with_capacity(held.len());
        for (i, reply) in held.into_iter().zip(queues.send("requeue", &pushes)?) {
            match parse::<i64>("requeue", reply) {
                Ok(_) => pushed.push(i),
                Err(error) if error.is_forbidden() => outcomes[i] = Requeued::Forbidden,
                Err(_) => outcomes[i] = Requeued::Refused,
            }
        }

        if pushed.is_empty() {
            return Ok(Some(outcomes));
        }
        let names: Vec<_> = pushed.iter().map(|i| returns[*i].name.clone()).collect();
        let end = match mover {
            Mover::Judge(by) => {
                let settled: Vec<_> = names.iter().map(|name| (name.as_slice(), b"".as_slice())).collect();
                self.settle(id, by, "recovered", &settled)
            }
            Mover::Owner(_) | Mover::Poller(_) => self.release_command(id, mover.entry(), &names),
        };
        self.one::<Value>("requeue", end)?;
        Ok(Some(outcomes))
    }

    /// Which of these records an instance holds, asked before they are put into another Redis. `None`: a judge
    /// asks, and the instance beats.
    pub(super) fn held(&mut self, id: &[u8], names: &[&Bytes], judge: bool) -> Result<Option<Vec<Requeued>>> {
        let jobs = self.keys.jobs(id);
        let mut members = cmd("SMISMEMBER", [&jobs]);
        names.iter().for_each(|name| {
            members.arg(name);
        });
        // A write that changes nothing: what cannot be released afterwards must not be pushed.
        let writable = cmd("SREM", [&jobs, &Bytes::new()]);
        let [beat, heartbeat] = self.look_at(id);
        let mut replies = self.tracking.run("requeue", &[beat, heartbeat, writable, members])?.into_iter();
        let beat = self.next("requeue", &mut replies)?;
        let seen = Sighting { id: id.to_vec(), beat, heartbeat: self.next("requeue", &mut replies)? };
        let alive = seen.is_alive();
        self.next::<i64>("requeue", &mut replies)?;
        if alive && judge {
            return Ok(None);
        }
        let members: Vec<bool> = self.next("requeue", &mut replies)?;
        let outcome = |member: bool| if member { Requeued::Yes } else { Requeued::Gone };
        Ok(Some(members.into_iter().map(outcome).collect()))
    }

    /// Ends records whose jobs were put into another Redis; with each its payload for death handlers, or nothing.
    pub(super) fn settle(&self, id: &[u8], by: &[u8], counter: &str, records: &[(&[u8], &[u8])]) -> Cmd {
        let mut keys = vec![self.keys.jobs(id), self.keys.verdict(id), self.keys.stats(), self.keys.deaths()];
        keys.extend(records.iter().map(|(name, _)| self.keys.job(name)));
        let lifetime = millis(VERDICT_LIFETIME);
        let mut args = vec![by, &lifetime, counter.as_bytes()];
        args.extend(records.iter().flat_map(|(name, death)| [*name, *death]));
        scripts::SETTLE.call(&keys, &args)
    }
}
