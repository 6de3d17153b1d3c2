//! The only file that sends commands to Redis: one method per verb.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis::{Cmd, FromRedisValue, Value};

use crate::Bytes;
use crate::connection::Connection;
use crate::error::{Error, Remedy, Result};
use crate::identity::Identity;
use crate::keys::Keys;
use crate::payload::FLAG;
use crate::scripts;
use crate::settings::{RedisDetails, Settings};
use crate::verdict::Sighting;

/// Verbs over the tracking keys. Each thread has a store, and so a connection, of its own. Connections are
/// opened at first use and replaced when they fail.
pub struct Store {
    keys: Arc<Keys>,
    tracking: Link,
    queues: Option<Link>,
}

/// What a heartbeat found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The id is ours and beats.
    Ours {
        /// Left by whoever recovered from this instance; it stays until [`Store::clear_verdict`].
        verdict: Option<Bytes>,
        /// All records that this instance has in Redis.
        records: HashSet<Bytes>,
        /// For each payload that was asked about, whether it is there.
        payloads: Vec<bool>,
    },
    /// Another process owns the id.
    Taken,
}

/// What became of a record that should go back to its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requeued {
    /// It is in its queue.
    Yes,
    /// It is no longer recorded: somebody else took care of it.
    Gone,
    /// Its queue's key holds something else than a list; it stays recorded.
    Refused,
}

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

/// What one round trip of the pipeline asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Names of records to release.
    pub releases: &'a [Bytes],
    /// Attempts to record.
    pub records: &'a [Record],
    /// All queues that `orders` look at.
    pub queues: &'a [Bytes],
    /// One for each thread that waits for a job.
    pub orders: &'a [Order],
}

/// Where one waiting thread looks.
#[derive(Clone, Debug)]
pub struct Order {
    /// What makes the spare name of its record unique.
    pub suffix: Bytes,
    /// Positions in [`Wanted::queues`], first one first.
    pub positions: Vec<usize>,
}

/// What a round trip brought.
#[derive(Debug)]
pub struct Exchanged {
    /// Whether the releases were done.
    pub released: Result<()>,
    /// For each record whether it took its spare name.
    pub recorded: Result<Vec<bool>>,
    /// The jobs.
    pub fetched: Result<Vec<Popped>>,
}

/// A job that was popped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Popped {
    /// Position in [`Wanted::orders`].
    pub order: usize,
    /// Position in [`Wanted::queues`].
    pub queue: usize,
    /// The payload as it was in the queue.
    pub payload: Bytes,
    /// Name of the record, where one was made.
    pub name: Option<Bytes>,
}

/// An attempt to record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Wanted name.
    pub name: Bytes,
    /// Name to take where the wanted one is another holder's.
    pub spare: Bytes,
    /// Payload as it was in the queue.
    pub payload: Arc<[u8]>,
}

/// Who an instance is and what it holds.
#[derive(Clone, Debug)]
pub struct InstanceStatus {
    /// The instance id.
    pub id: Bytes,
    /// Heartbeat value (unix time, seconds) while it is alive.
    pub beat: Option<Bytes>,
    /// How many in-flight records it has.
    pub in_flight: u64,
}

/// Registry entry of an instance of the 1.x gem, which does not register itself. `lua/owner.lua` knows it.
const ADOPTED: &[u8] = br#"{"version":"1.x"}"#;

/// How long a verdict waits for its instance to find it.
const VERDICT_LIFETIME: Duration = Duration::from_secs(3600);

impl Store {
    /// A store that connects at first use. `role` names its connections.
    pub fn new(settings: &Settings, role: &str) -> Self {
        let queues = settings.queues.as_ref().unwrap_or(&settings.tracking);
        let keys = Keys::new(&settings.namespace, &settings.tracking.key_prefix, &queues.key_prefix);
        Self {
            keys: Arc::new(keys),
            tracking: Link::new(&settings.tracking, role),
            queues: settings.queues.as_ref().map(|details| Link::new(details, role)),
        }
    }

