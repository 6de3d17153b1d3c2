//! How many fetches may be under way at once: by how far away Redis is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where Redis is near. A thread that asks while one fetch is under way would wait for its end and for a round trip
/// more; with more than a few, round trips carry too little to be worth their price.
pub const NEAR: usize = 3;

/// Where it takes longer to get to Redis than a round trip costs at both ends.
pub const FAR: usize = 10;

/// A round trip that takes as long has been on its way for most of the time.
const DISTANCE: Duration = Duration::from_micros(800);

/// By what part of what a round trip takes longer than the shortest one the latter is forgotten.
const FORGETTING: u64 = 4096;

/// Chooses by what the shortest of the last round trips took: longer ones wait for a processor rather than for a
/// network.
#[derive(Debug)]
pub struct Pace {
    /// Microseconds.
    shortest: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { shortest: AtomicU64::new(u64::MAX) }
    }
}

impl Pace {
    /// Takes in what a round trip took.
    pub fn note(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let shortest = self.shortest.load(Ordering::Relaxed);
        let forgotten = shortest.saturating_add(took.saturating_sub(shortest).div_ceil(FORGETTING));
        // Lanes may overwrite each other's figure: it is an estimate.
        self.shortest.store(took.min(forgotten), Ordering::Relaxed);
    }

    /// Whether more than a few fetches may be under way.
    pub fn is_far(&self) -> bool {
        let shortest = self.shortest.load(Ordering::Relaxed);
        shortest != u64::MAX && Duration::from_micros(shortest) >= DISTANCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_far(micros: impl IntoIterator<Item = u64>) -> bool {
        let pace = Pace::default();
        micros.into_iter().for_each(|took| pace.note(Duration::from_micros(took)));
        pace.is_far()
    }

    #[test]
    fn a_busy_machine_is_not_a_distance() {
        assert!(!is_far((0..1000).map(|round| if round % 10 == 0 { 90 } else { 1500 })));
    }

    #[test]
    fn a_network_is() {
        assert!(is_far((0..1000).map(|round| 900 + round % 300)));
    }

    #[test]
    fn one_short_round_trip_ends_the_distance() {
        assert!(!is_far((0..1000).map(|_| 900).chain([80])));
    }
}
