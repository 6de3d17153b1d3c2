//! What should be.

use std::collections::{BTreeMap, BTreeSet};

use assured_core::Bytes;
use assured_core::error::Remedy;
use assured_core::identity::Identity;
use assured_core::store::{Order, Popped, Requeued, Return};
use proptest::sample::Index;

use crate::steps::{INSTANCES, Job, NEVER_DUE, NO_LIST, Owner, QUEUES, SETS, Step, raw};
use crate::support::{Real, Space, hash, list, names, set, shown, sorted, space, text};

pub struct World {
    owners: [Owner; INSTANCES],
    /// The last job of each is popped next.
    queues: [Vec<Job>; NO_LIST],
    known_queues: BTreeSet<&'static str>,
    sets: [Vec<(i64, Job)>; 2],
    /// Holder and text by name.
    records: BTreeMap<String, (usize, String)>,
    /// Names and payloads of all records that there were: late releases know them.
    attempts: Vec<(String, String)>,
    pops: usize,
}

impl crate::support::World for World {
    type Step = Step;

    fn new(real: &mut Real) -> Self {
        real.redis.seed(&space([("queue:w", text("no list"))]));
        Self {
            owners: [Owner::Nobody; INSTANCES],
            queues: Default::default(),
            known_queues: BTreeSet::new(),
            sets: Default::default(),
            records: BTreeMap::new(),
            attempts: vec![("j0".into(), "{}".into())],
            pops: 0,
        }
    }

    fn perform(&mut self, real: &mut Real, step: &Step) {
        match step {
            Step::Push { queue, job } => {
                let key = format!("queue:{}", QUEUES[*queue]);
                real.redis.run_bytes::<()>(&[b"LPUSH", key.as_bytes(), &raw(&job.payload)]);
                self.queues[*queue].insert(0, job.clone());
            }
            Step::Schedule { set, at, job } => {
                let (key, score) = (SETS[*set].as_bytes(), at.to_string());
                real.redis.run_bytes::<()>(&[b"ZADD", key, score.as_bytes(), &raw(&job.payload)]);
                self.sets[*set].retain(|(_, other)| other.payload != job.payload);
                self.sets[*set].push((*at, job.clone()));
            }
            Step::Fetch { instance, orders, releases } => self.fetch(real, *instance, orders, releases),
            Step::PopDue { instance, set } => self.pop_due(real, *instance, *set),
            Step::Enqueue { instance, record, queue, job } => {
                let name = record.get(&self.attempts).0.clone();
                self.enqueue(real, *instance, name, *queue, job);
            }
            Step::PushBack { queue, job } => {
                let pushed = real.store.push_back(QUEUES[*queue].as_bytes(), &raw(&job.payload));
                assert_eq!(pushed.is_ok(), *queue != NO_LIST);
                if let Some(queue) = self.queues.get_mut(*queue) {
                    queue.push(job.clone());
                }
            }
            Step::ReleaseIfUnchanged { instance, records } => {
                let pick = |(name, payload): &(Index, Index)| {
                    (name.get(&self.attempts).0.clone(), payload.get(&self.attempts).1.clone())
                };
                self.release_if_unchanged(real, *instance, records.iter().map(pick).collect());
            }
            Step::Register { instance, owner } => self.register(real, *instance, *owner),
        }
    }