    /// The same, with no timeout above `limit`: a heartbeat that waits for a mute server until its TTL is over
    /// is no heartbeat.
    pub fn impatient(settings: &Settings, role: &str, limit: Duration) -> Self {
        let mut store = Self::new(settings, role);
        let details = &mut store.tracking.details;
        for timeout in [&mut details.connect_timeout, &mut details.read_timeout, &mut details.write_timeout] {
            *timeout = limit.min(*timeout);
        }
        store
    }

    /// The same, for commands that block for `wait`.
    pub fn patient(settings: &Settings, role: &str, wait: Duration) -> Self {
        let mut store = Self::new(settings, role);
        store.tracking.details.read_timeout += wait;
        store
    }

    /// Takes an id; false where the name is not free.
    pub fn claim(&mut self, identity: &Identity, ttl: Duration) -> Result<bool> {
        let id = &identity.id;
        let keys = [self.keys.instance(id), self.keys.jobs(id), self.keys.instances(), self.keys.verdict(id)];
        let args = [id.clone(), identity.entry.clone().into(), now(), millis(ttl)];
        self.one("claim", scripts::CLAIM.call(&keys, &args))
    }

    /// Sends a heartbeat, and in the same breath looks at the records: all names, and whether the payloads
    /// of `names` are there.
    pub fn beat(&mut self, identity: &Identity, ttl: Duration, names: &[Bytes]) -> Result<Beat> {
        let id = &identity.id;
        let keys = [self.keys.instance(id), self.keys.instances(), self.keys.verdict(id)];
        let args = [id.clone(), identity.entry.clone().into(), now(), millis(ttl)];
        let mut cmds = vec![scripts::BEAT.call(&keys, &args), cmd("SMEMBERS", [&self.keys.jobs(id)])];
        cmds.extend(names.iter().map(|name| cmd("EXISTS", [&self.keys.job(name)])));
        let mut replies = self.tracking.run("beat", &cmds)?.into_iter();
        let (taken, verdict): (bool, Option<Bytes>) = self.next("beat", &mut replies)?;
        if taken {
            return Ok(Beat::Taken);
        }
        let records = self.next("beat", &mut replies)?;
        let payloads = replies.map(|reply| parse("beat", reply)).collect::<Result<_>>()?;
        Ok(Beat::Ours { verdict, records, payloads })
    }

    /// Deletes a verdict that this instance has acted on.
    pub fn clear_verdict(&mut self, id: &[u8], verdict: &[u8]) -> Result<bool> {
        self.one("clear the verdict", scripts::DELETE_IF.call(&[self.keys.verdict(id)], &[verdict]))
    }

