//! Passwords, also those that a callable of the application's gives. Only Ruby can call it, and Ruby may be
//! busy for long: so the last answer is used until a server refuses it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::Bytes;
use crate::backoff::jittered;
use crate::waiter::Woken;

/// A password.
#[derive(Clone)]
pub enum Password {
    /// One that stays as it is.
    Fixed(Bytes),
    /// One that is asked for.
    Asked(Arc<Passwords>, usize),
}

/// What is known of a password.
#[derive(Clone)]
pub struct Known {
    /// The password, if any.
    pub value: Option<Bytes>,
    answers: u64,
}

impl Password {
    /// The last answer, at once. One that is not quite fresh is asked for anew, for the next connection.
    pub fn latest(&self) -> Known {
        match self {
            Self::Fixed(value) => Known { value: Some(value.clone()), answers: 0 },
            Self::Asked(passwords, number) => passwords.latest(*number),
        }
    }

    /// Another one than `refused`, for which Ruby is asked and waited for. `None`: there is none, or not in time.
    pub fn newer(&self, refused: &Known, deadline: Instant) -> Option<Known> {
        match self {
            Self::Fixed(_) => None,
            Self::Asked(passwords, number) => passwords.newer(*number, refused, deadline),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// All passwords of an engine that are asked for, and the questions that Ruby has not answered yet.
pub struct Passwords {
    refresh: Duration,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<usize, Entry>,
    closed: bool,
    interrupted: bool,
}

struct Entry {
    value: Option<Bytes>,
    answers: u64,
    answered: Instant,
    asked: bool,
}

/// Connections that are opened together share an answer.
const FRESH: Duration = Duration::from_secs(1);

impl Passwords {
    /// No passwords yet. Those that are older than `refresh`, or a little less, are asked for anew: what is known when a
    /// connection is cut must be right, since Ruby may be busy then.
    pub fn new(refresh: Duration) -> Self {
        Self { refresh: jittered(refresh), state: Mutex::default(), changed: Condvar::new() }
    }

    /// Another password, by Ruby's number, with the answer that Ruby has given at the start, if it has.
    pub fn add(self: &Arc<Self>, number: usize, value: Option<Bytes>) -> Password {
        let entry = Entry { value, answers: 0, answered: Instant::now(), asked: false };
        self.state.lock().entries.insert(number, entry);
        Password::Asked(Arc::clone(self), number)
    }

    /// Waits for a question: the number of a password. None once closed.
    pub fn next_question(&self) -> Woken<Option<usize>> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return Woken::Answered(None);
            }
            let now = Instant::now();
            let due = |entry: &Entry| entry.asked || entry.answered + self.refresh <= now;
            if let Some((number, entry)) = state.entries.iter_mut().find(|(_, entry)| due(entry)) {
                entry.asked = false;
                return Woken::Answered(Some(*number));
            }
            if std::mem::take(&mut state.interrupted) {
                return Woken::Interrupted;
            }
            match state.entries.values().map(|entry| entry.answered + self.refresh).min() {
                Some(next) => drop(self.changed.wait_until(&mut state, next)),
                None => self.changed.wait(&mut state),
            }
        }
    }

    /// Ruby's answer to a question; none where the callable failed.
    pub fn answer(&self, number: usize, value: Option<Bytes>) {
        if let Some(entry) = self.state.lock().entries.get_mut(&number) {
            entry.value = value.or(entry.value.take());
            entry.answers += 1;
            entry.answered = Instant::now();
        }
        self.changed.notify_all();
    }

    /// Wakes the thread that waits in [`Passwords::next_question`].
    pub fn interrupt(&self) {
        self.state.lock().interrupted = true;
        self.changed.notify_all();
    }

    /// Says that nobody will answer any more.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }

    fn latest(&self, number: usize) -> Known {
        let mut state = self.state.lock();
        let Some(entry) = state.entries.get_mut(&number) else {
            return Known { value: None, answers: 0 };
        };
        if entry.value.is_none() || entry.answered.elapsed() > FRESH {
            entry.asked = true;
            self.changed.notify_all();
        }
        Known { value: entry.value.clone(), answers: entry.answers }
    }

    fn newer(&self, number: usize, refused: &Known, deadline: Instant) -> Option<Known> {
        let mut state = self.state.lock();
        let mut asked = false;
        loop {
            let closed = state.closed;
            let entry = state.entries.get_mut(&number)?;
            if entry.answers != refused.answers || closed {
                let other = entry.value.is_some() && entry.value != refused.value;
                return other.then(|| Known { value: entry.value.clone(), answers: entry.answers });
            }
            if !std::mem::replace(&mut asked, true) {
                entry.asked = true;
                self.changed.notify_all();
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return None;
            }
        }
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passwords")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(first: Option<&str>) -> (Arc<Passwords>, Password) {
        let passwords = Arc::new(Passwords::new(Duration::from_secs(600)));
        let password = passwords.add(0, first.map(Bytes::from));
        (passwords, password)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn the_last_answer_is_there_at_once_and_another_one_is_waited_for() {
        let (passwords, password) = asked(Some("old"));
        let old = password.latest();
        assert_eq!(old.value, Some(b"old".to_vec()));
        let ruby = std::thread::spawn({
            let passwords = Arc::clone(&passwords);
            move || match passwords.next_question() {
                Woken::Answered(Some(number)) => passwords.answer(number, Some(b"new".to_vec())),
                _ => panic!("no question came"),
            }
        });
        assert_eq!(password.newer(&old, soon()).and_then(|newer| newer.value), Some(b"new".to_vec()));
        ruby.join().unwrap();
        assert_eq!(password.latest().value, Some(b"new".to_vec()));
    }

    #[test]
    fn the_same_answer_no_answer_and_a_failed_callable_bring_nothing_newer() {
        let (passwords, password) = asked(Some("old"));
        let old = password.latest();
        assert!(password.newer(&old, Instant::now() + Duration::from_millis(20)).is_none(), "no answer");
        passwords.answer(0, Some(b"old".to_vec()));
        assert!(password.newer(&old, soon()).is_none(), "the same answer");
        let old = password.latest();
        passwords.answer(0, None);
        assert!(password.newer(&old, soon()).is_none(), "a callable that raised");
        assert_eq!(password.latest().value, Some(b"old".to_vec()));
    }

    #[test]
    fn nobody_waits_once_ruby_has_gone() {
        let (passwords, password) = asked(None);
        let nothing = password.latest();
        passwords.close();
        assert!(password.newer(&nothing, soon()).is_none());
        assert_eq!(passwords.next_question(), Woken::Answered(None));
    }

    #[test]
    fn a_password_is_asked_for_again_after_a_while() {
        let passwords = Arc::new(Passwords::new(Duration::from_millis(50)));
        let added = Instant::now();
        let password = passwords.add(7, Some("old".into()));
        assert_eq!(passwords.next_question(), Woken::Answered(Some(7)));
        assert!(added.elapsed() >= Duration::from_millis(30), "{:?}", added.elapsed());
        let answered = Instant::now();
        passwords.answer(7, Some("new".into()));
        assert_eq!(password.latest().value, Some(b"new".to_vec()));
        assert_eq!(passwords.next_question(), Woken::Answered(Some(7)));
        assert!(answered.elapsed() >= Duration::from_millis(30), "{:?}", answered.elapsed());
    }

    #[test]
    fn words_for_people_do_not_hold_the_password() {
        assert!(!format!("{:?}", Password::Fixed(b"secret".to_vec())).contains("secret"));
    }
}
