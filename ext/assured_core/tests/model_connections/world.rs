//! What should be.

use std::collections::{BTreeMap, BTreeSet};

use assured_core::identity::Identity;
use assured_core::keys::Keys;
use assured_core::scripts;
use assured_core::store::Silence;

use crate::steps::{Connection, IDS, Step};
use crate::support::{Real, Space, expiring, hash, set, space};

const ADOPTED: &str = r#"{"version":"1.x"}"#;
const TTL: &str = "600000";
/// What no server calls a connection.
const SPOILED: &str = "none of ours";

/// Taken, the verdict, whether the last heartbeat was still there.
type BeatReply = (bool, Option<String>, bool);

#[derive(Default)]
pub struct World {
    entries: BTreeMap<u8, String>,
    beats: BTreeMap<u8, u8>,
    connections: BTreeMap<u8, Noted>,
    holding: BTreeSet<u8>,
    /// All that anybody may have seen, and may act on much later.
    seen: Vec<(u8, u8, Noted)>,
}

#[derive(Clone, Copy, PartialEq)]
enum Noted {
    Of(u8, u64),
    Spoiled,
}

impl crate::support::World for World {
    type Step = Step;

    fn new(real: &mut Real) -> Self {
        for script in [&scripts::BEAT, &scripts::CLAIM, &scripts::ADOPT] {
            real.redis.call::<()>(&script.load());
        }
        Self { seen: vec![(0, 1, Noted::Of(0, 1))], ..Self::default() }
    }

    fn perform(&mut self, Real { redis, store }: &mut Real, step: &Step) {
        let keys = Keys::new("ns", "", "");
        match *step {
            Step::Beat { id, by, at, connection } => {
                let name = identity(id, by).id;
                let keys = [keys.instance(&name), keys.instances(), keys.verdict(&name), keys.connections()];
                let found: BeatReply =
                    redis.call(&scripts::BEAT.call(&keys, &beat_args(id, by, at, connection)));
                assert_eq!(found, self.beat(id, by, at, connection));
            }
            Step::Claim { id, by, at, connection } => {
                let name = identity(id, by).id;
                let keys = [
                    keys.instance(&name),
                    keys.jobs(&name),
                    keys.instances(),
                    keys.verdict(&name),
                    keys.connections(),
                ];
                let found: bool = redis.call(&scripts::CLAIM.call(&keys, &beat_args(id, by, at, connection)));
                assert_eq!(found, self.claim(id, by, at, connection));
            }
            // What an instance leaves in the registry that leaves records is the concern of `model_records`.
            Step::Retire { id, .. } if self.holding.contains(&id) => {}
            Step::Retire { id, by } => {
                assert_eq!(store.retire(&identity(id, by)).unwrap(), 0);
                if self.entries.get(&id) == Some(&identity(id, by).entry) {
                    self.beats.remove(&id);
                    self.end(id);
                }
            }
            Step::Condemn { seen } => {
                let (id, beat, connection) = *seen.get(&self.seen);
                let silence = Silence {
                    id: identity(id, 0).id,
                    beat: beat.to_string().into(),
                    connection: shown(connection).into(),
                };
                let unchanged =
                    self.beats.get(&id) == Some(&beat) && self.connections.get(&id) == Some(&connection);
                assert_eq!(store.condemn(&silence).unwrap(), unchanged);
                if unchanged {
                    self.beats.remove(&id);
                    self.connections.remove(&id);
                }
            }
            Step::Bury { id } => {
                let left = store.bury(&identity(id, 0).id).unwrap();
                assert_eq!(left, if self.beats.contains_key(&id) { 0 } else { self.end(id) });
            }
            Step::Adopt { id } => {
                let name = identity(id, 0).id;
                let keys = [keys.instance(&name), keys.jobs(&name), keys.instances()];
                let found: bool =
                    redis.call(&scripts::ADOPT.call(&keys, &[name.as_slice(), ADOPTED.as_bytes()]));
                let there = self.beats.contains_key(&id) || self.holding.contains(&id);
                let stranger = there && !self.entries.contains_key(&id);
                assert_eq!(found, stranger);
                if stranger {
                    self.entries.insert(id, ADOPTED.into());
                }
            }
            Step::Expire { id } => {
                redis.run::<()>(&["DEL", &format!("ns:instance:i{id}")]);
                self.beats.remove(&id);
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
                redis.run::<()>(&["HSET", "ns:connections", &format!("i{id}"), SPOILED]);
                self.connections.insert(id, Noted::Spoiled);
            }
        }
        for (id, beat) in &self.beats {
            self.seen.extend(self.connections.get(id).map(|connection| (*id, *beat, *connection)));
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
        if !self.connections.is_empty() {
            let connections = self.connections.iter().map(|(id, connection)| (*id, shown(*connection)));
            keys = keys.with("ns:connections", named(connections.collect()));
        }
        for (id, beat) in &self.beats {
            keys = keys.with(&format!("ns:instance:i{id}"), expiring(&beat.to_string()));
        }
        for id in (0..IDS).filter(|id| self.holding.contains(id)) {
            keys = keys.with(&format!("ns:jobs:i{id}"), set(&["j"]));
        }
        keys
    }
}

impl World {
    fn beat(&mut self, id: u8, by: u8, at: u8, connection: Connection) -> BeatReply {
        let entry = identity(id, by).entry;
        match self.entries.get(&id) {
            Some(owner) if *owner != entry && owner != ADOPTED => return (true, None, false),
            _ => self.entries.insert(id, entry),
        };
        let there = self.beats.insert(id, at).is_some();
        self.note(id, connection);
        (false, None, there)
    }

    fn claim(&mut self, id: u8, by: u8, at: u8, connection: Connection) -> bool {
        let entry = identity(id, by).entry;
        if self.entries.get(&id) != Some(&entry) {
            if self.beats.contains_key(&id) || self.holding.contains(&id) {
                return false;
            }
            self.entries.insert(id, entry);
            self.connections.remove(&id);
        }
        self.beats.insert(id, at);
        self.note(id, connection);
        true
    }

    /// Of one run of a server the newer connection stays.
    fn note(&mut self, id: u8, connection: Connection) {
        match (connection, self.connections.get(&id)) {
            (None, _) => drop(self.connections.remove(&id)),
            (Some((run, client)), Some(Noted::Of(noted, newer))) if run == *noted && client <= *newer => {}
            (Some((run, client)), _) => drop(self.connections.insert(id, Noted::Of(run, client))),
        }
    }

    /// How many records are left; an id that has none is nobody's.
    fn end(&mut self, id: u8) -> u64 {
        self.connections.remove(&id);
        let left = u64::from(self.holding.contains(&id));
        if left == 0 {
            self.entries.remove(&id);
        }
        left
    }
}

fn beat_args(id: u8, by: u8, at: u8, connection: Connection) -> [String; 5] {
    let connection = connection.map_or_else(String::new, |(run, client)| shown(Noted::Of(run, client)));
    [format!("i{id}"), identity(id, by).entry, at.to_string(), TTL.into(), connection]
}

/// As the registry of connections shows it.
fn shown(connection: Noted) -> String {
    match connection {
        Noted::Of(run, client) => format!("{} {client}", run.to_string().repeat(40)),
        Noted::Spoiled => SPOILED.into(),
    }
}

fn identity(id: u8, by: u8) -> Identity {
    Identity { id: format!("i{id}").into_bytes(), entry: format!("{{{by}}}") }
}
