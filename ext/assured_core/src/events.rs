//! What the engine has to tell Ruby. Rust threads never call Ruby: they put events here, and one Ruby
//! thread takes them out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::Bytes;
use crate::payload::{self, Profile};
use crate::printable;
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
    /// What the application may want to be told.
    Notices(Vec<Notice>),
    /// Dead jobs lie in Redis whose death handlers have not begun.
    Deaths,
    /// So many notices found no room.
    Dropped(u64),
}

/// What a notice is about. The names are those that the application subscribes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A job of a dead instance is in its queue again.
    Recovered,
    /// A job of a dead instance will not run again by itself.
    Poisoned,
    /// This instance was declared dead, and a job that it still runs was given to another.
    LeaseLost,
    /// An instance was found dead.
    InstanceDied,
}

impl Kind {
    /// The name by which Ruby knows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Poisoned => "poisoned",
            Self::LeaseLost => "lease_lost",
            Self::InstanceDied => "instance_died",
        }
    }
}

/// Something that happened to one job, or to one instance.
#[derive(Clone, Debug)]
pub struct Notice {
    /// What happened.
    pub kind: Kind,
    /// The instance that died, or was declared dead.
    pub instance: Bytes,
    /// How long ago its last heartbeat was, where this process saw one.
    pub silent: Option<Duration>,
    /// The job, unless the notice is about the instance alone or the payload cannot be read.
    pub job: Option<Profile>,
    /// Why, where that is not plain.
    pub reason: Option<String>,
}

impl Notice {
    /// A notice about the instance alone.
    pub fn of_instance(kind: Kind, instance: &[u8], silent: Option<Duration>) -> Self {
        Self { kind, instance: instance.to_vec(), silent, job: None, reason: None }
    }

    /// A notice about a job with this payload.
    pub fn of_job(kind: Kind, instance: &[u8], payload: &[u8]) -> Self {
        Self { job: payload::profile(payload), ..Self::of_instance(kind, instance, None) }
    }
}

/// The queue between the engine and the Ruby thread.
#[derive(Debug, Default)]
pub struct Events {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Event>,
    later: Option<(Instant, Level, String)>,
    dropped_lines: u64,
    dropped_notices: u64,
    closed: bool,
    interrupted: bool,
}

/// A process that logs faster than Ruby can write must not fill its memory with log lines.
pub const CAPACITY: usize = 1024;

impl Events {
    /// Adds a log line, which this makes fit to be one. When the queue is full the line is dropped and counted.
    pub fn log(&self, level: Level, message: impl AsRef<str>) {
        let mut state = self.state.lock();
        if state.queue.len() >= CAPACITY {
            state.dropped_lines += 1;
            return;
        }
        state.queue.push_back(Event::Log(level, printable::line(message.as_ref())));
        self.changed.notify_all();
    }

    /// Adds a log line after a while, unless it is taken back. There is room for one.
    pub fn log_later(&self, level: Level, message: &str, wait: Duration) {
        self.state.lock().later = Some((Instant::now() + wait, level, printable::line(message)));
        self.changed.notify_all();
    }

    /// Takes back what was to be logged later; false where it is logged already.
    pub fn take_back(&self) -> bool {
        self.state.lock().later.take().is_some()
    }

    /// Adds notices, as one event. When the queue is full they are dropped and counted: what they tell of is done
    /// already.
    pub fn notify(&self, notices: Vec<Notice>) {
        if notices.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        if state.queue.len() >= CAPACITY {
            state.dropped_notices += notices.len() as u64;
            return;
        }
        state.queue.push_back(Event::Notices(notices));
        self.changed.notify_all();
    }

    /// Has death handlers run. A full queue forgets it: the dead jobs lie in Redis, and the next sweep sees them.
    pub fn report_deaths(&self) {
        let mut state = self.state.lock();
        if state.queue.len() < CAPACITY {
            state.queue.push_back(Event::Deaths);
            self.changed.notify_all();
        }
    }

    /// Waits for events and takes all of them; none once the queue is closed and empty.
    pub fn next_batch(&self, deadline: Option<Instant>) -> Woken<Vec<Event>> {
        let mut state = self.state.lock();
        loop {
            let (now, closed) = (Instant::now(), state.closed);
            if let Some((_, level, line)) = state.later.take_if(|(at, ..)| closed || *at <= now) {
                state.queue.push_back(Event::Log(level, line));
            }
            if !state.queue.is_empty() || state.closed {
                let mut batch: Vec<_> = state.queue.drain(..).collect();
                let (lines, notices) =
                    (std::mem::take(&mut state.dropped_lines), std::mem::take(&mut state.dropped_notices));
                if lines > 0 {
                    batch.push(Event::Log(Level::Warn, format!("{lines} log lines were dropped")));
                }
                if notices > 0 {
                    batch.push(Event::Dropped(notices));
                }
                return Woken::Answered(batch);
            }
            if std::mem::take(&mut state.interrupted) {
                return Woken::Interrupted;
            }
            if deadline.is_some_and(|at| at <= now) {
                return Woken::TimedOut;
            }
            match deadline.into_iter().chain(state.later.as_ref().map(|(at, ..)| *at)).min() {
                None => self.changed.wait(&mut state),
                Some(at) => drop(self.changed.wait_until(&mut state, at)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted() {
        let events = Events::default();
        (0..CAPACITY).for_each(|_| events.log(Level::Info, "line"));
        events.log(Level::Info, "one too many");
        events.notify(vec![Notice::of_instance(Kind::InstanceDied, b"a", None); 3]);
        events.report_deaths();
        let Woken::Answered(batch) = events.next_batch(None) else { panic!("nothing came") };
        assert_eq!(batch.len(), CAPACITY + 2);
        assert!(matches!(&batch[CAPACITY], Event::Log(_, line) if line.starts_with("1 log")));
        assert!(matches!(batch[CAPACITY + 1], Event::Dropped(3)));
    }
}