    fn expected(&self) -> Space {
        let mut keys = space([("queue:w", text("no list"))]);
        let owners: Vec<_> =
            (0..INSTANCES).filter_map(|i| Some((format!("i{i}"), entry(i, self.owners[i])?))).collect();
        let pairs: Vec<_> = owners.iter().map(|(id, entry)| (id.as_str(), entry.as_str())).collect();
        if !pairs.is_empty() {
            keys = keys.with("ns:instances", hash(&pairs));
        }
        for (name, jobs) in QUEUES.iter().zip(&self.queues).filter(|(_, jobs)| !jobs.is_empty()) {
            let payloads: Vec<_> = jobs.iter().map(|job| visible(&job.payload)).collect();
            let payloads: Vec<_> = payloads.iter().map(String::as_str).collect();
            keys = keys.with(&format!("queue:{name}"), list(&payloads));
        }
        if !self.known_queues.is_empty() {
            keys = keys.with("queues", set(&self.known_queues.iter().copied().collect::<Vec<_>>()));
        }
        for (name, jobs) in SETS.iter().zip(&self.sets).filter(|(_, jobs)| !jobs.is_empty()) {
            let scored: Vec<_> = jobs.iter().map(|(at, job)| (visible(&job.payload), *at)).collect();
            let scored: Vec<_> = scored.iter().map(|(payload, at)| (payload.as_str(), *at)).collect();
            keys = keys.with(name, sorted(&scored));
        }
        for instance in 0..INSTANCES {
            let held = self.records.iter().filter(|(_, (holder, _))| *holder == instance);
            let names: Vec<_> = held.map(|(name, _)| visible(name)).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            if !names.is_empty() {
                keys = keys.with(&format!("ns:jobs:i{instance}"), set(&names));
            }
        }
        let payload = |keys: Space, (name, (_, payload)): (&String, &(usize, String))| {
            keys.with(&visible(&format!("ns:job:{name}")), text(&visible(payload)))
        };
        self.records.iter().fold(keys, payload)
    }
}

impl World {
    fn fetch(&mut self, real: &mut Real, instance: usize, orders: &[Vec<usize>], releases: &[Index]) {
        let releases: Vec<_> = releases.iter().map(|nth| nth.get(&self.attempts).0.clone()).collect();
        let sent: Vec<_> = orders
            .iter()
            .zip(self.pops..)
            .map(|(positions, pop)| Order { suffix: suffix(pop).into(), positions: positions.clone() })
            .collect();
        let releases_sent: Vec<_> = releases.iter().map(|name| raw(name)).collect();
        let found = real.store.fetch(&identity(instance), &releases_sent, &names(&QUEUES), &sent);
        let expected = self.serve(instance, orders, &releases);
        self.pops += orders.len();
        assert_eq!(found.map_err(|error| error.remedy), expected);
    }

    fn serve(&mut self, i: usize, orders: &[Vec<usize>], releases: &[String]) -> Result<Vec<Popped>, Remedy> {
        self.take_id(i)?;
        self.records.retain(|name, (holder, _)| *holder != i || !releases.contains(name));
        let mut served = Vec::new();
        for (order, positions) in orders.iter().enumerate() {
            let stop = |queue: &&usize| **queue == NO_LIST || !self.queues[**queue].is_empty();
            let Some(&queue) = positions.iter().find(stop) else { continue };
            if queue == NO_LIST {
                // Who was served before that gets the job all the same.
                return if served.is_empty() { Err(Remedy::Wait) } else { Ok(served) };
            }
            let job = self.queues[queue].pop().unwrap();
            let name = self.record(i, &job, self.pops + order, Some(QUEUES[queue]));
            served.push(Popped { order, queue, payload: raw(&job.payload), name });
        }
        Ok(served)
    }

    fn pop_due(&mut self, real: &mut Real, instance: usize, set: usize) {
        let suffix = suffix(self.pops);
        let found = real.store.pop_due(&identity(instance), SETS[set].as_bytes(), suffix.as_bytes());
        let expected = self.take_id(instance).map(|()| {
            let jobs = &mut self.sets[set];
            let due = (0..jobs.len()).filter(|i| jobs[*i].0 != NEVER_DUE);
            let first = due.min_by_key(|i| (jobs[*i].0, jobs[*i].1.payload.clone()))?;
            let (_, job) = jobs.remove(first);
            let name = self.record(instance, &job, self.pops, None);
            Some((raw(&job.payload), name))
        });
        self.pops += 1;
        assert_eq!(found.map_err(|error| error.remedy), expected);
    }

