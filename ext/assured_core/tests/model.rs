//! Random sequences of verbs on a few jids and instances, against a model in memory. After each step the
//! whole key space must be the one that the model says.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use assured_core::identity::Identity;
use assured_core::registry::{Mirrored, Registry, Token};
use assured_core::store::{Beat, Record, Return};
use proptest::prelude::*;
use support::{Real, Space, expiring, hash, list, set, space, text, try_sequences};

const TTL: Duration = Duration::from_secs(600);
const INSTANCES: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    /// An instance begins an attempt of a jid.
    Track { instance: usize, jid: u8 },
    /// The same, and the reply is lost, so it is sent again.
    TrackTwice { instance: usize, jid: u8 },
    /// An attempt ends, whether or not its instance still has the record.
    Release { nth: usize },
    /// The owner puts an attempt back.
    GiveBack { nth: usize },
    /// An instance that does not beat is recovered from, and does not know it.
    Requeue { instance: usize },
    /// An instance beats, and learns of a verdict.
    Beat { instance: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let (instance, jid, nth) = (|| 0..INSTANCES, || 0..3u8, || 0..8usize);
    prop_oneof![
        4 => (instance(), jid()).prop_map(|(instance, jid)| Step::Track { instance, jid }),
        1 => (instance(), jid()).prop_map(|(instance, jid)| Step::TrackTwice { instance, jid }),
        3 => nth().prop_map(|nth| Step::Release { nth }),
        1 => nth().prop_map(|nth| Step::GiveBack { nth }),
        1 => instance().prop_map(|instance| Step::Requeue { instance }),
        1 => instance().prop_map(|instance| Step::Beat { instance }),
    ]
}

/// An attempt as the model sees it.
#[derive(Clone)]
struct Attempt {
    instance: usize,
    token: Token,
    name: String,
    payload: String,
    /// Not any more once it was recovered behind its owner's back.
    recorded: bool,
}

/// What should be, and the registries of the instances.
struct World {
    registries: Vec<Registry>,
    beating: BTreeSet<usize>,
    judged: BTreeSet<usize>,
    attempts: Vec<Attempt>,
    queue: Vec<String>,
    tracked: usize,
}

impl support::World for World {
    type Step = Step;

    fn new(real: &mut Real) -> Self {
        for instance in 0..INSTANCES {
            assert!(real.store.claim(&identity(instance), TTL).unwrap());
        }
        Self {
            registries: (0..INSTANCES).map(|i| Registry::new(&format!("n{i}"))).collect(),
            beating: (0..INSTANCES).collect(),
            judged: BTreeSet::new(),
            attempts: Vec::new(),
            queue: Vec::new(),
            tracked: 0,
        }
    }

    fn perform(&mut self, real: &mut Real, step: &Step) {
        match *step {
            Step::Track { instance, jid } => self.track(real, instance, jid, 1),
            Step::TrackTwice { instance, jid } => self.track(real, instance, jid, 2),
            Step::Release { nth } => self.release(real, nth),
            Step::GiveBack { nth } => self.give_back(real, nth),
            Step::Requeue { instance } => self.requeue(real, instance),
            Step::Beat { instance } => self.beat(real, instance),
        }
    }

    fn expected(&self) -> Space {
        let registry: BTreeMap<_, _> =
            (0..INSTANCES).map(identity).map(|i| (String::from_utf8(i.id).unwrap(), i.entry)).collect();
        let pairs: Vec<_> = registry.iter().map(|(id, entry)| (id.as_str(), entry.as_str())).collect();
        let mut keys = space([("ns:instances", hash(&pairs))]);
        for instance in &self.beating {
            keys = keys.beating(&format!("i{instance}"));
        }
        for instance in &self.judged {
            keys = keys.with(&format!("ns:verdict:i{instance}"), expiring("judge"));
        }
        for instance in 0..INSTANCES {
            let held = self.attempts.iter().filter(|a| a.instance == instance && a.recorded);
            let names: Vec<_> = held.map(|a| a.name.as_str()).collect();
            if !names.is_empty() {
                keys = keys.with(&format!("ns:jobs:i{instance}"), set(&names));
            }
        }
        for attempt in self.attempts.iter().filter(|a| a.recorded) {
            keys = keys.with(&format!("ns:job:{}", attempt.name), text(&attempt.payload));
        }
        if !self.queue.is_empty() {
            let queued: Vec<_> = self.queue.iter().map(String::as_str).collect();
            keys = keys.with("queue:q", list(&queued)).with("queues", set(&["q"]));
        }
        keys
    }
}

