//! The truth about what this process holds, in memory. Redis is its mirror.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Bytes;
use crate::released::Released;
use crate::waiter::Waiter;

/// Identifies one attempt of a job in this process.
pub type Token = u64;

/// One attempt of a job: from `track` to `release`.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Identifies the attempt.
    pub token: Token,
    /// The queue that the job was fetched from.
    pub queue: Bytes,
    /// The payload as it was in the queue.
    pub payload: Arc<[u8]>,
    /// Name of the record: the jid, where that name was free.
    pub name: Bytes,
    /// Name of the record where it was not; unique to this attempt.
    pub spare: Bytes,
    /// What Redis knows of it.
    pub mirrored: Mirrored,
    /// Where the thread that runs the job waits for the record.
    pub recorded: Arc<Waiter<()>>,
}

/// What Redis knows of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirrored {
    /// Nothing was sent.
    Not,
    /// Sent, no reply yet or none ever.
    Unknown,
    /// Recorded under [`Attempt::name`].
    Yes,
    /// The lease is lost: the job was given to somebody else, the record is not ours.
    Lost,
}

/// How an attempt entered that was recorded when its job was popped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Its record is its own.
    Alone,
    /// Its record has the name of one whose release may still be under way, and may remove it.
    BesideARelease,
    /// Its record has the name of an attempt that had lost its own one, and its lease with it.
    InsteadOfALost,
}

/// All attempts of this process.
#[derive(Debug)]
pub struct Registry {
    nonce: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Token,
    attempts: HashMap<Token, Attempt>,
    /// Names of records: those of the attempts held, and those whose release Redis has not acknowledged yet.
    names: HashMap<Bytes, Token>,
    /// Attempts whose command was under way when a verdict was found.
    doubtful: HashSet<Token>,
    /// The last token of those that were reserved by then.
    doubted: Token,
    /// Those that have lost their lease, of which nobody was told yet.
    lost: Vec<Attempt>,
    released: Released,
}

impl State {
    fn take(&mut self, token: Token) -> Option<Attempt> {
        let attempt = self.attempts.remove(&token)?;
        self.doubtful.remove(&token);
        if self.names.get(&attempt.name) == Some(&token) {
            self.names.remove(&attempt.name);
        }
        Some(attempt)
    }

    fn holds(&self, name: &[u8]) -> bool {
        self.names.get(name).is_some_and(|token| self.attempts.contains_key(token))
    }
}

impl Registry {
    /// An empty registry. `nonce` makes spare names unique to this process.
    pub fn new(nonce: &str) -> Self {
        Self { nonce: nonce.to_owned(), state: Mutex::default() }
    }

    /// Enters an attempt.
    pub fn admit(&self, jid: &[u8], queue: &[u8], payload: &[u8]) -> Token {
        let mut state = self.state.lock();
        state.last += 1;
        let token = state.last;
        let spare = [jid, &self.suffix(token)].concat();
        let taken = jid.is_empty() || state.names.contains_key(jid);
        let name = if taken { spare.clone() } else { jid.to_vec() };
        state.names.insert(name.clone(), token);
        let attempt = Attempt {
            token,
            queue: queue.to_vec(),
            payload: payload.into(),
            name,
            spare,
            mirrored: Mirrored::Not,
            recorded: Waiter::new(),
        };
        state.attempts.insert(token, attempt);
        token
    }

    /// Prepares for an attempt whose job is yet to be popped: its token, and what makes its spare name unique.
    pub fn reserve(&self) -> (Token, Bytes) {
        let mut state = self.state.lock();
        state.last += 1;
        (state.last, self.suffix(state.last))
    }