    fn enqueue(&mut self, real: &mut Real, instance: usize, name: String, queue: usize, job: &Job) {
        let due = Return { name: raw(&name), queue: QUEUES[queue].into(), payload: raw(&job.payload) };
        let found = real.store.enqueue(&identity(instance), due).map_err(|error| error.remedy);
        let expected = match self.records.get(&name) {
            _ if self.owners[instance] == Owner::Other => Err(Remedy::Reclaim),
            Some((holder, _)) if *holder != instance => Ok(Requeued::Gone),
            None => Ok(Requeued::Gone),
            Some(_) if queue == NO_LIST => Ok(Requeued::Refused),
            Some(_) => {
                self.records.remove(&name);
                self.queues[queue].insert(0, job.clone());
                self.known_queues.insert(QUEUES[queue]);
                Ok(Requeued::Yes)
            }
        };
        assert_eq!(found, expected);
    }

    fn release_if_unchanged(&mut self, real: &mut Real, instance: usize, records: Vec<(String, String)>) {
        let sent: Vec<_> = records.iter().map(|(name, payload)| (raw(name), raw(payload).into())).collect();
        let found = real.store.release_if_unchanged(&identity(instance), &sent).map_err(|error| error.remedy);
        if self.owners[instance] == Owner::Other {
            assert_eq!(found, Err(Remedy::Reclaim));
            return;
        }
        assert_eq!(found, Ok(()));
        for (name, payload) in records {
            let holds = |(holder, text): &(usize, String)| {
                *holder == instance
                    && (*text == payload || text.strip_suffix(&payload).is_some_and(is_header))
            };
            if self.records.get(&name).is_some_and(holds) {
                self.records.remove(&name);
            }
        }
    }

    fn register(&mut self, real: &mut Real, instance: usize, owner: Owner) {
        let id = format!("i{instance}");
        match entry(instance, owner) {
            Some(entry) => real.redis.run::<()>(&["HSET", "ns:instances", &id, &entry]),
            None => real.redis.run::<()>(&["HDEL", "ns:instances", &id]),
        }
        self.owners[instance] = owner;
    }

    /// Who records must stand in the registry.
    fn take_id(&mut self, instance: usize) -> Result<(), Remedy> {
        if self.owners[instance] == Owner::Other {
            return Err(Remedy::Reclaim);
        }
        self.owners[instance] = Owner::This;
        Ok(())
    }

    /// A name is that of one record at a time, in all of Redis.
    fn record(&mut self, instance: usize, job: &Job, pop: usize, queue: Option<&str>) -> Option<Bytes> {
        let label = job.label.clone()?;
        let free = !label.is_empty() && !self.records.contains_key(&label);
        let name = if free { label } else { label + &suffix(pop) };
        self.records.insert(name.clone(), (instance, in_record(queue, &job.payload)));
        self.attempts.push((name.clone(), job.payload.clone()));
        Some(raw(&name))
    }
}

/// The text of a record: the queue stands in it where the payload names another one, or none.
fn in_record(queue: Option<&str>, payload: &str) -> String {
    match queue {
        Some(queue) if assured_core::payload::queue(&raw(payload)).as_deref() != Some(queue.as_bytes()) => {
            format!("queue {} {queue}\n{payload}", queue.len())
        }
        _ => payload.to_owned(),
    }
}

fn is_header(text: &str) -> bool {
    text.starts_with("queue ") && text.ends_with('\n')
}

/// How the whole key space shows it.
fn visible(text: &str) -> String {
    shown(raw(text))
}

fn suffix(pop: usize) -> String {
    format!("~n.{pop}")
}

fn entry(instance: usize, owner: Owner) -> Option<String> {
    match owner {
        Owner::Nobody => None,
        Owner::This => Some(identity(instance).entry),
        Owner::Adopted => Some(r#"{"version":"1.x"}"#.into()),
        Owner::Other => Some(r#"{"other":1}"#.into()),
    }
}

fn identity(instance: usize) -> Identity {
    Identity { id: format!("i{instance}").into_bytes(), entry: format!("{{{instance}}}") }
}
