//! What should be.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use assured_core::Bytes;
use assured_core::error::Remedy;
use assured_core::identity::Identity;
use assured_core::store::{Beat, Record, Requeued};
use proptest::sample::Index;

use crate::steps::{IDS, Step};
use crate::support::{Real, Space, expiring, hash, list, record, set, space, text, to_queue};

const TTL: Duration = Duration::from_secs(600);

#[derive(Default)]
pub struct World {
    owners: BTreeMap<u8, u8>,
    /// Those that ended by themselves and left records.
    retired: BTreeSet<u8>,
    beating: BTreeSet<u8>,
    last_beats: BTreeMap<u8, Last>,
    /// By whom.
    judged: BTreeMap<u8, &'static str>,
    records: BTreeSet<(u8, String)>,
    /// Nothing where the key holds no string.
    payloads: BTreeMap<String, Option<String>>,
    queue: Vec<String>,
    /// All names that there were.
    names: Vec<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Last {
    Beat,
    Expired,
}

impl crate::support::World for World {
    type Step = Step;

    fn new(real: &mut Real) -> Self {
        // From here on the store knows the name of the data.
        let other = identity(IDS, 0);
        assert!(real.store.claim(&other, TTL).unwrap());
        real.store.retire(&other).unwrap();
        Self { names: vec!["j0".into()], ..Self::default() }
    }

    fn perform(&mut self, Real { redis, store }: &mut Real, step: &Step) {
        match step {
            Step::Claim { id, by } => {
                assert_eq!(store.claim(&identity(*id, *by), TTL).unwrap(), self.claim(*id, *by));
            }
            Step::Beat { id, by, names } => {
                let names = self.pick(names);
                let found = store.beat(&identity(*id, *by), TTL, &bytes(&names)).unwrap();
                assert_eq!(found, self.beat(*id, *by, &names));
            }
            Step::Track { id, by, releases, jobs } => {
                let releases = self.pick(releases);
                let first = self.names.len();
                let records: Vec<_> = jobs
                    .iter()
                    .zip(first..)
                    .map(|((jid, size), nth)| {
                        let payload = format!("{nth:0>size$}");
                        record(&format!("j{jid}"), &format!("j{jid}~{nth}"), &payload)
                    })
                    .collect();
                let found = store.record(&identity(*id, *by), &bytes(&releases), &records);
                let expected = self.track(*id, *by, &releases, &records);
                assert_eq!(found.map_err(|error| error.remedy), expected);
            }
            Step::Release { id, by, names } => {
                let names = self.pick(names);
                let found = store.record(&identity(*id, *by), &bytes(&names), &[]);
                let ours = self.owners.get(id).is_none_or(|owner| owner == by);
                assert_eq!(found.is_ok(), ours);
                if ours {
                    self.release(*id, &names);
                }
            }
            Step::Retire { id, by } => {
                let expected = if self.owners.get(id) == Some(by) {
                    self.beating.remove(id);
                    self.retired.insert(*id);
                    self.end(*id)
                } else {
                    0
                };
                assert_eq!(store.retire(&identity(*id, *by)).unwrap(), expected);
            }
            Step::Bury { id } => {
                let expected = if self.beating.contains(id) { 0 } else { self.end(*id) };
                assert_eq!(store.bury(&identity(*id, 0).id).unwrap(), expected);
            }
            Step::Payloads { names, budget } => {
                let names = self.pick(names);
                assert_eq!(store.payloads(&bytes(&names), *budget).unwrap(), self.read(&names, *budget));
            }
            Step::Forget { id, name } => {
                let name = name.get(&self.names).clone();
                let found = store.forget(&identity(*id, 0).id, name.as_bytes()).unwrap();
                let gone = !self.payloads.contains_key(&name);
                assert_eq!(found, gone && self.records.remove(&(*id, name)));
            }
            Step::Requeue { id, names } => {
                let names = self.pick(names);
                let returns: Vec<_> = names.iter().map(|name| to_queue(name, name)).collect();
                let found = store.requeue(&identity(*id, 0).id, b"judge", &returns).unwrap();
                assert_eq!(found, self.requeue(*id, names));
            }
            Step::Expire { id } => {
                redis.mark_dead(&format!("i{id}"));
                self.beating.remove(id);
                self.last_beats.insert(*id, Last::Expired);
            }
            Step::Unregister { id } => {
                redis.run::<()>(&["HDEL", "ns:instances", &format!("i{id}")]);
                self.owners.remove(id);
                self.retired.remove(id);
            }
            Step::Evict { name } => {
                let name = name.get(&self.names);
                redis.run::<()>(&["DEL", &format!("ns:job:{name}")]);
                self.payloads.remove(name);
            }
            Step::Spoil { name } => {
                let name = name.get(&self.names);
                let key = format!("ns:job:{name}");
                redis.run::<()>(&["DEL", &key]);
                redis.run::<()>(&["RPUSH", &key, "no string"]);
                self.payloads.insert(name.clone(), None);
            }
        }
    }

