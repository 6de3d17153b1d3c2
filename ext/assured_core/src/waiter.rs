//! A place where one thread waits for an answer that another thread gives.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// Where a thread waits for an answer of type `T`.
#[derive(Debug)]
pub struct Waiter<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    answer: Option<T>,
    interrupted: bool,
    abandoned: bool,
    answered: bool,
}

/// How a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Woken<T> {
    /// With the answer.
    Answered(T),
    /// The deadline passed.
    TimedOut,
    /// Somebody called [`Waiter::interrupt`]; waiting again is allowed.
    Interrupted,
}

impl<T> Waiter<T> {
    /// A waiter without an answer.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State { answer: None, interrupted: false, abandoned: false, answered: false }),
            changed: Condvar::new(),
        })
    }

    /// Gives the answer.
    pub fn answer(&self, answer: T) {
        self.state.lock().answer = Some(answer);
        self.changed.notify_all();
    }

    /// Gives the answer, or returns it when nobody waits for it (any more, or for another one).
    pub fn offer(&self, answer: T) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.abandoned || state.answered {
            return Err(answer);
        }
        state.answer = Some(answer);
        state.answered = true;
        self.changed.notify_all();
        Ok(())
    }

    /// Says that nobody waits any more. Returns the answer that had come all the same.
    pub fn abandon(&self) -> Option<T> {
        let mut state = self.state.lock();
        state.abandoned = true;
        state.answer.take()
    }

    /// Whether nobody waits any more.
    pub fn is_abandoned(&self) -> bool {
        self.state.lock().abandoned
    }

    /// The answer, if it is there already.
    pub fn take(&self) -> Option<T> {
        self.state.lock().answer.take()
    }

    /// Wakes the waiting thread without an answer.
    pub fn interrupt(&self) {
        self.state.lock().interrupted = true;
        self.changed.notify_all();
    }

    /// Waits for the answer; for ever without a deadline.
    pub fn wait(&self, deadline: Option<Instant>) -> Woken<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(answer) = state.answer.take() {
                return Woken::Answered(answer);
            }
            if std::mem::take(&mut state.interrupted) {
                return Woken::Interrupted;
            }
            match deadline {
                None => self.changed.wait(&mut state),
                Some(at) => {
                    if self.changed.wait_until(&mut state, at).timed_out() {
                        return state.answer.take().map_or(Woken::TimedOut, Woken::Answered);
                    }
                }
            }
        }
    }
}
