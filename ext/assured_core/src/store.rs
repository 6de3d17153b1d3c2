//! The only room that sends commands to Redis: one method per verb.

mod connections;
mod exchange;
mod kill;
mod link;
mod put_back;
mod retry;

pub use connections::{Sight, Silence};
pub use exchange::{Order, Popped, Record};
pub use kill::Death;
pub use link::Lenders;
pub use put_back::{FORBIDDEN, Requeued, Return};

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use redis::{Cmd, FromRedisValue, Value};

use crate::Bytes;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::keys::Keys;
use crate::scripts;
use crate::settings::Settings;
use crate::verdict::Sighting;
use link::{Link, one, parse};

/// Verbs over the tracking keys. Each thread has a store, and so a connection, of its own. Connections are
/// opened at first use and replaced when they fail.
pub struct Store {
    keys: Arc<Keys>,
    tracking: Link,
    queues: Option<Link>,
    /// What the data in Redis was called at the last heartbeat.
    epoch: Option<Bytes>,
}

/// What a heartbeat found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// The id is ours and beats.
    Ours {
        /// There where this instance was declared dead; it stays until [`Store::clear_verdict`].
        verdict: Option<Bytes>,
        /// All records that this instance has in Redis.
        records: HashSet<Bytes>,
        /// For each payload that was asked about, whether it is there.
        payloads: Vec<bool>,
        /// Whether Redis has lost all data since the last heartbeat of this store.
        data_lost: bool,
    },
    /// Another process owns the id.
    Taken,
}

/// Who an instance is and what it holds.
#[derive(Clone, Debug)]
pub struct InstanceStatus {
    /// The instance id.
    pub id: Bytes,
    /// When it beat last (unix time, seconds), while it is alive.
    pub beat: Option<f64>,
    /// How many in-flight records it has.
    pub in_flight: u64,
}

/// Registry entry of an instance of the 1.x gem, which does not register itself. `lua/owner.lua` knows it.
const ADOPTED: &[u8] = br#"{"version":"1.x"}"#;

/// What `lua/retire.lua` adds to the registry entry of an instance that leaves records.
const RETIRED: &[u8] = br#""retired":true"#;

impl Store {
    /// A store that connects at first use. `role` names its connections.
    pub fn new(settings: &Settings, role: &str) -> Self {
        let queues = settings.queues.as_ref().unwrap_or(&settings.tracking);
        let keys = Keys::new(&settings.namespace, &settings.tracking.key_prefix, &queues.key_prefix);
        Self {
            keys: Arc::new(keys),
            tracking: Link::new(&settings.tracking, role),
            queues: settings.queues.as_ref().map(|details| Link::new(details, role)),
            epoch: None,
        }
    }

    /// The same, which gives up opening a connection after `limit`, sentinels and login included, and each batch, too:
    /// a heartbeat that waits for a mute server until its TTL is over is no heartbeat.
    pub fn impatient(settings: &Settings, role: &str, limit: Duration) -> Self {
        let mut store = Self::new(settings, role);
        store.tracking.limit(limit);
        store
    }

    /// The same, for commands that block for `wait`.
    pub fn patient(settings: &Settings, role: &str, wait: Duration) -> Self {
        let mut store = Self::new(settings, role);
        store.queue_link().details.read_timeout += wait;
        store
    }

    /// Takes an id; false where the name is not free.
    pub fn claim(&mut self, identity: &Identity, ttl: Duration) -> Result<bool> {
        let id = &identity.id;
        let keys = [
            self.keys.instance(id),
            self.keys.jobs(id),
            self.keys.instances(),
            self.keys.verdict(id),
            self.keys.beats(),
            self.keys.epoch(),
        ];
        let replies = self.run_named("claim", |connection| {
            vec![scripts::CLAIM.call(&keys, &beat_args(identity, ttl, connection))]
        })?;
        let epoch: Option<Bytes> = self.next("claim", &mut replies.into_iter())?;
        let claimed = epoch.is_some();
        self.epoch = epoch.or(self.epoch.take());
        Ok(claimed)
    }

