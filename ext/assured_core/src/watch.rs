//! Wakes fetching when a job arrives in an empty queue. One thread for each queue blocks in a look that leaves the
//! queue as it is. Where a watch sees nothing (the server refuses to block, or has no connection to give), a lane
//! glances at all queues of the capsule together, twice a second.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::Bytes;
use crate::backoff::{Backoff, Turnstile, jittered};
use crate::error::{Error, Remedy};
use crate::events::Events;
use crate::fetch::Queues;
use crate::outage::{Outage, Who};
use crate::settings::Settings;
use crate::store::Store;

/// How long one look blocks at least.
const LOOK: Duration = Duration::from_secs(2);

/// How much longer it blocks for each queue, so that many queues cost no more commands than a few.
const SHARE: Duration = Duration::from_millis(400);

/// Between two glances at all queues together, where a watch is blind.
const GLANCE: Duration = Duration::from_millis(500);

/// The same where none is: a connection may be gone without anybody's having been told.
const REASSURANCE: Duration = Duration::from_secs(5);

/// Between two tries of a look that the server refuses: an operator may allow it.
const REFUSED: Duration = Duration::from_secs(60);

/// Longest wait between two tries that fail otherwise.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Whether the queues of a capsule were found empty, and how often.
#[derive(Debug, Default)]
pub struct Idle {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Counts the times that a fetch found nothing.
    vain: u64,
    /// Whether nothing has arrived since.
    idle: bool,
    /// How many wake-ups in a row got no job at all: others were faster.
    too_late: u32,
    /// How many queues nobody watches.
    blind: usize,
    next_glance: Option<Instant>,
    stopped: bool,
}

impl State {
    fn put_off_glance(&mut self) {
        let wait = if self.blind > 0 { GLANCE } else { REASSURANCE };
        self.next_glance = Some(Instant::now() + jittered(wait));
    }
}

impl Idle {
    /// Notes that a fetch found all queues empty, after it had got `jobs` of them.
    pub fn found_empty(&self, jobs: usize) {
        let mut state = self.state.lock();
        state.vain += 1;
        state.too_late = if jobs == 0 { state.too_late + 1 } else { 0 };
        state.idle = true;
        state.put_off_glance();
        self.changed.notify_all();
    }

    /// Whether the queues are known to be empty.
    pub fn is_idle(&self) -> bool {
        self.state.lock().idle
    }

    /// Says that something may have arrived.
    pub fn stir(&self) {
        self.state.lock().idle = false;
    }

    /// When a lane has to glance at the queues, as long as they are known to be empty.
    pub fn next_glance(&self) -> Option<Instant> {
        let state = self.state.lock();
        state.next_glance.filter(|_| state.idle && !state.stopped)
    }

    /// Takes the turn to glance, if it is time for one.
    pub fn take_turn(&self) -> bool {
        let mut state = self.state.lock();
        let due = state.idle && state.next_glance.is_some_and(|at| at <= Instant::now());
        if due {
            state.put_off_glance();
        }
        due
    }

    /// Says that a queue has no watch, as long as what this returns lives.
    pub fn unwatched(&self) -> Unwatched<'_> {
        let mut state = self.state.lock();
        state.blind += 1;
        if state.blind == 1 {
            state.put_off_glance();
        }
        Unwatched(self)
    }

    /// Ends the watching.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Waits until a fetch has found nothing since the one numbered `seen`; none once stopped.
    fn wait(&self, seen: u64) -> Option<u64> {
        let mut state = self.state.lock();
        while !(state.stopped || state.idle && state.vain > seen) {
            self.changed.wait(&mut state);
        }
        (!state.stopped).then_some(state.vain)
    }

    /// Waits before another try.
    fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut state = self.state.lock();
        while !state.stopped && !self.changed.wait_until(&mut state, until).timed_out() {}
    }

    /// One job wakes all idle processes. Who came too late the last times holds back a little.
    fn hold_back(&self) {
        let most = u64::from(self.state.lock().too_late.min(10)) * 100;
        if most > 0 {
            std::thread::sleep(Duration::from_micros(fastrand::u64(0..=most)));
        }
    }

    fn still(&self, vain: u64) -> bool {
        let state = self.state.lock();
        !state.stopped && state.idle && state.vain == vain
    }
}

