//! How long to wait before trying again.

use std::time::Duration;

/// Waits that double from 50 ms up to a cap, with jitter, so that a fleet does not come back at once.
#[derive(Debug)]
pub struct Backoff {
    cap: Duration,
    next: Duration,
}

const FIRST: Duration = Duration::from_millis(50);

impl Backoff {
    /// `cap` is the longest wait.
    pub fn new(cap: Duration) -> Self {
        Self { cap, next: FIRST }
    }

    /// The wait before the next try.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.next.min(self.cap);
        self.next = (self.next * 2).min(self.cap);
        jittered(wait)
    }

    /// To be called after a success.
    pub fn reset(&mut self) {
        self.next = FIRST;
    }
}

/// Between 80 and 100 % of `duration`.
pub fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(0.8 + 0.2 * random_fraction())
}

/// A number from 0 to 1. `RandomState` is seeded by the operating system; nothing here needs more.
fn random_fraction() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let bits = RandomState::new().hash_one(std::time::Instant::now());
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap_and_starts_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(300));
        let waits: Vec<_> = (0..6).map(|_| backoff.next_wait()).collect();
        assert!(waits[0] <= FIRST && waits[0] >= FIRST.mul_f64(0.8));
        assert!(waits[5] <= Duration::from_millis(300) && waits[5] >= Duration::from_millis(240));
        backoff.reset();
        assert!(backoff.next_wait() <= FIRST);
    }
}