impl World {
    fn track(&mut self, real: &mut Real, instance: usize, jid: u8, times: usize) {
        self.tracked += 1;
        let (jid, payload) = (format!("j{jid}"), format!("{{{}}}", self.tracked));
        let registry = &self.registries[instance];
        let token = registry.admit(jid.as_bytes(), b"q", payload.as_bytes());
        let attempt = registry.send(token).unwrap();
        let record = Record {
            name: attempt.name.clone(),
            spare: attempt.spare.clone(),
            text: attempt.payload.to_vec(),
        };
        for _ in 0..times {
            let spare = real.store.record(&identity(instance), &[], std::slice::from_ref(&record));
            if spare.unwrap() == [true] {
                registry.rename_to_spare(token);
            }
        }
        registry.set_mirrored(token, Mirrored::Yes);

        // A jid names the record of one attempt at a time, in all of Redis and in one process.
        let taken = |other: &Attempt| other.name == jid && (other.recorded || other.instance == instance);
        let name = match self.attempts.iter().any(taken) {
            true => format!("{jid}~n{instance}.{token}"),
            false => jid,
        };
        self.attempts.push(Attempt { instance, token, name, payload, recorded: true });
    }

    fn take(&mut self, nth: usize) -> Option<(Attempt, Vec<u8>)> {
        if self.attempts.is_empty() {
            return None;
        }
        let attempt = self.attempts.remove(nth % self.attempts.len());
        let name = self.registries[attempt.instance].remove(attempt.token).unwrap().name;
        Some((attempt, name))
    }

    fn release(&mut self, real: &mut Real, nth: usize) {
        if let Some((attempt, name)) = self.take(nth) {
            let names = [name];
            real.store.record(&identity(attempt.instance), &names, &[]).unwrap();
            self.registries[attempt.instance].free(&names[0], attempt.token);
        }
    }

    fn give_back(&mut self, real: &mut Real, nth: usize) {
        if let Some((attempt, name)) = self.take(nth) {
            let item = Return { name, queue: b"q".to_vec(), payload: attempt.payload.clone().into_bytes() };
            real.store.give_back(&identity(attempt.instance), std::slice::from_ref(&item)).unwrap();
            self.registries[attempt.instance].free(&item.name, attempt.token);
            if attempt.recorded {
                self.queue.push(attempt.payload);
            }
        }
    }

    fn requeue(&mut self, real: &mut Real, instance: usize) {
        let id = identity(instance).id;
        real.redis.mark_dead(&format!("i{instance}"));
        self.beating.remove(&instance);
        let held = self.attempts.iter_mut().filter(|a| a.instance == instance && a.recorded);
        let mut returns = Vec::new();
        for attempt in held {
            attempt.recorded = false;
            self.queue.push(attempt.payload.clone());
            returns.push(Return {
                name: attempt.name.clone().into_bytes(),
                queue: b"q".to_vec(),
                payload: attempt.payload.clone().into_bytes(),
            });
        }
        if !returns.is_empty() {
            self.judged.insert(instance);
        }
        // Twice: a second recoverer finds nothing to do.
        for by in ["judge", "second"] {
            real.store.requeue(&id, by.as_bytes(), &returns).unwrap().unwrap();
        }
    }

    fn beat(&mut self, real: &mut Real, instance: usize) {
        let identity = identity(instance);
        if let Beat::Ours { verdict: Some(verdict), .. } = real.store.beat(&identity, TTL, &[]).unwrap() {
            real.store.clear_verdict(&identity.id, &verdict).unwrap();
        }
        self.beating.insert(instance);
        self.judged.remove(&instance);
    }
}

fn identity(instance: usize) -> Identity {
    Identity { id: format!("i{instance}").into_bytes(), entry: format!("{{{instance}}}") }
}

#[test]
fn every_sequence_leaves_the_keys_that_the_model_says() {
    try_sequences::<World>(step(), 30);
}