    /// Releases records, records attempts, pops jobs: all in one round trip, in this order.
    pub fn exchange(&mut self, identity: &Identity, wanted: &Wanted<'_>) -> Result<Exchanged> {
        let id = &identity.id;
        let owner: [&[u8]; 2] = [id, identity.entry.as_bytes()];
        let held = [self.keys.jobs(id), self.keys.instances()];
        let mut cmds = Vec::new();
        if !wanted.releases.is_empty() {
            let mut keys = held.to_vec();
            keys.extend(wanted.releases.iter().map(|name| self.keys.job(name)));
            let mut args = owner.to_vec();
            args.extend(wanted.releases.iter().map(Vec::as_slice));
            cmds.push(scripts::RELEASE.call(&keys, &args));
        }
        if !wanted.records.is_empty() {
            let mut keys = held.to_vec();
            let mut args = owner.to_vec();
            for record in wanted.records {
                keys.extend([self.keys.job(&record.name), self.keys.job(&record.spare)]);
                args.extend([record.name.as_slice(), &record.spare, &record.payload]);
            }
            cmds.push(scripts::TRACK.call(&keys, &args));
        }
        if !wanted.orders.is_empty() {
            let mut keys = held.to_vec();
            keys.push(self.keys.job_prefix());
            keys.extend(wanted.queues.iter().map(|queue| self.keys.queue(queue)));
            // Positions in KEYS count from 1.
            let first = held.len() + 2;
            let mut args: Vec<Bytes> = owner.map(<[u8]>::to_vec).to_vec();
            args.push(FLAG.into());
            for Order { suffix, positions } in wanted.orders {
                let positions: Vec<_> = positions.iter().map(|at| (at + first).to_string()).collect();
                args.extend([suffix.clone(), positions.join(",").into_bytes()]);
            }
            cmds.push(scripts::FETCH.call(&keys, &args));
        }
        // A fetch must not be sent twice: what the first one popped, nobody would run.
        let replies = match wanted.orders {
            [] => self.tracking.run("track", &cmds)?,
            _ => self.tracking.run_once("fetch", &cmds)?,
        };
        let mut replies = replies.into_iter();
        let released = match wanted.releases {
            [] => Ok(()),
            _ => self.next::<i64>("release", &mut replies).map(drop),
        };
        let recorded = match wanted.records {
            [] => Ok(Vec::new()),
            _ => self
                .next::<Vec<i64>>("track", &mut replies)
                .map(|names| names.into_iter().map(|name| name == 2).collect()),
        };
        let fetched = match wanted.orders {
            [] => Ok(Vec::new()),
            _ => self.next::<Vec<(usize, usize, Bytes, Option<Bytes>)>>("fetch", &mut replies),
        };
        let fetched = fetched.map(|jobs| {
            let popped = |(order, at, payload, name): (usize, usize, Bytes, Option<Bytes>)| Popped {
                order: order - 1,
                queue: at - held.len() - 2,
                payload,
                name,
            };
            jobs.into_iter().map(popped).collect()
        });
        Ok(Exchanged { released, recorded, fetched })
    }

    /// Waits until a queue holds a job, without touching it, or for `limit`. False: it is still empty.
    pub fn await_job(&mut self, queue: &[u8], limit: Duration) -> Result<bool> {
        let queue = self.keys.queue(queue);
        let mut look = cmd("BLMOVE", [&queue, &queue]);
        look.arg("RIGHT").arg("RIGHT").arg(limit.as_secs_f64());
        let reply: Option<Bytes> = match self.queues.as_mut() {
            Some(link) => one(link, "watch", look)?,
            None => one(&mut self.tracking, "watch", look)?,
        };
        Ok(reply.is_some())
    }

    /// Puts a job that is not recorded back where it came from: it is the next one to be popped.
    pub fn push_back(&mut self, queue: &[u8], payload: &[u8]) -> Result<()> {
        let push = cmd("RPUSH", [&self.keys.queue(queue), &payload.to_vec()]);
        let replies = self.tracking.run_once("push back", &[push])?;
        replies.into_iter().try_for_each(|reply| parse::<i64>("push back", reply).map(drop))
    }

    /// Puts records of a dead instance back into their queues. `None`: the instance beats, nothing was done.
    pub fn requeue(&mut self, id: &[u8], by: &[u8], returns: &[Return]) -> Result<Option<Vec<Requeued>>> {
        self.put_back(id, Mover::Judge(by), returns)
    }

