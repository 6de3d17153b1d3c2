//! Random sequences of what happens to the recovery lock and to instance ids, against a model in memory.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use assured_core::identity::Identity;
use proptest::prelude::*;
use support::{Real, Space, expiring, hash, space, try_sequences};

const TTL: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
enum Step {
    Lock {
        by: u8,
    },
    TakeOver {
        from: u8,
        by: u8,
    },
    Renew {
        by: u8,
    },
    Free {
        by: u8,
    },
    /// A process claims an id.
    Claim {
        id: u8,
        by: u8,
    },
    Retire {
        id: u8,
        by: u8,
    },
    /// A heartbeat expires.
    Expire {
        id: u8,
    },
    Bury {
        id: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let some = || 0..3u8;
    prop_oneof![
        some().prop_map(|by| Step::Lock { by }),
        (some(), some()).prop_map(|(from, by)| Step::TakeOver { from, by }),
        some().prop_map(|by| Step::Renew { by }),
        some().prop_map(|by| Step::Free { by }),
        (some(), some()).prop_map(|(id, by)| Step::Claim { id, by }),
        (some(), some()).prop_map(|(id, by)| Step::Retire { id, by }),
        some().prop_map(|id| Step::Expire { id }),
        some().prop_map(|id| Step::Bury { id }),
    ]
}

/// What should be.
#[derive(Default)]
struct World {
    lock: Option<u8>,
    owners: BTreeMap<u8, u8>,
    beating: std::collections::BTreeSet<u8>,
}

fn token(by: u8) -> Vec<u8> {
    format!("n{by} i{by}").into_bytes()
}

fn identity(id: u8, by: u8) -> Identity {
    Identity { id: format!("i{id}").into_bytes(), entry: format!("{{{by}}}") }
}

impl support::World for World {
    type Step = Step;

    fn new(_: &mut Real) -> Self {
        Self::default()
    }

    fn perform(&mut self, Real { redis, store }: &mut Real, step: &Step) {
        match *step {
            Step::Lock { by } => {
                assert_eq!(store.lock(&token(by), TTL).unwrap(), self.lock.map(token));
                self.lock.get_or_insert(by);
            }
            Step::TakeOver { from, by } => {
                let taken = self.lock == Some(from);
                assert_eq!(store.take_over_lock(&token(from), &token(by), TTL).unwrap(), taken);
                self.lock = if taken { Some(by) } else { self.lock };
            }
            Step::Renew { by } => {
                assert_eq!(store.renew_lock(&token(by), TTL).unwrap(), self.lock == Some(by));
            }
            Step::Free { by } => {
                assert_eq!(store.free_lock(&token(by)).unwrap(), self.lock == Some(by));
                self.lock = self.lock.filter(|holder| *holder != by);
            }
            Step::Claim { id, by } => {
                let free = self.owners.get(&id) == Some(&by) || !self.beating.contains(&id);
                assert_eq!(store.claim(&identity(id, by), TTL).unwrap(), free);
                if free {
                    self.owners.insert(id, by);
                    self.beating.insert(id);
                }
            }
            Step::Retire { id, by } => {
                store.retire(&identity(id, by)).unwrap();
                if self.owners.get(&id) == Some(&by) {
                    self.owners.remove(&id);
                    self.beating.remove(&id);
                }
            }
            Step::Expire { id } => {
                redis.mark_dead(&format!("i{id}"));
                self.beating.remove(&id);
            }
            Step::Bury { id } => {
                store.bury(&identity(id, 0).id).unwrap();
                if !self.beating.contains(&id) {
                    self.owners.remove(&id);
                }
            }
        }
    }

    fn expected(&self) -> Space {
        let owners: Vec<_> =
            self.owners.iter().map(|(id, by)| (format!("i{id}"), format!("{{{by}}}"))).collect();
        let pairs: Vec<_> = owners.iter().map(|(id, entry)| (id.as_str(), entry.as_str())).collect();
        let mut keys = space([]);
        if !pairs.is_empty() {
            keys = keys.with("ns:instances", hash(&pairs));
        }
        if let Some(by) = self.lock {
            keys = keys.with("ns:recovery_lock", expiring(&format!("n{by} i{by}")));
        }
        self.beating.iter().fold(keys, |keys, id| keys.beating(&format!("i{id}")))
    }
}

#[test]
fn every_sequence_leaves_the_lock_and_the_ids_that_the_model_says() {
    try_sequences::<World>(step(), 30);
}
