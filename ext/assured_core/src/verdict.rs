//! When an instance counts as dead: its heartbeat is gone at two looks some time apart, and whoever looks
//! has beaten without a gap since before the first.

use std::collections::HashMap;
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

/// Instances whose heartbeat was gone at an earlier look.
#[derive(Debug)]
pub struct Suspects {
    apart: Duration,
    first_look: HashMap<Bytes, Instant>,
}

impl Suspects {
    /// `apart` is the least time between the two looks.
    pub fn new(apart: Duration) -> Self {
        Self { apart, first_look: HashMap::new() }
    }

    /// Takes in a look and returns the verdicts: who is dead. `steady_since` says since when the looking
    /// process has beaten without a gap.
    pub fn look(
        &mut self,
        sightings: &[Sighting],
        steady_since: Option<Instant>,
        now: Instant,
    ) -> Vec<Bytes> {
        let Some(steady_since) = steady_since.filter(|since| *since <= now) else {
            self.first_look.clear();
            return Vec::new();
        };
        let silent: Vec<_> = sightings.iter().filter(|s| !s.alive).map(|s| &s.id).collect();
        self.first_look.retain(|id, first| *first >= steady_since && silent.contains(&id));
        let mut dead = Vec::new();
        for id in silent {
            let first = *self.first_look.entry(id.clone()).or_insert(now);
            if now - first >= self.apart {
                dead.push(id.clone());
            }
        }
        dead
    }

    /// When the next look may lead to a verdict, if anybody is under suspicion.
    pub fn next_look(&self) -> Option<Instant> {
        self.first_look.values().min().map(|first| *first + self.apart)
    }

    /// Forgets an instance whose case is closed.
    pub fn acquit(&mut self, id: &[u8]) {
        self.first_look.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seen(alive: bool) -> Vec<Sighting> {
        vec![Sighting { id: b"a".to_vec(), alive, beat: None }]
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