    /// Enters an attempt that was recorded when its job was popped. A name that was taken here was free in Redis then:
    /// whoever had it here has it no longer.
    pub fn admit_recorded(&self, token: Token, name: Bytes, queue: Bytes, payload: Arc<[u8]>) -> Admitted {
        let suffix = self.suffix(token);
        let spare = if name.ends_with(&suffix) { name.clone() } else { [&*name, &suffix].concat() };
        let mut state = self.state.lock();
        let State { attempts, names, doubtful, doubted, lost, .. } = &mut *state;
        if token <= *doubted {
            doubtful.insert(token);
        }
        let admitted = match names.insert(name.clone(), token) {
            None => Admitted::Alone,
            Some(older) => match attempts.get_mut(&older) {
                None => Admitted::BesideARelease,
                Some(older) if older.mirrored == Mirrored::Yes => {
                    older.mirrored = Mirrored::Lost;
                    lost.push(older.clone());
                    Admitted::InsteadOfALost
                }
                Some(older) => {
                    older.name = older.spare.clone();
                    names.insert(older.name.clone(), older.token);
                    Admitted::Alone
                }
            },
        };
        let mirrored = match admitted {
            Admitted::BesideARelease => Mirrored::Unknown,
            Admitted::Alone | Admitted::InsteadOfALost => Mirrored::Yes,
        };
        let attempt = Attempt { token, queue, payload, spare, name, mirrored, recorded: Waiter::new() };
        attempts.insert(token, attempt);
        admitted
    }

    fn suffix(&self, token: Token) -> Bytes {
        format!("~{}.{token}", self.nonce).into_bytes()
    }

    /// The attempt, if it is still held.
    pub fn get(&self, token: Token) -> Option<Attempt> {
        self.state.lock().attempts.get(&token).cloned()
    }

    /// Where the thread that runs the attempt waits for its record.
    pub fn recorded(&self, token: Token) -> Option<Arc<Waiter<()>>> {
        self.state.lock().attempts.get(&token).map(|attempt| Arc::clone(&attempt.recorded))
    }

    /// The attempt, if it is still held, now marked as on its way to Redis. One step: whoever removes it
    /// afterwards knows that there may be a record. Nothing where the job was given to somebody else.
    pub fn send(&self, token: Token) -> Option<Attempt> {
        let mut state = self.state.lock();
        let State { attempts, names, .. } = &mut *state;
        let attempt = attempts.get_mut(&token).filter(|attempt| attempt.mirrored != Mirrored::Lost)?;
        // A fetch has recorded another attempt under this name meanwhile.
        if names.get(&attempt.name) != Some(&token) {
            attempt.name = attempt.spare.clone();
            names.insert(attempt.name.clone(), token);
        }
        attempt.mirrored = Mirrored::Unknown;
        Some(attempt.clone())
    }

    /// Notes what Redis knows now.
    pub fn set_mirrored(&self, token: Token, mirrored: Mirrored) {
        if let Some(attempt) = self.state.lock().attempts.get_mut(&token) {
            attempt.mirrored = mirrored;
        }
    }

    /// Notes that the lease of an attempt is lost, unless that was known already, or the attempt has ended.
    pub fn lose(&self, token: Token) {
        let mut state = self.state.lock();
        let State { attempts, lost, .. } = &mut *state;
        if let Some(attempt) = attempts.get_mut(&token).filter(|attempt| attempt.mirrored != Mirrored::Lost) {
            attempt.mirrored = Mirrored::Lost;
            lost.push(attempt.clone());
        }
    }

    /// Attempts that have lost their lease since the last call. Each one comes once.
    pub fn take_lost(&self) -> Vec<Attempt> {
        std::mem::take(&mut self.state.lock().lost)
    }

    /// Notes that this instance was declared dead. Redis may have recorded more than the attempts that were `looked_after`
    /// then: what was under way may have been given to others before its reply came.
    pub fn doubt(&self, looked_after: &[Attempt]) {
        let mut state = self.state.lock();
        let State { last, attempts, doubtful, doubted, .. } = &mut *state;
        *doubted = *last;
        let sent = attempts.values().filter(|a| matches!(a.mirrored, Mirrored::Yes | Mirrored::Unknown));
        doubtful.extend(sent.map(|attempt| attempt.token));
        looked_after.iter().for_each(|attempt| {
            doubtful.remove(&attempt.token);
        });
    }

    /// Whether the attempt is one of those; the next look tells what became of it.
    pub fn end_doubt(&self, token: Token) -> bool {
        self.state.lock().doubtful.remove(&token)
    }

    /// Notes that Redis recorded the attempt under its spare name.
    pub fn rename_to_spare(&self, token: Token) {
        let mut state = self.state.lock();
        let Some(attempt) = state.attempts.get_mut(&token) else {
            return;
        };
        let spare = attempt.spare.clone();
        let previous = std::mem::replace(&mut attempt.name, spare.clone());
        if state.names.get(&previous) == Some(&token) {
            state.names.remove(&previous);
        }
        state.names.insert(spare, token);
    }

