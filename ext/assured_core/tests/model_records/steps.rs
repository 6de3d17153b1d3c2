//! What can happen.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

pub const IDS: u8 = 2;

#[derive(Clone, Debug)]
pub enum Step {
    /// These are of a process (`by`) that believes that the id is its own.
    Claim {
        id: u8,
        by: u8,
    },
    Beat {
        id: u8,
        by: u8,
        names: Vec<Index>,
    },
    Track {
        id: u8,
        by: u8,
        releases: Vec<Index>,
        /// The number of each jid, and the size of its payload.
        jobs: Vec<(u8, usize)>,
    },
    Release {
        id: u8,
        by: u8,
        names: Vec<Index>,
    },
    Retire {
        id: u8,
        by: u8,
    },
    /// These are of a recovery.
    Payloads {
        names: Vec<Index>,
        budget: usize,
    },
    Forget {
        id: u8,
        name: Index,
    },
    Requeue {
        id: u8,
        names: Vec<Index>,
    },
    Bury {
        id: u8,
    },
    /// These are of Redis and of people.
    Expire {
        id: u8,
    },
    Unregister {
        id: u8,
    },
    Evict {
        name: Index,
    },
    Spoil {
        name: Index,
    },
}

pub fn step() -> impl Strategy<Value = Step> {
    let (id, by, name) = (|| 0..IDS, || 0..2u8, any::<Index>);
    let names = || vec(any::<Index>(), 0..4);
    prop_oneof![
        2 => (id(), by()).prop_map(|(id, by)| Step::Claim { id, by }),
        1 => (id(), by(), names()).prop_map(|(id, by, names)| Step::Beat { id, by, names }),
        6 => (id(), by(), names(), vec((0..3u8, 1..6usize), 1..4))
            .prop_map(|(id, by, releases, jobs)| Step::Track { id, by, releases, jobs }),
        2 => (id(), by(), vec(name(), 1..4)).prop_map(|(id, by, names)| Step::Release { id, by, names }),
        2 => (id(), by()).prop_map(|(id, by)| Step::Retire { id, by }),
        2 => (names(), 0..12usize).prop_map(|(names, budget)| Step::Payloads { names, budget }),
        2 => (id(), name()).prop_map(|(id, name)| Step::Forget { id, name }),
        1 => (id(), names()).prop_map(|(id, names)| Step::Requeue { id, names }),
        2 => id().prop_map(|id| Step::Bury { id }),
        2 => id().prop_map(|id| Step::Expire { id }),
        1 => id().prop_map(|id| Step::Unregister { id }),
        2 => name().prop_map(|name| Step::Evict { name }),
        1 => name().prop_map(|name| Step::Spoil { name }),
    ]
}