    /// Sends a heartbeat, and in the same breath looks at the records: all names, and whether the payloads
    /// of `names` are there.
    pub fn beat(&mut self, identity: &Identity, ttl: Duration, names: &[Bytes]) -> Result<Beat> {
        let id = &identity.id;
        let keys = [
            self.keys.instance(id),
            self.keys.instances(),
            self.keys.verdict(id),
            self.keys.beats(),
            self.keys.epoch(),
        ];
        let records = self.keys.jobs(id);
        let payloads: Vec<_> = names.iter().map(|name| self.keys.job(name)).collect();
        let known = self.epoch.clone().unwrap_or_default();
        let replies = self.run_named("beat", |connection| {
            let args =
                [beat_args(identity, ttl, connection).as_slice(), std::slice::from_ref(&known)].concat();
            let mut cmds = vec![scripts::BEAT.call(&keys, &args), cmd("SMEMBERS", [&records])];
            cmds.extend(payloads.iter().map(|payload| cmd("EXISTS", [payload])));
            cmds
        })?;
        let mut replies = replies.into_iter();
        let (taken, verdict, epoch): (bool, Option<Bytes>, Bytes) = self.next("beat", &mut replies)?;
        if taken {
            return Ok(Beat::Taken);
        }
        let records = self.next("beat", &mut replies)?;
        let payloads = replies.map(|reply| parse("beat", reply)).collect::<Result<_>>()?;
        let data_lost = self.epoch.replace(epoch).is_some_and(|known| Some(&known) != self.epoch.as_ref());
        Ok(Beat::Ours { verdict, records, payloads, data_lost })
    }

    /// Deletes a verdict that this instance has acted on.
    pub fn clear_verdict(&mut self, id: &[u8], verdict: &[u8]) -> Result<bool> {
        self.one("clear the verdict", scripts::DELETE_IF.call(&[self.keys.verdict(id)], &[verdict]))
    }

    /// Waits until a queue holds a job, without touching it, or for `limit`. False: it is still empty.
    pub fn await_job(&mut self, queue: &[u8], limit: Duration) -> Result<bool> {
        let queue = self.keys.queue(queue);
        let mut look = cmd("BLMOVE", [&queue, &queue]);
        look.arg("RIGHT").arg("RIGHT").arg(limit.as_secs_f64());
        let reply: Option<Bytes> = one(self.queue_link(), "watch", look)?;
        Ok(reply.is_some())
    }

    /// Whether one of these queues holds a job at this moment.
    pub fn any_job(&mut self, queues: &[Bytes]) -> Result<bool> {
        let mut look = redis::cmd("EXISTS");
        for queue in queues {
            look.arg(self.keys.queue(queue));
        }
        one(self.queue_link(), "watch", look)
    }

    /// Whether there is a connection to the queues, as far as is known.
    pub fn reaches_queues(&self) -> bool {
        self.queues.as_ref().unwrap_or(&self.tracking).is_open()
    }

    /// Opens the connection to the queues, if there is none.
    pub fn reach_queues(&mut self, doing: &'static str) -> Result<()> {
        self.queue_link().peer(doing).map(drop)
    }

    fn queue_link(&mut self) -> &mut Link {
        self.queues.as_mut().unwrap_or(&mut self.tracking)
    }

    /// Puts a job that is not recorded back where it came from: it is the next one to be popped.
    pub fn push_back(&mut self, queue: &[u8], payload: &[u8]) -> Result<()> {
        let push = cmd("RPUSH", [&self.keys.queue(queue), &payload.to_vec()]);
        parse::<i64>("push back", self.tracking.run_once("push back", push)?).map(drop)
    }

    /// Looks at all registered instances.
    pub fn look(&mut self) -> Result<Vec<Sighting>> {
        let ids: Vec<Bytes> = self.one("look", cmd("HKEYS", [&self.keys.instances()]))?;
        let cmds: Vec<_> = ids.iter().flat_map(|id| self.look_at(id)).collect();
        let mut replies = self.tracking.run("look", &cmds)?.into_iter();
        ids.into_iter()
            .map(|id| {
                let beat = self.next("look", &mut replies)?;
                Ok(Sighting { id, beat, heartbeat: self.next("look", &mut replies)? })
            })
            .collect()
    }

