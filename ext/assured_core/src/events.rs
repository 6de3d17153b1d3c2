//! What the engine has to tell Ruby. Rust threads never call Ruby: they put events here, and one Ruby
//! thread takes them out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::Bytes;
use crate::waiter::Woken;

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// For people who look for a fault.
    Debug,
    /// Something worth knowing happened.
    Info,
    /// Something that should not happen, and was dealt with.
    Warn,
    /// Something that needs a person.
    Error,
}

/// One thing to tell Ruby.
#[derive(Debug)]
pub enum Event {
    /// A line for the log.
    Log(Level, String),
    /// Orphans for `Sidekiq::Client` to push, answered through [`crate::recovery::Push`].
    Orphans(u64, Vec<Orphan>),
}

/// An orphan on its way through Ruby.
#[derive(Clone, Debug)]
pub struct Orphan {
    /// Name of the record.
    pub name: Bytes,
    /// Payload, made ready to be queued.
    pub payload: Bytes,
}

/// The queue between the engine and the Ruby thread.
#[derive(Debug, Default)]
pub struct Events {
    state: Mutex<State>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Event>,
    closed: bool,
    interrupted: bool,
}

/// A process that logs faster than Ruby can write must not fill its memory with log lines.
const CAPACITY: usize = 1024;

impl Events {
    /// Adds a log line. When the queue is full the line is dropped and counted.
    pub fn log(&self, level: Level, message: impl Into<String>) {
        let mut state = self.state.lock();
        if state.queue.len() >= CAPACITY {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.queue.push_back(Event::Log(level, message.into()));
        self.changed.notify_all();
    }

    /// Adds orphans for Ruby to push. Never dropped: the sender waits for the answer before it sends more.
    pub fn push_orphans(&self, batch: u64, orphans: Vec<Orphan>) {
        self.state.lock().queue.push_back(Event::Orphans(batch, orphans));
        self.changed.notify_all();
    }

    /// Waits for events and takes all of them; none once the queue is closed and empty.
    pub fn next_batch(&self, deadline: Option<Instant>) -> Woken<Vec<Event>> {
        let mut state = self.state.lock();
        loop {
            if !state.queue.is_empty() || state.closed {
                let mut batch: Vec<_> = state.queue.drain(..).collect();
                let dropped = self.dropped.swap(0, Ordering::Relaxed);
                if dropped > 0 {
                    batch.push(Event::Log(Level::Warn, format!("{dropped} log lines were dropped")));
                }
                return Woken::Answered(batch);
            }
            if std::mem::take(&mut state.interrupted) {
                return Woken::Interrupted;
            }
            match deadline {
                None => self.changed.wait(&mut state),
                Some(at) => {
                    if self.changed.wait_until(&mut state, at).timed_out() {
                        return Woken::TimedOut;
                    }
                }
            }
        }
    }

    /// Wakes the thread that waits in [`Events::next_batch`].
    pub fn interrupt(&self) {
        self.state.lock().interrupted = true;
        self.changed.notify_all();
    }

    /// Says that no more events will come.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }
}
