//! What can happen.

use proptest::prelude::*;
use proptest::sample::Index;

pub const IDS: u8 = 2;

/// What a server calls a connection. Those of a fleet of proxies do not rise.
const CLIENTS: [u64; 2] = [9, 123_456_789_012];

/// Numbers of beats. As text, 9 would be more than 10.
const NUMBERS: [u64; 5] = [1, 2, 9, 10, 999_999_999];

/// Run of the server and client id; nothing where the server does not tell.
pub type Connection = Option<(u8, u64)>;

#[derive(Clone, Debug)]
pub enum Step {
    /// These are of a process (`by`) that believes that the id is its own. `at` is the number of the beat.
    Beat {
        id: u8,
        by: u8,
        at: u64,
        connection: Connection,
    },
    Claim {
        id: u8,
        by: u8,
        at: u64,
        connection: Connection,
    },
    Retire {
        id: u8,
        by: u8,
    },
    /// These are of a sweep. What a verdict falls on was seen at any time before.
    ExpireSilent {
        seen: Index,
    },
    Expire {
        seen: Index,
    },
    Bury {
        id: u8,
    },
    Adopt {
        id: u8,
    },
    /// These are of Redis, of people, and of the 1.x gem.
    Evict {
        id: u8,
    },
    Unregister {
        id: u8,
    },
    Hold {
        id: u8,
    },
    LetGo {
        id: u8,
    },
    Spoil {
        id: u8,
    },
}

fn connection() -> impl Strategy<Value = Connection> {
    let client = prop::sample::select(CLIENTS.as_slice());
    prop_oneof![1 => Just(None), 6 => (prop_oneof![4 => Just(0), 1 => Just(1u8)], client).prop_map(Some)]
}

pub fn step() -> impl Strategy<Value = Step> {
    let (id, by, at) = (|| 0..IDS, || 0..2u8, || prop::sample::select(NUMBERS.as_slice()));
    prop_oneof![
        8 => (id(), by(), at(), connection())
            .prop_map(|(id, by, at, connection)| Step::Beat { id, by, at, connection }),
        3 => (id(), by(), at(), connection())
            .prop_map(|(id, by, at, connection)| Step::Claim { id, by, at, connection }),
        1 => (id(), by()).prop_map(|(id, by)| Step::Retire { id, by }),
        4 => any::<Index>().prop_map(|seen| Step::ExpireSilent { seen }),
        4 => any::<Index>().prop_map(|seen| Step::Expire { seen }),
        1 => id().prop_map(|id| Step::Bury { id }),
        2 => id().prop_map(|id| Step::Adopt { id }),
        2 => id().prop_map(|id| Step::Evict { id }),
        1 => id().prop_map(|id| Step::Unregister { id }),
        1 => id().prop_map(|id| Step::Hold { id }),
        1 => id().prop_map(|id| Step::LetGo { id }),
        1 => id().prop_map(|id| Step::Spoil { id }),
    ]
}
