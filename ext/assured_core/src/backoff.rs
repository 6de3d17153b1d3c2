//! How long to wait before trying again.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

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

/// Lets threads that want the same try one after the other, once one of them has failed: a server that has no
/// connection left is not asked by all of them.
#[derive(Debug)]
pub struct Turnstile {
    cap: Duration,
    state: Mutex<Option<(Backoff, Instant)>>,
}

impl Turnstile {
    /// `cap` is the longest wait between two tries.
    pub fn new(cap: Duration) -> Self {
        Self { cap, state: Mutex::default() }
    }

    /// How long to wait before asking again; none for the one whose turn it is.
    pub fn wait(&self) -> Option<Duration> {
        let mut state = self.state.lock();
        let (backoff, next) = state.as_mut()?;
        let wait = next.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            *next = Instant::now() + backoff.next_wait();
            return None;
        }
        Some(wait)
    }

    /// Says that a try failed.
    pub fn refused(&self) {
        let mut state = self.state.lock();
        // Later tries have put off the next one when they began.
        state.get_or_insert_with(|| (Backoff::new(self.cap), Instant::now() + FIRST));
    }

    /// Says that a try succeeded: the others follow in short steps.
    pub fn passed(&self) {
        if let Some((backoff, next)) = self.state.lock().as_mut() {
            backoff.reset();
            *next = Instant::now();
        }
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

    #[test]
    fn one_thread_at_a_time_tries_what_has_failed() {
        let turnstile = Turnstile::new(Duration::from_secs(5));
        assert!((0..3).all(|_| turnstile.wait().is_none()), "nothing has failed yet");
        turnstile.refused();
        assert!(turnstile.wait().is_some_and(|wait| wait <= FIRST));
        std::thread::sleep(FIRST);
        assert!(turnstile.wait().is_none());
        assert!(turnstile.wait().is_some(), "another one has its turn");
        turnstile.passed();
        assert!(turnstile.wait().is_none());
        assert!(turnstile.wait().is_some());
    }
}
