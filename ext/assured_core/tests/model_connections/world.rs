//! What should be.

use std::collections::{BTreeMap, BTreeSet};

use assured_core::identity::Identity;
use assured_core::keys::Keys;
use assured_core::scripts;
use assured_core::store::Silence;
use assured_core::verdict::Sighting;

use crate::steps::{Connection, IDS, Step};
use crate::support::{Real, Space, expiring, hash, set, space};

const ADOPTED: &str = r#"{"version":"1.x"}"#;
const TTL: &str = "600000";
/// What no instance writes.
const SPOILED: &str = "none of ours";
const EPOCH: &str = "epoch";

/// Taken, the verdict, the name of the data.
type BeatReply = (bool, Option<String>, String);

#[derive(Default)]
pub struct World {
    entries: BTreeMap<u8, String>,
    heartbeats: BTreeMap<u8, u64>,
    beats: BTreeMap<u8, Noted>,
    verdicts: BTreeMap<u8, &'static str>,
    holding: BTreeSet<u8>,
    /// All that anybody may have seen, and may act on much later.
    seen: Vec<(u8, Option<u64>, Option<Noted>)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Noted {
    Beat(u64, Connection),
    Expired,
    Spoiled,
}

impl crate::support::World for World {
    type Step = Step;

    fn new(real: &mut Real) -> Self {
        for script in [&scripts::BEAT, &scripts::CLAIM, &scripts::ADOPT] {
            real.redis.call::<()>(&script.load());
        }
        Self { seen: vec![(0, Some(1), Some(Noted::Beat(1, None)))], ..Self::default() }
    }

    fn perform(&mut self, Real { redis, store }: &mut Real, step: &Step) {
        let keys = Keys::new("ns", "", "");
        match *step {
            Step::Beat { id, by, at, connection } => {
                let name = identity(id, by).id;
                let keys =
                    [keys.instance(&name), keys.instances(), keys.verdict(&name), keys.beats(), keys.epoch()];
                let args = [beat_args(id, by, at, connection).as_slice(), &[EPOCH.into()]].concat();
                let found: BeatReply = redis.call(&scripts::BEAT.call(&keys, &args));
                assert_eq!(found, self.beat(id, by, at, connection));
            }
            Step::Claim { id, by, at, connection } => {
                let name = identity(id, by).id;
                let keys = [
                    keys.instance(&name),
                    keys.jobs(&name),
                    keys.instances(),
                    keys.verdict(&name),
                    keys.beats(),
                    keys.epoch(),
                ];
                let found: Option<String> =
                    redis.call(&scripts::CLAIM.call(&keys, &beat_args(id, by, at, connection)));
                assert_eq!(found.is_some(), self.claim(id, by, at, connection));
            }
            // What an instance leaves in the registry that leaves records is the concern of `model_records`.
            Step::Retire { id, .. } if self.holding.contains(&id) => {}
            Step::Retire { id, by } => {
                assert_eq!(store.retire(&identity(id, by)).unwrap(), 0);
                if self.entries.get(&id) == Some(&identity(id, by).entry) {
                    self.heartbeats.remove(&id);
                    self.end(id);
                }
            }
            Step::ExpireSilent { seen } => {
                let (id, _, beat) = *seen.get(&self.seen);
                // Whoever has no last beat is not among those that are looked at.
                let Some(beat) = beat else { return };
                let seen = Silence { id: identity(id, 0).id, beat: shown(beat).into() };
                assert_eq!(store.expire_silent(&seen).unwrap(), self.expire(id, None, Some(beat)));
            }
            Step::Expire { seen } => {
                let (id, heartbeat, beat) = *seen.get(&self.seen);
                let seen = Sighting {
                    id: identity(id, 0).id,
                    heartbeat: heartbeat.map(|at| at.to_string().into()),
                    beat: beat.map(|beat| shown(beat).into()),
                };
                assert_eq!(store.expire(&seen).unwrap(), self.expire(id, Some(heartbeat), beat));
            }
            Step::Bury { id } => {
                let left = store.bury(&identity(id, 0).id).unwrap();
                let alive = self.heartbeats.contains_key(&id)
                    || self.beats.get(&id).is_some_and(|beat| *beat != Noted::Expired);
                assert_eq!(left, if alive { 0 } else { self.end(id) });
            }
            Step::Adopt { id } => {
                let name = identity(id, 0).id;
                let keys = [keys.instance(&name), keys.jobs(&name), keys.instances()];
                let found: bool =
                    redis.call(&scripts::ADOPT.call(&keys, &[name.as_slice(), ADOPTED.as_bytes()]));
                let there = self.heartbeats.contains_key(&id) || self.holding.contains(&id);
                let stranger = there && !self.entries.contains_key(&id);
                assert_eq!(found, stranger);
                if stranger {
                    self.entries.insert(id, ADOPTED.into());
                }
            }
            Step::Evict { id } => {
                redis.run::<()>(&["DEL", &format!("ns:instance:i{id}")]);
                self.heartbeats.remove(&id);
            }
            Step::Unregister { id } => {
                redis.run::<()>(&["HDEL", "ns:instances", &format!("i{id}")]);
                self.entries.remove(&id);
            }
            Step::Hold { id } => {
                redis.run::<()>(&["SADD", &format!("ns:jobs:i{id}"), "j"]);
                self.holding.insert(id);
            }
            Step::LetGo { id } => {
                redis.run::<()>(&["DEL", &format!("ns:jobs:i{id}")]);
                self.holding.remove(&id);
            }
            Step::Spoil { id } => {
                redis.run::<()>(&["HSET", "ns:beats", &format!("i{id}"), SPOILED]);
                self.beats.insert(id, Noted::Spoiled);
            }
        }
        let beats: BTreeMap<String, String> = redis.run(&["HGETALL", "ns:beats"]);
        let expected = self.beats.iter().map(|(id, beat)| (format!("i{id}"), shown(*beat)));
        assert_eq!(beats, expected.collect(), "after {step:?}");
        for id in 0..IDS {
            self.seen.push((id, self.heartbeats.get(&id).copied(), self.beats.get(&id).copied()));
        }
    }

