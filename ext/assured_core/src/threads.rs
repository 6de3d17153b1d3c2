//! Threads of the engine: named, deaf to signals, restarted after a panic.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::events::{Events, Level};

/// Starts a thread that runs `work` until it returns. A panic is logged and `work` starts anew: an
/// engine that silently lost a thread would lose jobs.
///
/// # Errors
/// When the operating system gives no thread.
pub fn spawn(
    name: &'static str,
    events: Arc<Events>,
    mut work: impl FnMut() + Send + 'static,
) -> io::Result<()> {
    let body = move || {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(&mut work)) {
            events.log(Level::Error, format!("{name} thread panicked and starts anew: {}", text(&*panic)));
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    start(name, body)
}

/// How many threads the operating system gives at this moment, of `want`: they are started and ended again.
pub fn room(want: usize) -> usize {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let wait = || {
        let gate = Arc::clone(&gate);
        begin("saj-room", move || drop(gate.lock())).ok()
    };
    let threads: Vec<_> = (0..want).map_while(|_| wait()).collect();
    drop(closed);
    let room = threads.len();
    threads.into_iter().for_each(|thread| drop(thread.join()));
    if room < want {
        // The kernel counts them a moment longer, and whoever asks next is entitled to their places.
        std::thread::sleep(COUNTED);
    }
    room
}

/// How long a thread that has ended may still be counted.
const COUNTED: Duration = Duration::from_millis(20);

/// Starts a thread that does one thing and ends.
///
/// # Errors
/// When the operating system gives no thread.
pub fn start(name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    begin(name, work).map(drop)
}

fn begin(name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let mask = block_signals();
    let begun = Builder::new().name(name.to_owned()).spawn(work);
    restore_signals(&mask);
    begun
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown panic")
}

/// A new thread inherits the mask, so that Ruby's signal handlers never run on it. Signals of faults
/// stay open: blocking them would hang the thread instead of ending the process.
fn block_signals() -> libc::sigset_t {
    // SAFETY: all-zero is a valid sigset_t, and both pointers outlive the calls.
    unsafe {
        let mut blocked: libc::sigset_t = std::mem::zeroed();
        let mut previous: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut blocked);
        for fault in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGABRT,
            libc::SIGTRAP,
            libc::SIGSYS,
        ] {
            libc::sigdelset(&mut blocked, fault);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &blocked, &mut previous);
        previous
    }
}

fn restore_signals(mask: &libc::sigset_t) {
    // SAFETY: the mask came from pthread_sigmask.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, mask, std::ptr::null_mut());
    }
}

/// Lets a thread sleep until a time, a nudge, or the end of the engine.
#[derive(Debug, Default)]
pub struct Alarm {
    state: Mutex<AlarmState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct AlarmState {
    stopped: bool,
    nudged: bool,
}

impl Alarm {
    /// Sleeps until `deadline`, or less when nudged or stopped; says whether it slept to the end.
    pub fn sleep_until(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        while !state.stopped && !std::mem::take(&mut state.nudged) {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return true;
            }
        }
        false
    }

    /// Sleeps for `duration`, or less when nudged or stopped.
    pub fn sleep(&self, duration: Duration) {
        self.sleep_until(Instant::now() + duration);
    }

    /// Ends the present or next sleep.
    pub fn nudge(&self) {
        self.state.lock().nudged = true;
        self.changed.notify_all();
    }

    /// Ends every sleep from now on.
    pub fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Whether [`Alarm::stop`] was called.
    pub fn stopped(&self) -> bool {
        self.state.lock().stopped
    }
}
