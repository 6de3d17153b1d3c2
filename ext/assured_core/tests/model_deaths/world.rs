//! What should be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use assured_core::Bytes;
use assured_core::identity::Identity;
use assured_core::keys::Keys;
use assured_core::scripts;
use assured_core::settings::DeadSet;
use assured_core::store::{Death, Requeued, Return};

use crate::steps::{End, IDS, NAMES, Odd, Step};
use crate::support::{Real, Space, expiring, hash, list, ranked, set, space, text, to_queue};

const HOUR: u64 = 3600;
/// How many hours ago: now.
const NOW: u64 = 0;

#[derive(Default)]
pub struct World {
    beating: BTreeSet<u8>,
    /// Holder of each record.
    records: BTreeMap<u8, u8>,
    /// Who left it.
    verdicts: BTreeMap<u8, u8>,
    /// Hours ago, and the number of the step in which it died.
    dead: BTreeMap<String, (u64, u64)>,
    deaths: Vec<String>,
    queue: Vec<String>,
    /// The number of the step in which it was put off; the later, the later it is due.
    retries: BTreeMap<String, u64>,
    known_queue: bool,
    odd: BTreeSet<Odd>,
    counters: BTreeMap<&'static str, u64>,
    /// How many steps put something into the Dead set, or among the retries.
    time: u64,
}

impl crate::support::World for World {
    type Step = Step;

    fn new(real: &mut Real) -> Self {
        for id in 0..IDS {
            let Identity { id, entry } = identity(id);
            real.redis.run_bytes::<()>(&[b"HSET", b"ns:instances", &id, entry.as_bytes()]);
        }
        real.redis.call::<()>(&scripts::SETTLE.load());
        Self::default()
    }

    fn perform(&mut self, real: &mut Real, step: &Step) {
        match step {
            Step::Hold { id, name } => self.hold(real, *id, *name),
            Step::Beat { id } => {
                real.redis.seed(&space([(&format!("ns:instance:i{id}"), expiring("2000000000"))]));
                self.beating.insert(*id);
            }
            Step::Expire { id } => {
                real.redis.run::<()>(&["DEL", &format!("ns:instance:i{id}")]);
                self.beating.remove(id);
            }
            Step::Kill { id, by, ends, size, hours } => {
                let deaths: Vec<_> = ends.iter().map(death).collect();
                let bounds = DeadSet { max_jobs: *size, timeout: Duration::from_secs(hours * HOUR) };
                let found =
                    real.store.kill(&identity(*id).id, judge(*by).as_bytes(), &deaths, bounds).unwrap();
                assert_eq!(found, self.kill(*id, *by, ends, *size, *hours));
            }
            Step::Settle { id, by, counter, ends } => self.settle(real, *id, *by, counter, ends),
            Step::Requeue { id, by, ends } => {
                let returns: Vec<_> = ends.iter().map(on_its_way).collect();
                let found = real.store.requeue(&identity(*id).id, judge(*by).as_bytes(), &returns).unwrap();
                let alive = self.beating.contains(id) && !ends.is_empty();
                assert_eq!(found, (!alive).then(|| self.push(*id, ends, Some(*by))));
            }
            Step::GiveBack { id, ends } => {
                let returns: Vec<_> = ends.iter().map(on_its_way).collect();
                let found = real.store.give_back(&identity(*id), &returns).unwrap();
                assert_eq!(found, self.push(*id, ends, None));
            }
            Step::PutOff { id, end } => {
                let (name, payload) = (named(end.name).into(), marked(end.payload).into());
                let wait = Duration::from_secs((self.time + 1) * HOUR);
                let found = real.store.retry(&identity(*id), &name, &payload, wait).unwrap();
                assert_eq!(found, self.put_off(*id, end));
            }
            Step::KillOwn { id, end, size, hours } => {
                let bounds = DeadSet { max_jobs: *size, timeout: Duration::from_secs(hours * HOUR) };
                let found = real.store.kill_own(&identity(*id), death(end), bounds).unwrap();
                assert_eq!(found, self.kill_all(*id, None, &[*end], *size, *hours)[0]);
            }
            Step::Died { hours, payload } => {
                if !self.odd.contains(&Odd::Dead) {
                    let at = SystemTime::UNIX_EPOCH.elapsed().unwrap() - Duration::from_secs(hours * HOUR);
                    let at = format!("{:.6}", at.as_secs_f64());
                    real.redis.run::<()>(&["ZADD", "dead", &at, &marked(*payload)]);
                    self.time += 1;
                    self.dead.insert(marked(*payload), (*hours, self.time));
                }
            }
            Step::Spoil { key } => {
                real.redis.run::<()>(&["SET", key.name(), "odd"]);
                self.empty(*key);
                self.odd.insert(*key);
            }
            Step::Mend { key } => {
                real.redis.run::<()>(&["DEL", key.name()]);
                self.empty(*key);
            }
        }
        for counter in ["poisoned", "recovered", "unacknowledged"] {
            assert_eq!(real.redis.counter(counter), self.counters.get(counter).copied().unwrap_or(0));
        }
    }

