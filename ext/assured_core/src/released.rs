//! What this process has released, for as long as Redis may go back to data in which it is still recorded.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// How far Redis may go back: with its append-only file synced each second, two seconds; a replica that takes over may
/// lag by more. A stray is looked at twice before it is settled, so it takes three intervals more.
const REACH: Duration = Duration::from_secs(60);
const INTERVALS_TO_SETTLE: u32 = 3;

/// No more than this, which is about 50 MB, however fast jobs end: 5,000 a second for as long as it takes.
const MOST: usize = 1 << 19;

/// Of a record, its name and its payload.
type Print = (u64, u64);

/// Released records. While no beat is answered they do not grow older, since what Redis has lost is found by beats.
#[derive(Debug, Default)]
pub struct Released {
    last_beat: Option<Instant>,
    /// For how long beats have been answered.
    answered: Duration,
    order: VecDeque<(Duration, Print)>,
    last: HashMap<Print, Duration>,
}

impl Released {
    /// Remembers a record.
    pub fn remember(&mut self, name: &[u8], payload: &[u8]) {
        if self.order.len() == MOST {
            self.forget_first();
        }
        let print = print(name, payload);
        self.order.push_back((self.answered, print));
        self.last.insert(print, self.answered);
    }

    /// Whether this record was released.
    pub fn contains(&self, name: &[u8], payload: &[u8]) -> bool {
        self.last.contains_key(&print(name, payload))
    }

    /// Notes a beat that Redis has answered at `now`. The next one is due after `interval`.
    pub fn beat(&mut self, now: Instant, interval: Duration) {
        let since = self.last_beat.replace(now).map(|last| now - last);
        self.answered += since.unwrap_or_default().min(interval);
        let reach = REACH + INTERVALS_TO_SETTLE * interval;
        while self.order.front().is_some_and(|(at, _)| *at + reach < self.answered) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((at, print)) = self.order.pop_front() else { return };
        // It may have been released once more since.
        if self.last.get(&print) == Some(&at) {
            self.last.remove(&print);
        }
    }
}

fn print(name: &[u8], payload: &[u8]) -> Print {
    let hash = |bytes: &[u8]| {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        hasher.finish()
    };
    (hash(name), hash(payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(15);

    /// Beats that are answered, `apart`.
    fn beat(released: &mut Released, times: u32, apart: Duration) {
        for _ in 0..times {
            let last = released.last_beat.unwrap_or_else(Instant::now);
            released.beat(last + apart, INTERVAL);
        }
    }

    #[test]
    fn what_was_released_is_known_for_a_minute_however_much_it_is() {
        let mut released = Released::default();
        let name = |second: u32, n: u32| format!("{second}.{n}").into_bytes();
        for second in 0..60 {
            (0..3000).for_each(|n| released.remember(&name(second, n), b"{}"));
            beat(&mut released, 1, Duration::from_secs(1));
        }
        assert!((0..60).all(|second| released.contains(&name(second, 0), b"{}")));
        assert!(!released.contains(&name(0, 0), b"{retry}"), "the jid of a retry is the same");
        beat(&mut released, 20, INTERVAL);
        assert!(!released.contains(&name(59, 0), b"{}"));
        assert!(released.order.is_empty() && released.last.is_empty());
    }

    #[test]
    fn what_was_released_before_an_outage_is_known_after_it() {
        let mut released = Released::default();
        beat(&mut released, 1, INTERVAL);
        released.remember(b"j", b"{}");
        beat(&mut released, 3, Duration::from_secs(3600));
        assert!(released.contains(b"j", b"{}"));
    }

    #[test]
    fn what_is_released_again_is_known_from_then_on() {
        let mut released = Released::default();
        released.remember(b"j", b"{}");
        beat(&mut released, 6, INTERVAL);
        released.remember(b"j", b"{}");
        beat(&mut released, 6, INTERVAL);
        assert!(released.contains(b"j", b"{}"));
    }

    #[test]
    fn there_is_a_bound() {
        let mut released = Released::default();
        (0..MOST as u64 + 10).for_each(|n| released.remember(&n.to_be_bytes(), b"{}"));
        assert_eq!((released.order.len(), released.last.len()), (MOST, MOST));
        assert!(!released.contains(&0u64.to_be_bytes(), b"{}"));
    }
}