    fn expected(&self) -> Space {
        let named = |fields: Vec<(u8, String)>| {
            let fields: Vec<_> = fields.into_iter().map(|(id, value)| (format!("i{id}"), value)).collect();
            hash(&fields.iter().map(|(id, value)| (id.as_str(), value.as_str())).collect::<Vec<_>>())
        };
        let mut keys = space([]);
        if !self.entries.is_empty() {
            keys = keys.with("ns:instances", named(self.entries.clone().into_iter().collect()));
        }
        for (id, at) in &self.heartbeats {
            keys = keys.with(&format!("ns:instance:i{id}"), expiring(&at.to_string()));
        }
        for (id, verdict) in &self.verdicts {
            keys = keys.with(&format!("ns:verdict:i{id}"), expiring(verdict));
        }
        for id in (0..IDS).filter(|id| self.holding.contains(id)) {
            keys = keys.with(&format!("ns:jobs:i{id}"), set(&["j"]));
        }
        keys
    }
}

impl World {
    fn beat(&mut self, id: u8, by: u8, at: u64, connection: Connection) -> BeatReply {
        let entry = identity(id, by).entry;
        match self.entries.get(&id) {
            Some(owner) if *owner != entry && owner != ADOPTED => return (true, None, String::new()),
            _ => self.entries.insert(id, entry),
        };
        self.heartbeats.insert(id, at);
        match self.beats.get(&id) {
            None => drop(self.verdicts.entry(id).or_insert("gone")),
            Some(Noted::Expired) => drop(self.verdicts.entry(id).or_insert("expired")),
            Some(_) => {}
        }
        self.note(id, at, connection);
        (false, self.verdicts.get(&id).map(|verdict| (*verdict).into()), EPOCH.into())
    }

    fn claim(&mut self, id: u8, by: u8, at: u64, connection: Connection) -> bool {
        let entry = identity(id, by).entry;
        if self.entries.get(&id) != Some(&entry) {
            if self.heartbeats.contains_key(&id) || self.holding.contains(&id) {
                return false;
            }
            self.entries.insert(id, entry);
            self.beats.remove(&id);
            self.verdicts.remove(&id);
        }
        self.heartbeats.insert(id, at);
        self.note(id, at, connection);
        true
    }

    /// The later beat stays, whichever came through first.
    fn note(&mut self, id: u8, at: u64, connection: Connection) {
        if !matches!(self.beats.get(&id), Some(Noted::Beat(noted, _)) if at < *noted) {
            self.beats.insert(id, Noted::Beat(at, connection));
        }
    }

    /// What is missing is no sign of life. A `heartbeat` of `None`: nobody asked for it.
    fn expire(&mut self, id: u8, heartbeat: Option<Option<u64>>, beat: Option<Noted>) -> bool {
        let beaten = self.beats.get(&id).is_some_and(|now| Some(now) != beat.as_ref());
        let there = |seen: Option<u64>| self.heartbeats.get(&id).is_some_and(|now| Some(*now) != seen);
        if beaten || heartbeat.is_some_and(there) || !self.entries.contains_key(&id) {
            return false;
        }
        self.heartbeats.remove(&id);
        self.beats.insert(id, Noted::Expired);
        true
    }

    /// How many records are left; an id that has none is nobody's.
    fn end(&mut self, id: u8) -> u64 {
        self.beats.remove(&id);
        if self.holding.contains(&id) {
            self.beats.insert(id, Noted::Expired);
            return 1;
        }
        self.entries.remove(&id);
        0
    }
}

fn beat_args(id: u8, by: u8, at: u64, connection: Connection) -> Vec<String> {
    let beat = shown(Noted::Beat(at, connection));
    vec![format!("i{id}"), identity(id, by).entry, at.to_string(), TTL.into(), beat, "another epoch".into()]
}

/// As the hash `beats` shows it.
fn shown(beat: Noted) -> String {
    match beat {
        Noted::Beat(at, None) => format!("{at} 1700000000.5"),
        Noted::Beat(at, Some((run, client))) => {
            format!("{at} 1700000000.5 {} {client}", run.to_string().repeat(40))
        }
        Noted::Expired => "expired".into(),
        Noted::Spoiled => SPOILED.into(),
    }
}

fn identity(id: u8, by: u8) -> Identity {
    Identity { id: format!("i{id}").into_bytes(), entry: format!("{{{by}}}") }
}