    fn expected(&self) -> Space {
        let entries: Vec<_> = (0..IDS).map(|id| (format!("i{id}"), identity(id).entry)).collect();
        let pairs: Vec<_> = entries.iter().map(|(id, entry)| (id.as_str(), entry.as_str())).collect();
        let mut keys = space([("ns:instances", hash(&pairs))]);
        for id in &self.beating {
            keys = keys.beating(&format!("i{id}"));
        }
        for (id, by) in &self.verdicts {
            keys = keys.with(&format!("ns:verdict:i{id}"), expiring(&judge(*by)));
        }
        for id in 0..IDS {
            let held: Vec<_> = (0..NAMES).filter(|name| self.holds(id, *name)).map(named).collect();
            if !held.is_empty() {
                keys = keys.with(&format!("ns:jobs:i{id}"), set(&strings(&held)));
            }
        }
        for name in self.records.keys() {
            keys = keys.with(&format!("ns:job:{}", named(*name)), text("{}"));
        }
        let mut dead: Vec<_> = self.dead.keys().cloned().collect();
        dead.sort_by_key(|payload| self.age(payload));
        let mut retries: Vec<_> = self.retries.keys().cloned().collect();
        retries.sort_by_key(|payload| self.retries[payload]);
        for (key, content) in [
            ("dead", (!dead.is_empty()).then(|| ranked(&strings(&dead)))),
            ("ns:deaths", (!self.deaths.is_empty()).then(|| list(&strings(&self.deaths)))),
            ("queue:q", (!self.queue.is_empty()).then(|| list(&strings(&self.queue)))),
            ("retry", (!retries.is_empty()).then(|| ranked(&strings(&retries)))),
            ("queues", self.known_queue.then(|| set(&["q"]))),
        ] {
            keys = content.into_iter().fold(keys, |keys, content| keys.with(key, content));
        }
        self.odd.iter().fold(keys, |keys, odd| keys.with(odd.name(), text("odd")))
    }
}

impl World {
    fn hold(&mut self, real: &mut Real, id: u8, name: u8) {
        if self.records.contains_key(&name) {
            return;
        }
        real.redis.run::<()>(&["SADD", &format!("ns:jobs:i{id}"), &named(name)]);
        real.redis.run::<()>(&["SET", &format!("ns:job:{}", named(name)), "{}"]);
        self.records.insert(name, id);
    }

    fn kill(&mut self, id: u8, by: u8, ends: &[End], size: u64, hours: u64) -> Option<Vec<Requeued>> {
        // Without a record to look at, nothing is asked.
        if ends.is_empty() {
            return Some(Vec::new());
        }
        if self.beating.contains(&id) {
            return None;
        }
        Some(self.kill_all(id, Some(by), ends, size, hours))
    }

    fn kill_all(&mut self, id: u8, by: Option<u8>, ends: &[End], size: u64, hours: u64) -> Vec<Requeued> {
        self.time += 1;
        let odd = self.odd.contains(&Odd::Dead) || self.odd.contains(&Odd::Deaths);
        let dying = ends.iter().filter(|end| end.keep && !odd && self.holds(id, end.name)).count() as u64;
        if dying > 0 {
            self.bury_old(size.saturating_sub(dying), hours);
        }
        let mut killed = 0;
        let mut outcomes = Vec::new();
        for end in ends {
            if !self.holds(id, end.name) {
                outcomes.push(Requeued::Gone);
                continue;
            }
            if odd {
                outcomes.push(Requeued::Refused);
                continue;
            }
            if end.keep {
                self.dead.insert(marked(end.payload), (NOW, self.time));
            }
            if end.notify {
                self.deaths.insert(0, marked(end.payload));
            }
            self.records.remove(&end.name);
            killed += 1;
            outcomes.push(Requeued::Yes);
        }
        self.leave_verdict(id, by, "poisoned", killed);
        outcomes
    }