    /// Puts records of this instance itself back into their queues.
    pub fn give_back(&mut self, identity: &Identity, returns: &[Return]) -> Result<Vec<Requeued>> {
        self.put_back(&identity.id, Mover::Owner(&identity.entry), returns)?
            .ok_or_else(|| Error::reply("give back", "the owner was asked whether it is dead"))
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
        ];
        let lifetime = millis(VERDICT_LIFETIME);
        let by = match mover {
            Mover::Judge(by) => by,
            Mover::Owner(_) => b"",
        };
        let mut args: Vec<&[u8]> = vec![by, &lifetime, id, mover.entry()];
        for item in returns {
            keys.extend([self.keys.job(&item.name), self.keys.queue(&item.queue)]);
            args.extend([item.name.as_slice(), &item.queue, &item.payload]);
        }
        let reply: Option<Vec<i64>> = self.one("requeue", scripts::REQUEUE.call(&keys, &args))?;
        Ok(reply.map(|queued| queued.into_iter().map(Requeued::from_reply).collect()))
    }

    /// Queues and tracking keys in two Redis servers cannot change in one step: push first, release then.
    /// A crash in between queues a job twice, and loses none.
    fn put_back_across(
        &mut self,
        id: &[u8],
        mover: Mover<'_>,
        returns: &[Return],
    ) -> Result<Option<Vec<Requeued>>> {
        let jobs = self.keys.jobs(id);
        let mut members = cmd("SMISMEMBER", [&jobs]);
        returns.iter().for_each(|item| {
            members.arg(&item.name);
        });
        // A write that changes nothing: what cannot be released afterwards must not be pushed.
        let writable = cmd("SREM", [&jobs, &Bytes::new()]);
        let alive = cmd("EXISTS", [&self.keys.instance(id)]);
        let mut replies = self.tracking.run("requeue", &[alive, writable, members])?.into_iter();
        let alive: bool = self.next("requeue", &mut replies)?;
        self.next::<i64>("requeue", &mut replies)?;
        if alive && matches!(mover, Mover::Judge(_)) {
            return Ok(None);
        }
        let members: Vec<bool> = self.next("requeue", &mut replies)?;
        let mut outcomes: Vec<_> =
            members.iter().map(|member| if *member { Requeued::Yes } else { Requeued::Gone }).collect();
        let held: Vec<_> = (0..returns.len()).filter(|i| members[*i]).collect();
        if held.is_empty() {
            return Ok(Some(outcomes));
        }

        let known: Vec<_> =
            held.iter().map(|i| cmd("SADD", [&self.keys.queues(), &returns[*i].queue])).collect();
        let pushes: Vec<_> = held
            .iter()
            .map(|i| cmd("RPUSH", [&self.keys.queue(&returns[*i].queue), &returns[*i].payload]))
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
                Err(_) => outcomes[i] = Requeued::Refused,
            }
        }

        if pushed.is_empty() {
            return Ok(Some(outcomes));
        }
        let mut keys = vec![jobs, self.keys.instances()];
        let mut args: Vec<&[u8]> = vec![id, mover.entry()];
        for i in &pushed {
            keys.push(self.keys.job(&returns[*i].name));
            args.push(&returns[*i].name);
        }
        let mut cmds = vec![scripts::RELEASE.call(&keys, &args)];
        if let Mover::Judge(by) = mover {
            let mut verdict = cmd("SET", [&self.keys.verdict(id), &by.to_vec()]);
            verdict.arg("PX").arg(millis(VERDICT_LIFETIME));
            cmds.push(verdict);
        }
        for reply in self.tracking.run("requeue", &cmds)? {
            parse::<Value>("requeue", reply)?;
        }
        Ok(Some(outcomes))
    }

    /// Looks at all registered instances.
    pub fn look(&mut self) -> Result<Vec<Sighting>> {
        let ids: Vec<Bytes> = self.one("look", cmd("HKEYS", [&self.keys.instances()]))?;
        let cmds: Vec<_> = ids.iter().map(|id| cmd("EXISTS", [&self.keys.instance(id)])).collect();
        let mut replies = self.tracking.run("look", &cmds)?.into_iter();
        ids.into_iter().map(|id| Ok(Sighting { id, alive: self.next("look", &mut replies)? })).collect()
    }

    /// Registers instances that have a heartbeat or records but no registry entry: those of the 1.x gem. It
    /// scans all keys, in small steps, and ends early when `go_on` says so.
    pub fn adopt_strangers(&mut self, go_on: impl Fn() -> bool) -> Result<()> {
        let mut cursor = 0;
        while go_on() {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(self.keys.tracking_pattern()).arg("COUNT").arg(1000);
            let (next, found): (u64, Vec<Bytes>) = self.one("scan", scan)?;
            let adoptions: Vec<_> = found
                .iter()
                .filter_map(|key| self.keys.instance_of(key))
                .map(|id| cmd("HSETNX", [&self.keys.instances(), &id.to_vec(), &ADOPTED.to_vec()]))
                .collect();
            self.tracking.run("adopt", &adoptions)?;
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        Ok(())
    }

    /// One step over the record names of an instance; over when the cursor is 0 again.
    pub fn records(&mut self, id: &[u8], cursor: u64, count: usize) -> Result<(u64, Vec<Bytes>)> {
        let mut scan = cmd("SSCAN", [&self.keys.jobs(id)]);
        scan.arg(cursor).arg("COUNT").arg(count);
        self.one("read orphans", scan)
    }

    /// Payloads of the first of these records, as many as fit into `budget` bytes (at least one).
    pub fn payloads(&mut self, names: &[Bytes], budget: usize) -> Result<Vec<Option<Bytes>>> {
        let keys: Vec<_> = names.iter().map(|name| self.keys.job(name)).collect();
        self.one("read orphans", scripts::PAYLOADS.call(&keys, &[budget.to_string()]))
    }

    /// Drops a record whose payload is gone; false where it is there after all.
    pub fn forget(&mut self, id: &[u8], name: &[u8]) -> Result<bool> {
        self.one("forget", scripts::FORGET.call(&[self.keys.jobs(id), self.keys.job(name)], &[name]))
    }

    /// Ends this instance; returns how many records it leaves.
    pub fn retire(&mut self, identity: &Identity) -> Result<u64> {
        self.retire_as(&identity.id, &identity.entry)
    }

    /// Ends a dead instance, if nothing is left of it; returns how many records it still has.
    pub fn bury(&mut self, id: &[u8]) -> Result<u64> {
        self.retire_as(id, "")
    }

    fn retire_as(&mut self, id: &[u8], entry: &str) -> Result<u64> {
        let keys = [self.keys.instance(id), self.keys.jobs(id), self.keys.instances()];
        let left: i64 = self.one("retire", scripts::RETIRE.call(&keys, &[id, entry.as_bytes()]))?;
        Ok(left.max(0).unsigned_abs())
    }

    /// Takes the recovery lock; otherwise returns the token of its holder.
    pub fn lock(&mut self, token: &[u8], ttl: Duration) -> Result<Option<Bytes>> {
        let mut set = cmd("SET", [&self.keys.recovery_lock(), &token.to_vec()]);
        set.arg("NX").arg("PX").arg(millis(ttl));
        let replies = self.tracking.run("lock", &[set, cmd("GET", [&self.keys.recovery_lock()])])?;
        let [taken, holder] =
            replies.try_into().map_err(|_| Error::reply("lock", "two commands, other replies"))?;
        if parse::<Option<String>>("lock", taken)?.is_some() {
            return Ok(None);
        }
        // A token that expired between the two commands is nobody's: the next sweep takes the lock.
        Ok(Some(parse::<Option<Bytes>>("lock", holder)?.unwrap_or_default()))
    }

    /// Takes the recovery lock from a dead holder.
    pub fn take_over_lock(&mut self, seen: &[u8], token: &[u8], ttl: Duration) -> Result<bool> {
        let args = [seen.to_vec(), token.to_vec(), millis(ttl)];
        self.one("lock", scripts::LOCK_TAKE_OVER.call(&[self.keys.recovery_lock()], &args))
    }

    /// Prolongs the recovery lock; false when it is no longer ours.
    pub fn renew_lock(&mut self, token: &[u8], ttl: Duration) -> Result<bool> {
        self.one(
            "lock",
            scripts::LOCK_RENEW.call(&[self.keys.recovery_lock()], &[token.to_vec(), millis(ttl)]),
        )
    }

    /// Gives the recovery lock back.
    pub fn free_lock(&mut self, token: &[u8]) -> Result<bool> {
        self.one("lock", scripts::DELETE_IF.call(&[self.keys.recovery_lock()], &[token]))
    }

    /// All registered instances, for people to look at.
    pub fn statuses(&mut self) -> Result<Vec<InstanceStatus>> {
        let ids: Vec<Bytes> = self.one("look", cmd("HKEYS", [&self.keys.instances()]))?;
        let cmds: Vec<_> = ids
            .iter()
            .flat_map(|id| [cmd("GET", [&self.keys.instance(id)]), cmd("SCARD", [&self.keys.jobs(id)])])
            .collect();
        let mut replies = self.tracking.run("look", &cmds)?.into_iter();
        ids.into_iter()
            .map(|id| {
                let beat = self.next("look", &mut replies)?;
                Ok(InstanceStatus { id, beat, in_flight: self.next("look", &mut replies)? })
            })
            .collect()
    }

    fn one<T: FromRedisValue>(&mut self, doing: &'static str, command: Cmd) -> Result<T> {
        one(&mut self.tracking, doing, command)
    }

    fn next<T: FromRedisValue>(
        &self,
        doing: &'static str,
        replies: &mut std::vec::IntoIter<Value>,
    ) -> Result<T> {
        parse(doing, replies.next().ok_or_else(|| Error::reply(doing, "none"))?)
    }
}