    /// Takes an attempt out whose job has ended, and remembers its record for a while. A name that Redis may know
    /// stays taken until [`Registry::free`]: releases overtake tracks, and must never remove a later attempt's
    /// record.
    pub fn remove(&self, token: Token) -> Option<Attempt> {
        let mut state = self.state.lock();
        let known = |attempt: &Attempt| matches!(attempt.mirrored, Mirrored::Yes | Mirrored::Unknown);
        let attempt = match known(state.attempts.get(&token)?) {
            true => {
                state.doubtful.remove(&token);
                state.attempts.remove(&token)?
            }
            false => state.take(token)?,
        };
        if known(&attempt) {
            state.released.remember(&attempt.name, &attempt.payload);
            // A track whose first reply was lost may have left a record of this name, too.
            if attempt.spare != attempt.name {
                state.released.remember(&attempt.spare, &attempt.payload);
            }
        }
        Some(attempt)
    }

    /// Notes that Redis has acknowledged the release of an attempt's record.
    pub fn free(&self, name: &[u8], token: Token) {
        let mut state = self.state.lock();
        if state.names.get(name) == Some(&token) {
            state.names.remove(name);
        }
    }

    /// Takes an attempt out whose job has not ended: it is in its queue again, or somebody else's.
    pub fn give_up(&self, token: Token) {
        self.state.lock().take(token);
    }

    /// Whether the job of an attempt that has not ended is somebody else's by now, or in its queue again.
    pub fn is_lost(&self, token: Token) -> bool {
        let state = self.state.lock();
        state.attempts.get(&token).is_none_or(|attempt| attempt.mirrored == Mirrored::Lost)
    }

    /// The attempt with exactly this payload.
    pub fn find(&self, payload: &[u8]) -> Option<Token> {
        let state = self.state.lock();
        state.attempts.values().find(|attempt| &*attempt.payload == payload).map(|attempt| attempt.token)
    }

    /// All attempts that Redis is believed to know.
    pub fn mirrored(&self) -> Vec<Attempt> {
        let state = self.state.lock();
        state.attempts.values().filter(|attempt| attempt.mirrored == Mirrored::Yes).cloned().collect()
    }

    /// Whether some attempt has, or may have, a record of this name.
    pub fn knows(&self, name: &[u8]) -> bool {
        let state = self.state.lock();
        state.holds(name) || state.attempts.values().any(|attempt| attempt.spare == name)
    }

    /// Whether an attempt with this record, name and payload both, ended lately. The name alone does not tell:
    /// a retry has the jid of the attempt before it.
    pub fn was_released(&self, name: &[u8], payload: &[u8]) -> bool {
        self.state.lock().released.contains(name, payload)
    }

    /// Notes a beat that Redis has answered; the next one is due after `interval`. What was released long ago is
    /// forgotten.
    pub fn note_beat(&self, interval: Duration) {
        self.state.lock().released.beat(Instant::now(), interval);
    }

    /// Tokens of the attempts that Redis should know and is not known to.
    pub fn unmirrored(&self) -> Vec<Token> {
        let state = self.state.lock();
        let behind = |a: &&Attempt| matches!(a.mirrored, Mirrored::Not | Mirrored::Unknown);
        state.attempts.values().filter(behind).map(|attempt| attempt.token).collect()
    }

    /// Tokens of the attempts to hand over when this process ends, oldest first.
    pub fn to_hand_over(&self) -> Vec<Token> {
        let state = self.state.lock();
        let mut tokens: Vec<_> = state.attempts.keys().copied().collect();
        tokens.sort_unstable();
        tokens
    }

