//! What can happen.

use proptest::collection::vec;
use proptest::prelude::*;

pub const IDS: u8 = 2;
/// How many records there can be at once.
pub const NAMES: u8 = 4;
/// Bounds of the Dead set: how many jobs, and for how many hours.
const SIZES: [u64; 4] = [0, 1, 3, 100];
const HOURS: [u64; 3] = [0, 2, 100];
/// How many hours ago jobs have died: none of the bounds, so that the time that passes in a test changes nothing.
const AGES: [u64; 2] = [1, 5];

/// One record on its way out. The payload is one of few, so that two deaths may be one member of the Dead set.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub name: u8,
    pub payload: u8,
    pub keep: bool,
    pub notify: bool,
}

/// What can hold something of another type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Odd {
    Dead,
    Deaths,
    Queue,
    Retry,
}

#[derive(Clone, Debug)]
pub enum Step {
    /// An instance has one more job in flight.
    Hold {
        id: u8,
        name: u8,
    },
    /// Its heartbeat comes, and expires.
    Beat {
        id: u8,
    },
    Expire {
        id: u8,
    },
    /// These are of somebody who has found the instance dead.
    Kill {
        id: u8,
        by: u8,
        ends: Vec<End>,
        size: u64,
        hours: u64,
    },
    Settle {
        id: u8,
        by: u8,
        counter: &'static str,
        ends: Vec<End>,
    },
    Requeue {
        id: u8,
        by: u8,
        ends: Vec<End>,
    },
    /// The instance itself does it.
    GiveBack {
        id: u8,
        ends: Vec<End>,
    },
    /// The instance itself ends an attempt that was not acknowledged: among the retries, or in the Dead set.
    PutOff {
        id: u8,
        end: End,
    },
    KillOwn {
        id: u8,
        end: End,
        size: u64,
        hours: u64,
    },
    /// A job has died long ago.
    Died {
        hours: u64,
        payload: u8,
    },
    /// These are of people.
    Spoil {
        key: Odd,
    },
    Mend {
        key: Odd,
    },
}

fn end() -> impl Strategy<Value = End> {
    let keep = prop::bool::weighted(0.8);
    let end = (0..NAMES, 0..3u8, keep, any::<bool>());
    end.prop_map(|(name, payload, keep, notify)| End { name, payload, keep, notify })
}

fn ends() -> impl Strategy<Value = Vec<End>> {
    vec(end(), 0..4)
}

pub fn step() -> impl Strategy<Value = Step> {
    let (id, by) = (|| 0..IDS, || 0..2u8);
    let key = || prop::sample::select([Odd::Dead, Odd::Deaths, Odd::Queue, Odd::Retry].as_slice());
    let sizes = || prop::sample::select(SIZES.as_slice());
    let hours = || prop::sample::select(HOURS.as_slice());
    let (ages, counters) =
        (prop::sample::select(AGES.as_slice()), prop::sample::select(["poisoned", "recovered"].as_slice()));
    prop_oneof![
        10 => (id(), 0..NAMES).prop_map(|(id, name)| Step::Hold { id, name }),
        1 => id().prop_map(|id| Step::Beat { id }),
        2 => id().prop_map(|id| Step::Expire { id }),
        4 => (id(), by(), ends(), sizes(), hours())
            .prop_map(|(id, by, ends, size, hours)| Step::Kill { id, by, ends, size, hours }),
        3 => (id(), by(), counters, ends())
            .prop_map(|(id, by, counter, ends)| Step::Settle { id, by, counter, ends }),
        2 => (id(), by(), ends()).prop_map(|(id, by, ends)| Step::Requeue { id, by, ends }),
        1 => (id(), ends()).prop_map(|(id, ends)| Step::GiveBack { id, ends }),
        3 => (id(), end()).prop_map(|(id, end)| Step::PutOff { id, end }),
        2 => (id(), end(), sizes(), hours())
            .prop_map(|(id, end, size, hours)| Step::KillOwn { id, end, size, hours }),
        3 => (ages, 0..3u8).prop_map(|(hours, payload)| Step::Died { hours, payload }),
        1 => key().prop_map(|key| Step::Spoil { key }),
        2 => key().prop_map(|key| Step::Mend { key }),
    ]
}
