//! When an instance counts as dead: its heartbeat is gone, or the connection on which it beats is closed, at two looks
//! some time apart, and whoever looks has beaten without a gap since before the first.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::Bytes;

/// What one look saw of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The instance id.
    pub id: Bytes,
    /// Whether its heartbeat is there.
    pub alive: bool,
    /// The heartbeat's value (unix time, seconds), while it is there.
    pub beat: Option<Bytes>,
}

/// What was silent at an earlier look: instances without a heartbeat, or with a closed connection. `T` is what was
/// seen, so that any change of it is a sign of life.
#[derive(Debug)]
pub struct Suspects<T> {
    apart: Duration,
    first_look: HashMap<T, Instant>,
}

impl<T: Clone + Eq + Hash> Suspects<T> {
    /// `apart` is the least time between the two looks.
    pub fn new(apart: Duration) -> Self {
        Self { apart, first_look: HashMap::new() }
    }

    /// Takes in a look and returns the verdicts: who is dead. `steady_since` says since when the looking
    /// process has beaten without a gap.
    pub fn look(&mut self, silent: &[T], steady_since: Option<Instant>, now: Instant) -> Vec<T> {
        let Some(steady_since) = steady_since.filter(|since| *since <= now) else {
            self.first_look.clear();
            return Vec::new();
        };
        self.first_look.retain(|seen, first| *first >= steady_since && silent.contains(seen));
        let mut dead = Vec::new();
        for seen in silent {
            let first = *self.first_look.entry(seen.clone()).or_insert(now);
            if now - first >= self.apart {
                dead.push(seen.clone());
            }
        }
        dead
    }

    /// Forgets everything: nothing can be seen at present.
    pub fn clear(&mut self) {
        self.first_look.clear();
    }

    /// When the next look may lead to a verdict, if anybody is under suspicion.
    pub fn next_look(&self) -> Option<Instant> {
        self.first_look.values().min().map(|first| *first + self.apart)
    }

    /// Forgets what belongs to a closed case.
    pub fn acquit(&mut self, seen: &T) {
        self.first_look.remove(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seen(alive: bool) -> Vec<Bytes> {
        if alive { Vec::new() } else { vec![b"a".to_vec()] }
    }

    #[test]
    fn two_looks_apart_make_a_verdict() {
        let (mut suspects, t) = (Suspects::new(5 * SECOND), Instant::now());
        assert!(suspects.look(&seen(false), Some(t), t).is_empty(), "one look");
        assert!(suspects.look(&seen(false), Some(t), t + 4 * SECOND).is_empty(), "too close");
        assert_eq!(suspects.look(&seen(false), Some(t), t + 5 * SECOND), vec![b"a".to_vec()]);
    }

    #[test]
    fn a_sign_of_life_ends_the_suspicion() {
        let (mut suspects, t) = (Suspects::new(5 * SECOND), Instant::now());
        suspects.look(&seen(false), Some(t), t);
        suspects.look(&seen(true), Some(t), t + 4 * SECOND);
        assert!(suspects.look(&seen(false), Some(t), t + 6 * SECOND).is_empty());
    }

    #[test]
    fn any_change_of_what_is_seen_is_a_sign_of_life() {
        let (mut suspects, t) = (Suspects::new(5 * SECOND), Instant::now());
        suspects.look(&[("a", 1)], Some(t), t);
        assert!(suspects.look(&[("a", 2)], Some(t), t + 6 * SECOND).is_empty());
        assert_eq!(suspects.look(&[("a", 2)], Some(t), t + 11 * SECOND), [("a", 2)]);
    }

    #[test]
    fn who_was_not_heard_himself_judges_nobody() {
        let (mut suspects, t) = (Suspects::new(5 * SECOND), Instant::now());
        suspects.look(&seen(false), Some(t), t);
        assert!(suspects.look(&seen(false), None, t + 6 * SECOND).is_empty(), "silent now");
        assert!(
            suspects.look(&seen(false), Some(t + 5 * SECOND), t + 7 * SECOND).is_empty(),
            "gap since the first look"
        );
        assert!(suspects.look(&seen(false), Some(t + 99 * SECOND), t + 20 * SECOND).is_empty(), "settling");
    }
}