    /// How many attempts are held.
    pub fn len(&self) -> usize {
        self.state.lock().attempts.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jid_in_flight_twice_has_two_records() {
        let registry = Registry::new("n");
        let first = registry.admit(b"j", b"q", b"{1}");
        let second = registry.admit(b"j", b"q", b"{2}");
        assert_eq!(registry.get(first).unwrap().name, b"j");
        assert_eq!(registry.get(second).unwrap().name, b"j~n.2");
        registry.remove(first);
        assert_eq!(registry.get(registry.admit(b"j", b"q", b"{3}")).unwrap().name, b"j");
    }

    #[test]
    fn a_name_is_free_when_redis_has_acknowledged_its_release() {
        let registry = Registry::new("n");
        let first = registry.admit(b"j", b"q", b"{1}");
        registry.send(first);
        registry.remove(first);
        assert!(!registry.knows(b"j"));
        let second = registry.admit(b"j", b"q", b"{2}");
        assert_eq!(registry.get(second).unwrap().name, b"j~n.2");
        registry.free(b"j", first);
        assert_eq!(registry.get(registry.admit(b"j", b"q", b"{3}")).unwrap().name, b"j");
    }

    fn fetched(registry: &Registry, name: &[u8]) -> (Token, Admitted) {
        let (token, _) = registry.reserve();
        (token, registry.admit_recorded(token, name.to_vec(), b"q".to_vec(), b"{}"[..].into()))
    }

    #[test]
    fn a_release_frees_no_name_that_a_later_attempt_has() {
        let registry = Registry::new("n");
        let (first, _) = fetched(&registry, b"j");
        registry.remove(first);
        let (second, admitted) = fetched(&registry, b"j");
        assert_eq!(admitted, Admitted::BesideARelease);
        assert_eq!(registry.get(second).unwrap().mirrored, Mirrored::Unknown);
        registry.remove(second);
        registry.free(b"j", first);
        let third = registry.admit(b"j", b"q", b"{3}");
        assert_eq!(registry.get(third).unwrap().name, b"j~n.3");
    }

    #[test]
    fn a_fetch_of_the_same_jid_shows_that_the_lease_is_lost() {
        let registry = Registry::new("n");
        let (first, _) = fetched(&registry, b"j");
        let (_, admitted) = fetched(&registry, b"j");
        assert_eq!(admitted, Admitted::InsteadOfALost);
        assert!(registry.is_lost(first));
        registry.lose(first);
        let lost = || registry.take_lost().into_iter().map(|attempt| attempt.token).collect::<Vec<_>>();
        assert_eq!((lost(), lost()), (vec![first], vec![]), "it is told once");
        assert!(registry.send(first).is_none(), "it is not recorded again");
    }

    #[test]
    fn a_verdict_puts_in_doubt_what_was_under_way() {
        let registry = Registry::new("n");
        let (looked_after, _) = fetched(&registry, b"a");
        let look = registry.mirrored();
        let (arrived_since, _) = fetched(&registry, b"b");
        let sent = registry.admit(b"c", b"q", b"{}");
        registry.send(sent);
        let (popped, _) = registry.reserve();
        registry.doubt(&look);
        registry.admit_recorded(popped, b"d".to_vec(), b"q".to_vec(), b"{}"[..].into());
        let (later, _) = fetched(&registry, b"e");
        let all = [looked_after, arrived_since, sent, popped, later];
        assert_eq!(all.map(|token| registry.end_doubt(token)), [false, true, true, true, false]);
        assert_eq!(all.map(|token| registry.end_doubt(token)), [false; 5]);
    }

    #[test]
    fn a_track_makes_way_for_a_fetch_that_has_the_name() {
        let registry = Registry::new("n");
        let first = registry.admit(b"j", b"q", b"{1}");
        registry.send(first);
        assert_eq!(fetched(&registry, b"j").1, Admitted::Alone);
        assert_eq!(registry.get(first).unwrap().name, b"j~n.1");
    }

    #[test]
    fn a_payload_without_jid_has_a_record_of_its_own() {
        let registry = Registry::new("n");
        let token = registry.admit(b"", b"q", b"{}");
        assert_eq!(registry.get(token).unwrap().name, b"~n.1");
    }

    #[test]
    fn a_renamed_attempt_frees_the_jid() {
        let registry = Registry::new("n");
        let first = registry.admit(b"j", b"q", b"{1}");
        registry.rename_to_spare(first);
        let second = registry.admit(b"j", b"q", b"{2}");
        assert_eq!(registry.get(second).unwrap().name, b"j");
        registry.remove(first);
        registry.remove(second);
        assert!(registry.is_empty() && registry.state.lock().names.is_empty());
    }
}
