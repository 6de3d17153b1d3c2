//! Panics on demand, in builds with debug assertions only: for tests of what a thread leaves that panicked.
//!
//! All threads of the engine spend their time in round trips, so this is where they are struck: before Redis gets a
//! batch, or after it has executed one and before the thread has learnt anything.

use parking_lot::Mutex;

/// Where in a round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Redis has not got the batch.
    Before,
    /// Redis has executed the batch.
    After,
}

#[derive(Debug, PartialEq, Eq)]
struct Armed {
    db: i64,
    doing: String,
    at: At,
}

static ARMED: Mutex<Vec<Armed>> = Mutex::new(Vec::new());

/// The next round trip on this database that does this panics.
pub fn arm(db: i64, doing: &str, at: At) {
    ARMED.lock().push(Armed { db, doing: doing.to_owned(), at });
}

/// Whether a panic on this database is still to come.
pub fn is_armed(db: i64) -> bool {
    ARMED.lock().iter().any(|armed| armed.db == db)
}

/// Panics, if it was asked for.
pub(crate) fn here(db: i64, doing: &str, at: At) {
    let mut armed = ARMED.lock();
    if let Some(position) = armed.iter().position(|it| it.db == db && it.doing == doing && it.at == at) {
        armed.swap_remove(position);
        drop(armed);
        panic!("as the test asked for, {at:?} {doing}");
    }
}
