//! Wakes fetching when a job arrives in an empty queue. One thread for each queue blocks in a look that leaves
//! the queue as it is; nobody polls.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::Bytes;
use crate::settings::Settings;
use crate::store::Store;

/// How long one look blocks.
const LOOK: Duration = Duration::from_secs(2);

/// Between two looks where the server refuses to block.
const FALLBACK: Duration = Duration::from_millis(200);

/// Whether the queues were found empty, and how often.
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
    stopped: bool,
}

impl Idle {
    /// Notes that a fetch found all queues empty, after it had got `jobs` of them.
    pub fn found_empty(&self, jobs: usize) {
        let mut state = self.state.lock();
        state.vain += 1;
        state.too_late = if jobs == 0 { state.too_late + 1 } else { 0 };
        state.idle = true;
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

    /// One job wakes all idle processes. Who came too late the last times holds back a little.
    fn hold_back(&self) -> Duration {
        let most = u64::from(self.state.lock().too_late.min(10)) * 100;
        Duration::from_micros(fastrand::u64(0..=most))
    }

    fn still(&self, vain: u64) -> bool {
        let state = self.state.lock();
        !state.stopped && state.idle && state.vain == vain
    }
}

/// Watches one queue until stopped. `arrived` is called when a job is there.
pub fn serve(settings: &Settings, queue: &Bytes, idle: &Arc<Idle>, arrived: impl Fn()) {
    let mut store = Store::patient(settings, "watch", LOOK);
    let mut seen = 0;
    while let Some(now) = idle.wait(seen) {
        seen = now;
        let mut stirred = false;
        while !stirred && idle.still(seen) {
            stirred = match store.await_job(queue, LOOK) {
                Ok(arrived) => arrived,
                Err(_) => {
                    // Not allowed, or Redis is away, which the pipeline reports.
                    std::thread::sleep(crate::backoff::jittered(FALLBACK));
                    true
                }
            };
        }
        if stirred {
            let hold_back = idle.hold_back();
            if !hold_back.is_zero() {
                std::thread::sleep(hold_back);
            }
            arrived();
        }
    }
}