    fn expected(&self) -> Space {
        let mut keys = space([]);
        let entry = |id, by| match self.retired.contains(&id) {
            true => format!("{{{by},\"retired\":true}}"),
            false => identity(id, by).entry,
        };
        let owners: Vec<_> = self.owners.iter().map(|(id, by)| (format!("i{id}"), entry(*id, *by))).collect();
        let pairs: Vec<_> = owners.iter().map(|(id, entry)| (id.as_str(), entry.as_str())).collect();
        if !pairs.is_empty() {
            keys = keys.with("ns:instances", hash(&pairs));
        }
        for id in &self.beating {
            keys = keys.beating(&format!("i{id}"));
        }
        for (id, by) in &self.judged {
            keys = keys.with(&format!("ns:verdict:i{id}"), expiring(by));
        }
        for id in 0..IDS {
            let names: Vec<_> = self.held(id).map(String::as_str).collect();
            if !names.is_empty() {
                keys = keys.with(&format!("ns:jobs:i{id}"), set(&names));
            }
        }
        for (name, payload) in &self.payloads {
            let content = payload.as_deref().map_or_else(|| list(&["no string"]), text);
            keys = keys.with(&format!("ns:job:{name}"), content);
        }
        if !self.queue.is_empty() {
            let queued: Vec<_> = self.queue.iter().map(String::as_str).collect();
            keys = keys.with("queue:q", list(&queued)).with("queues", set(&["q"]));
        }
        keys
    }
}

impl World {
    fn pick(&self, names: &[Index]) -> Vec<String> {
        names.iter().map(|nth| nth.get(&self.names).clone()).collect()
    }

    fn held(&self, id: u8) -> impl Iterator<Item = &String> {
        self.records.iter().filter(move |(holder, _)| *holder == id).map(|(_, name)| name)
    }

    fn serves(&self, id: u8, by: u8) -> bool {
        self.owners.get(&id) == Some(&by) && !self.retired.contains(&id)
    }

    fn claim(&mut self, id: u8, by: u8) -> bool {
        if !self.serves(id, by) {
            if self.beating.contains(&id) || self.held(id).next().is_some() {
                return false;
            }
            self.owners.insert(id, by);
            self.retired.remove(&id);
            self.judged.remove(&id);
        }
        self.beating.insert(id);
        self.last_beats.insert(id, Last::Beat);
        true
    }

    fn beat(&mut self, id: u8, by: u8, names: &[String]) -> Beat {
        self.owners.entry(id).or_insert(by);
        if !self.serves(id, by) {
            return Beat::Taken;
        }
        self.beating.insert(id);
        match self.last_beats.insert(id, Last::Beat) {
            Some(Last::Beat) => {}
            Some(Last::Expired) => drop(self.judged.entry(id).or_insert("expired")),
            None => drop(self.judged.entry(id).or_insert("gone")),
        }
        Beat::Ours {
            data_lost: false,
            verdict: self.judged.get(&id).map(|by| Bytes::from(*by)),
            records: self.held(id).map(|name| Bytes::from(name.as_str())).collect(),
            payloads: names.iter().map(|name| self.payloads.contains_key(name)).collect(),
        }
    }

    /// For each record whether it took its spare name.
    fn track(
        &mut self,
        id: u8,
        by: u8,
        releases: &[String],
        records: &[Record],
    ) -> Result<Vec<bool>, Remedy> {
        self.owners.entry(id).or_insert(by);
        if !self.serves(id, by) {
            return Err(Remedy::Reclaim);
        }
        self.release(id, releases);
        let mut track_one = |record: &Record| {
            let [jid, spare, payload] = [&record.name[..], &record.spare, &record.text]
                .map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
            let taken = self.payloads.contains_key(&jid) && !self.records.contains(&(id, jid.clone()));
            let name = if taken { spare } else { jid };
            self.payloads.insert(name.clone(), Some(payload));
            self.records.insert((id, name.clone()));
            self.names.push(name);
            taken
        };
        Ok(records.iter().map(&mut track_one).collect())
    }

    /// The payload goes with the record, and with nobody else's.
    fn release(&mut self, id: u8, names: &[String]) {
        for name in names {
            if self.records.remove(&(id, name.clone())) {
                self.payloads.remove(name);
            }
        }
    }

    /// How many records are left; an id that has none is nobody's.
    fn end(&mut self, id: u8) -> u64 {
        let left = self.held(id).count() as u64;
        self.last_beats.remove(&id);
        if left == 0 {
            self.owners.remove(&id);
            self.retired.remove(&id);
        } else {
            self.last_beats.insert(id, Last::Expired);
        }
        left
    }

    /// The first payload in any case, and then as many as fit.
    fn read(&self, names: &[String], budget: usize) -> Vec<Option<Bytes>> {
        let mut spent = 0;
        let within = |(nth, name): (usize, &String)| {
            let payload = self.payloads.get(name);
            if payload != Some(&None) {
                spent += payload.and_then(Option::as_ref).map_or(0, String::len);
                if nth > 0 && spent > budget {
                    return None;
                }
            }
            Some(payload.and_then(Option::as_ref).map(|payload| payload.clone().into()))
        };
        names.iter().enumerate().map_while(within).collect()
    }

    fn requeue(&mut self, id: u8, names: Vec<String>) -> Option<Vec<Requeued>> {
        // Without a record to look at, nothing is asked.
        if names.is_empty() {
            return Some(Vec::new());
        }
        if self.beating.contains(&id) {
            return None;
        }
        let move_one = |name: String| {
            if !self.records.remove(&(id, name.clone())) {
                return Requeued::Gone;
            }
            self.payloads.remove(&name);
            self.queue.push(name);
            self.judged.insert(id, "judge");
            Requeued::Yes
        };
        Some(names.into_iter().map(move_one).collect())
    }
}

fn identity(id: u8, by: u8) -> Identity {
    Identity { id: format!("i{id}").into_bytes(), entry: format!("{{{by}}}") }
}

fn bytes(names: &[String]) -> Vec<Bytes> {
    names.iter().map(|name| name.as_str().into()).collect()
}
