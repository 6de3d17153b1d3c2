//! What this process knows of its own heartbeats. Who was not heard himself cannot judge others.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

#[cfg(doc)]
use crate::clock;

/// The record of this process's own heartbeats.
#[derive(Debug)]
pub struct Pulse {
    longest_gap: Duration,
    settling: Duration,
    state: Mutex<State>,
    connection: Mutex<Connection>,
    /// The last beat that was acknowledged, when it was sent, by the clock that goes on in a sleep.
    sent: Mutex<Option<Duration>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    beats: Option<Beats>,
    failed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    since: Option<Instant>,
    last_known: Option<Instant>,
    /// When everybody has had the time to beat who lost a connection together with this process.
    settled_from: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Beats {
    last: Instant,
    steady_since: Instant,
}

impl Pulse {
    /// A gap is a pause between two beats in which half of the slack between interval and TTL is used up.
    pub fn new(heartbeat_interval: Duration, heartbeat_ttl: Duration) -> Self {
        Self {
            longest_gap: (heartbeat_interval + heartbeat_ttl) / 2,
            settling: heartbeat_interval,
            state: Mutex::default(),
            connection: Mutex::default(),
            sent: Mutex::default(),
        }
    }

    /// How long before `now` the last beat was sent that Redis acknowledged. Both by [`clock::awake_or_not`].
    pub fn silent_at(&self, now: Duration) -> Duration {
        self.sent.lock().map_or(Duration::ZERO, |sent| now.saturating_sub(sent))
    }

    /// Notes when a heartbeat was sent that Redis has acknowledged.
    pub fn heard(&self, sent: Duration) {
        *self.sent.lock() = Some(sent);
    }

    /// Notes a heartbeat that Redis acknowledged; `now` is when it was sent.
    pub fn beat(&self, now: Instant) {
        let mut state = self.state.lock();
        state.beats = Some(match state.beats {
            None if !state.failed => Beats { last: now, steady_since: now },
            Some(beats) if now - beats.last <= self.longest_gap => Beats { last: now, ..beats },
            // After a gap everybody else needs time to beat again, too.
            _ => Beats { last: now, steady_since: now + self.settling },
        });
    }

    /// Notes that a heartbeat failed. If it would have been the first one, nobody knows how long Redis has been away.
    pub fn failed(&self) {
        self.state.lock().failed = true;
        self.connection.lock().since = None;
    }

    /// Notes since when the connection is open that the last beat went through.
    pub fn connected(&self, since: Option<Instant>) {
        let mut connection = self.connection.lock();
        connection.since = since;
        if let Some(since) = since
            && connection.last_known.replace(since).is_some_and(|known| known != since)
        {
            connection.settled_from = Some(since + self.settling);
        }
    }

    /// Since when this process may take a missing heartbeat for a sign of death: it has beaten without a gap, and if its
    /// connection is a new one, the server may be another one, which lacks the last beats of the others.
    pub fn may_judge_since(&self, now: Instant) -> Option<Instant> {
        let settled_from = self.connection.lock().settled_from;
        let steady_since = self.steady_since(now)?;
        Some(settled_from.map_or(steady_since, |settled_from| settled_from.max(steady_since)))
    }

    /// Since when this process has beaten without a gap on one connection. Whatever cuts that one may have cut those of
    /// the others, too.
    pub fn undisturbed_since(&self, now: Instant) -> Option<Instant> {
        let connected_since = self.connection.lock().since?;
        Some(self.steady_since(now)?.max(connected_since))
    }

    /// Since when this process has beaten without a gap, or nothing if at `now` it does not. It may lie
    /// in the future: then the process is still settling after a gap.
    pub fn steady_since(&self, now: Instant) -> Option<Instant> {
        let beats = self.state.lock().beats?;
        (now.saturating_duration_since(beats.last) <= self.longest_gap).then_some(beats.steady_since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn steady_from_the_first_beat_until_a_gap() {
        let pulse = Pulse::new(15 * SECOND, 45 * SECOND);
        let start = Instant::now();
        assert_eq!(pulse.steady_since(start), None);
        pulse.beat(start);
        pulse.beat(start + 15 * SECOND);
        assert_eq!(pulse.steady_since(start + 20 * SECOND), Some(start));
        assert_eq!(pulse.steady_since(start + 60 * SECOND), None, "no beat for 45 s");
        pulse.beat(start + 60 * SECOND);
        assert_eq!(pulse.steady_since(start + 61 * SECOND), Some(start + 75 * SECOND), "settling");
    }

    #[test]
    fn a_first_beat_after_one_that_failed_is_a_gap() {
        let pulse = Pulse::new(15 * SECOND, 45 * SECOND);
        let start = Instant::now();
        pulse.failed();
        pulse.beat(start);
        assert_eq!(pulse.steady_since(start), Some(start + 15 * SECOND), "settling");
        pulse.failed();
        pulse.beat(start + 15 * SECOND);
        assert_eq!(pulse.steady_since(start + 16 * SECOND), Some(start + 15 * SECOND), "no gap");
    }

    #[test]
    fn disturbed_by_a_new_connection() {
        let pulse = Pulse::new(15 * SECOND, 45 * SECOND);
        let start = Instant::now();
        pulse.beat(start);
        assert_eq!(pulse.undisturbed_since(start), None, "nobody knows the connection");
        pulse.connected(Some(start));
        assert_eq!(pulse.undisturbed_since(start + SECOND), Some(start));
        pulse.connected(Some(start + 2 * SECOND));
        assert_eq!(pulse.undisturbed_since(start + 3 * SECOND), Some(start + 2 * SECOND));
        assert_eq!(pulse.steady_since(start + 3 * SECOND), Some(start));
        assert_eq!(pulse.may_judge_since(start + 3 * SECOND), Some(start + 17 * SECOND), "settling");
    }
}