impl Requeued {
    fn from_reply(reply: i64) -> Self {
        match reply {
            0 => Self::Gone,
            1 => Self::Yes,
            _ => Self::Refused,
        }
    }
}

/// Who moves records back into their queues.
#[derive(Clone, Copy)]
enum Mover<'a> {
    /// Somebody who has found the instance dead, known by this token.
    Judge(&'a [u8]),
    /// The instance itself, with its registry entry.
    Owner(&'a str),
}

impl<'a> Mover<'a> {
    /// The registry entry, for scripts that check whose the id is.
    fn entry(self) -> &'a [u8] {
        match self {
            Self::Judge(_) => b"",
            Self::Owner(entry) => entry.as_bytes(),
        }
    }
}

/// A connection that heals itself.
struct Link {
    details: RedisDetails,
    name: String,
    connection: Option<Connection>,
}

impl Link {
    fn new(details: &RedisDetails, role: &str) -> Self {
        Self { details: details.clone(), name: format!("sidekiq-assured-jobs:{role}"), connection: None }
    }

    /// Runs a batch that may run twice: a connection that turns out to be dead is replaced and the batch sent
    /// once more.
    fn run(&mut self, doing: &'static str, cmds: &[Cmd]) -> Result<Vec<Value>> {
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
    fn run_once(&mut self, doing: &'static str, cmds: &[Cmd]) -> Result<Vec<Value>> {
        let replies = self.send(doing, cmds)?;
        let remedies =
            || replies.iter().filter_map(|reply| server_error(doing, reply)).map(|error| error.remedy);
        if remedies().any(|remedy| remedy == Remedy::LoadScripts) {
            let loads: Vec<_> = scripts::ALL.iter().map(|script| script.load()).collect();
            for reply in self.send("load scripts", &loads)? {
                parse::<String>("load scripts", reply)?;
            }
            return self.send(doing, cmds);
        }
        if remedies().any(|remedy| remedy == Remedy::Reconnect) {
            self.connection = None;
        }
        Ok(replies)
    }

    fn send(&mut self, doing: &'static str, cmds: &[Cmd]) -> Result<Vec<Value>> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.details, &self.name)?,
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

fn server_error(doing: &'static str, reply: &Value) -> Option<Error> {
    match reply {
        Value::ServerError(error) => Some(Error::server(doing, error)),
        _ => None,
    }
}

fn one<T: FromRedisValue>(link: &mut Link, doing: &'static str, command: Cmd) -> Result<T> {
    let reply = link.run(doing, &[command])?.into_iter().next();
    parse(doing, reply.ok_or_else(|| Error::reply(doing, "none"))?)
}

fn parse<T: FromRedisValue>(doing: &'static str, reply: Value) -> Result<T> {
    if let Some(error) = server_error(doing, &reply) {
        return Err(error);
    }
    redis::from_redis_value(reply).map_err(|error| Error::reply(doing, error))
}

fn cmd<const N: usize>(name: &str, args: [&Bytes; N]) -> Cmd {
    let mut cmd = redis::cmd(name);
    for arg in args {
        cmd.arg(arg);
    }
    cmd
}

fn millis(duration: Duration) -> Bytes {
    duration.as_millis().max(1).to_string().into_bytes()
}

/// Unix time in seconds, as the 1.x gem writes it. For people: no decision rests on it.
fn now() -> Bytes {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:.6}", now.as_secs_f64()).into_bytes()
}