/// A queue that nobody watches.
#[derive(Debug)]
pub struct Unwatched<'a>(&'a Idle);

impl Drop for Unwatched<'_> {
    fn drop(&mut self) {
        self.0.state.lock().blind -= 1;
    }
}

/// Watches one queue.
pub struct Watch {
    /// Where the queue is.
    pub settings: Arc<Settings>,
    /// All queues of the capsule.
    pub queues: Arc<Queues>,
    /// Which one of them, and who fails where it cannot be watched.
    pub who: Who,
    /// Where all watches of this process queue up that have no connection.
    pub turnstile: Arc<Turnstile>,
    /// Shared with all threads of the engine.
    pub outage: Arc<Outage>,
    /// Log lines.
    pub events: Arc<Events>,
}

impl Watch {
    /// Watches until stopped. `arrived` is called when a job is there.
    pub fn serve(&self, queue: &Bytes, arrived: impl Fn()) {
        let idle = &self.queues.idle;
        let count = u32::try_from(self.queues.names.len()).unwrap_or(u32::MAX);
        let look = LOOK.max(SHARE.saturating_mul(count));
        let mut store = Store::patient(&self.settings, "watch", look);
        let mut backoff = Backoff::new(LONGEST_WAIT);
        let mut unwatched = Some(idle.unwatched());
        let mut seen = 0;
        while let Some(now) = idle.wait(seen) {
            seen = now;
            while idle.still(seen) {
                if !store.reaches_queues() {
                    match self.connect(&mut store) {
                        true => unwatched = None,
                        false => unwatched = unwatched.or_else(|| Some(idle.unwatched())),
                    }
                    continue;
                }
                match store.await_job(queue, look) {
                    Ok(found) => {
                        unwatched = None;
                        backoff.reset();
                        if found {
                            idle.hold_back();
                            arrived();
                            break;
                        }
                    }
                    // Not an arrival: whoever waits for one is served by glances meanwhile.
                    Err(error) => {
                        unwatched = unwatched.or_else(|| Some(idle.unwatched()));
                        if store.reaches_queues() {
                            idle.pause(if is_for_good(&error) { REFUSED } else { backoff.next_wait() });
                        }
                    }
                }
            }
        }
    }

    /// Opens a connection when it is this watch's turn to try; false where there was none to be had.
    fn connect(&self, store: &mut Store) -> bool {
        if let Some(wait) = self.turnstile.wait() {
            self.queues.idle.pause(wait);
            return false;
        }
        match store.reach_queues("watch") {
            Ok(()) => {
                self.turnstile.passed();
                self.outage.over(&self.events, self.who);
                true
            }
            Err(error) => {
                self.turnstile.refused();
                self.outage.failed(&self.events, self.who, &error);
                false
            }
        }
    }
}

/// Whether a server that answers so will do so again: it does not know the command, or forbids it.
fn is_for_good(error: &Error) -> bool {
    error.is_forbidden() || error.remedy == Remedy::Wait && error.message.starts_with("ERR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_glance_often_only_where_a_queue_has_no_watch() {
        let idle = Idle::default();
        assert_eq!(idle.next_glance(), None, "nothing is known of the queues");
        idle.found_empty(0);
        let seldom = idle.next_glance().unwrap();
        assert!(seldom > Instant::now() + Duration::from_secs(3));
        let unwatched = idle.unwatched();
        let often = idle.next_glance().unwrap();
        assert!(often < Instant::now() + Duration::from_secs(1));
        assert!(!idle.take_turn());
        std::thread::sleep(often.saturating_duration_since(Instant::now()));
        assert!(idle.take_turn());
        assert!(!idle.take_turn(), "one lane at a time");
        drop(unwatched);
        idle.stir();
        assert_eq!(idle.next_glance(), None, "a fetch is to come");
    }
}