    /// What shows whether an instance lives: its last beat and its heartbeat.
    fn look_at(&self, id: &[u8]) -> [Cmd; 2] {
        let mut beat = cmd("HGET", [&self.keys.beats()]);
        beat.arg(id);
        [beat, cmd("GET", [&self.keys.instance(id)])]
    }

    /// The verdict on an instance, as it was seen; false where it has beaten since. From here on it is dead to everybody.
    pub fn expire(&mut self, seen: &Sighting) -> Result<bool> {
        let none = Bytes::new();
        self.expire_unless(
            &seen.id,
            seen.beat.as_ref().unwrap_or(&none),
            seen.heartbeat.as_ref().or(Some(&none)),
        )
    }

    fn expire_unless(&mut self, id: &[u8], beat: &[u8], heartbeat: Option<&Bytes>) -> Result<bool> {
        let keys = [self.keys.instance(id), self.keys.beats(), self.keys.instances()];
        let args = [id, beat].into_iter().chain(heartbeat.map(Bytes::as_slice));
        self.one("give a verdict", scripts::EXPIRE.call(&keys, &args.collect::<Vec<_>>()))
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
                .map(|id| {
                    let keys = [self.keys.instance(id), self.keys.jobs(id), self.keys.instances()];
                    scripts::ADOPT.call(&keys, &[id, ADOPTED])
                })
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

    /// Whether an instance has ended by itself, at a clean exit, and has left records.
    pub fn has_retired(&mut self, id: &[u8]) -> Result<bool> {
        let mut ask = cmd("HGET", [&self.keys.instances()]);
        ask.arg(id);
        let entry: Option<Bytes> = self.one("look", ask)?;
        Ok(entry.is_some_and(|entry| entry.windows(RETIRED.len()).any(|part| part == RETIRED)))
    }

    fn retire_as(&mut self, id: &[u8], entry: &str) -> Result<u64> {
        let keys = [
            self.keys.instance(id),
            self.keys.jobs(id),
            self.keys.instances(),
            self.keys.beats(),
            self.keys.stats(),
        ];
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
    pub fn statuses(&mut self, ttl: Duration) -> Result<Vec<InstanceStatus>> {
        let sightings = self.look()?;
        let cmds: Vec<_> = sightings.iter().map(|seen| cmd("SCARD", [&self.keys.jobs(&seen.id)])).collect();
        let mut replies = self.tracking.run("look", &cmds)?.into_iter();
        sightings
            .into_iter()
            .map(|seen| {
                let beat = if seen.is_silent(ttl) { None } else { seen.last_beat() };
                Ok(InstanceStatus { id: seen.id, beat, in_flight: self.next("look", &mut replies)? })
            })
            .collect()
    }

    /// The counters since ever.
    pub fn stats(&mut self) -> Result<Vec<(Bytes, u64)>> {
        self.one("read the counters", cmd("HGETALL", [&self.keys.stats()]))
    }

    /// Counts what no other script can count. Best effort: sent again after a lost reply, it counts twice.
    pub fn count(&mut self, counter: &str, by: u64) -> Result<()> {
        let mut count = cmd("HINCRBY", [&self.keys.stats(), &counter.into()]);
        count.arg(by);
        self.one::<i64>("count", count).map(drop)
    }

    /// How many dead jobs wait for their handlers.
    pub fn deaths(&mut self) -> Result<u64> {
        self.one("look for deaths", cmd("LLEN", [&self.keys.deaths()]))
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

/// What `lua/claim.lua` and `lua/beat.lua` are told of a beat that goes through `connection`.
fn beat_args(identity: &Identity, ttl: Duration, connection: Bytes) -> [Bytes; 6] {
    // Counts all beats of this process: whatever server, proxy or clock stands between, a later one has a higher number.
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    let time = now();
    let beat = [number.to_string().into_bytes(), time.clone(), connection];
    let beat = beat.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(&b' ');
    let name = format!("{:032x}", fastrand::u128(..));
    [identity.id.clone(), identity.entry.clone().into(), time, millis(ttl), beat, name.into()]
}

/// Unix time in seconds, as the 1.x gem writes it.
fn now() -> Bytes {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:.6}", now.as_secs_f64()).into_bytes()
}