    fn put_off(&mut self, id: u8, end: &End) -> Requeued {
        if !self.holds(id, end.name) {
            return Requeued::Gone;
        }
        if self.odd.contains(&Odd::Retry) {
            return Requeued::Refused;
        }
        self.time += 1;
        self.records.remove(&end.name);
        self.retries.insert(marked(end.payload), self.time);
        *self.counters.entry("unacknowledged").or_default() += 1;
        Requeued::Yes
    }

    /// Before others die, who stay in any case.
    fn bury_old(&mut self, room: u64, hours: u64) {
        let now = self.time;
        self.dead.retain(|_, (ago, time)| *time == now || *ago < hours);
        while self.dead.len() as u64 > room {
            let oldest = self.dead.keys().min_by_key(|payload| self.age(payload)).unwrap().clone();
            self.dead.remove(&oldest);
        }
    }

    /// Those of one time are in the order of their bytes.
    fn age(&self, payload: &String) -> impl Ord + use<> {
        let (hours, time) = self.dead[payload];
        (std::cmp::Reverse(hours), time, payload.clone())
    }

    fn settle(&mut self, real: &mut Real, id: u8, by: u8, counter: &'static str, ends: &[End]) {
        // Here a list of deaths that is none stops the script: what is settled lies in the other Redis already.
        let notify = !self.odd.contains(&Odd::Deaths);
        let keys = Keys::new("ns", "", "");
        let (judged, named) = (identity(id).id, |end: &End| Bytes::from(named(end.name)));
        let mut key_names = vec![keys.jobs(&judged), keys.verdict(&judged), keys.stats(), keys.deaths()];
        let mut args = vec![judge(by).into_bytes(), b"600000".to_vec(), counter.into()];
        for end in ends {
            let death = if end.notify && notify { marked(end.payload) } else { String::new() };
            key_names.push(keys.job(&named(end)));
            args.extend([named(end), death.into()]);
        }
        let found: u64 = real.redis.call(&scripts::SETTLE.call(&key_names, &args));
        let mut settled = 0;
        for end in ends {
            if self.holds(id, end.name) {
                self.records.remove(&end.name);
                settled += 1;
                if end.notify && notify {
                    self.deaths.insert(0, marked(end.payload));
                }
            }
        }
        assert_eq!(found, settled);
        self.leave_verdict(id, Some(by), counter, settled);
    }

    fn push(&mut self, id: u8, ends: &[End], by: Option<u8>) -> Vec<Requeued> {
        let mut queued = 0;
        let mut outcomes = Vec::new();
        for end in ends {
            outcomes.push(match self.holds(id, end.name) {
                false => Requeued::Gone,
                true if self.odd.contains(&Odd::Queue) => Requeued::Refused,
                true => {
                    self.records.remove(&end.name);
                    self.queue.push(marked(end.payload));
                    self.known_queue = true;
                    queued += 1;
                    Requeued::Yes
                }
            });
        }
        // What the instance itself puts back is not counted.
        self.leave_verdict(id, by, "recovered", if by.is_some() { queued } else { 0 });
        outcomes
    }

    /// The instance itself need not be told.
    fn leave_verdict(&mut self, id: u8, by: Option<u8>, counter: &'static str, ended: u64) {
        if ended > 0 {
            self.verdicts.extend(by.map(|by| (id, by)));
            *self.counters.entry(counter).or_default() += ended;
        }
    }

    fn holds(&self, id: u8, name: u8) -> bool {
        self.records.get(&name) == Some(&id)
    }

    fn empty(&mut self, key: Odd) {
        match key {
            Odd::Dead => self.dead.clear(),
            Odd::Deaths => self.deaths.clear(),
            Odd::Queue => self.queue.clear(),
            Odd::Retry => self.retries.clear(),
        }
        self.odd.remove(&key);
    }
}

impl Odd {
    fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Deaths => "ns:deaths",
            Self::Queue => "queue:q",
            Self::Retry => "retry",
        }
    }
}

fn death(end: &End) -> Death {
    let (name, payload) = (named(end.name).into(), marked(end.payload).into());
    Death { name, payload, keep: end.keep, notify: end.notify }
}

fn on_its_way(end: &End) -> Return {
    to_queue(&named(end.name), &marked(end.payload))
}

fn judge(by: u8) -> String {
    format!("judge {by}")
}

fn named(name: u8) -> String {
    format!("j{name}")
}

/// A payload that says why the job died.
fn marked(payload: u8) -> String {
    format!("{{\"dead\":{payload}}}")
}

fn strings(all: &[String]) -> Vec<&str> {
    all.iter().map(String::as_str).collect()
}

fn identity(id: u8) -> Identity {
    Identity { id: format!("i{id}").into_bytes(), entry: format!("{{{id}}}") }
}
