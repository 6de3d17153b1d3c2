//! Mirrors the registry to Redis. One thread serves all Ruby threads: what waits together goes in one
//! round trip (group commit).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::Bytes;
use crate::backoff::Backoff;
use crate::error::{Remedy, Result};
use crate::events::{Events, Level};
use crate::heartbeat::Outage;
use crate::identity::{Identity, SharedIdentity};
use crate::registry::{Attempt, Mirrored, Registry, Token};
use crate::store::{Record, Requeued, Return, Store};
use crate::threads::Alarm;
use crate::waiter::Waiter;

/// Upper bounds of one round trip, in ops and in bytes of payload: they keep each script short, so that no
/// other client of that Redis waits. One payload may be larger.
const BATCH: usize = 128;
const BUDGET: usize = 1 << 20;

/// Longest wait between two tries while Redis is away.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What the pipeline does for others, in the order in which it was asked.
#[derive(Debug)]
enum Op {
    /// Record an attempt, then tell the waiter.
    Track(Token, Option<Arc<Waiter<()>>>),
    /// Remove the record of this name, if it is ours.
    Release(Bytes),
    /// Put attempts back into their queues, then tell the waiter.
    GiveBack(Vec<Token>, Arc<Waiter<()>>),
    /// Tell the waiter that everything before it is done.
    Flush(Arc<Waiter<()>>),
}

/// The pipeline's inbox. Locks are taken in the order inbox, registry.
#[derive(Debug)]
pub struct Pipeline {
    registry: Arc<Registry>,
    events: Arc<Events>,
    heartbeat: Arc<Alarm>,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Inbox {
    ops: VecDeque<Op>,
    closed: bool,
    stopped: bool,
}

impl Pipeline {
    /// A pipeline that nobody serves yet. `heartbeat` is nudged when the instance id turns out to be lost.
    pub fn new(registry: Arc<Registry>, events: Arc<Events>, heartbeat: Arc<Alarm>) -> Self {
        Self { registry, events, heartbeat, inbox: Mutex::default(), arrived: Condvar::new() }
    }

    /// Asks for an attempt to be recorded. The waiter is told when Redis has acknowledged it. A closed
    /// pipeline records nothing more, and lets nobody wait for it.
    pub fn track(&self, token: Token, waiter: Option<Arc<Waiter<()>>>) {
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            return answer(waiter);
        }
        inbox.ops.push_back(Op::Track(token, waiter));
        self.arrived.notify_one();
    }

    /// Ends an attempt: its record goes away, without anybody waiting for it.
    pub fn release(&self, token: Token) {
        // Under the lock until the op is queued: the name is free for another attempt from the moment of
        // its removal, and that one's op must come second.
        let mut inbox = self.inbox.lock();
        let Some(attempt) = self.registry.remove(token) else { return };
        match attempt.mirrored {
            Mirrored::Not | Mirrored::Lost => return,
            Mirrored::Yes => {}
            // It may stand under either name, or under none.
            Mirrored::Unknown if attempt.name != attempt.spare => {
                inbox.ops.push_back(Op::Release(attempt.spare));
            }
            Mirrored::Unknown => {}
        }
        inbox.ops.push_back(Op::Release(attempt.name));
        self.arrived.notify_one();
    }

    /// Removes records that no attempt of this process knows of.
    pub fn release_unknown(&self, names: Vec<Bytes>) {
        let mut inbox = self.inbox.lock();
        let unknown = names.into_iter().filter(|name| !self.registry.knows(name));
        inbox.ops.extend(unknown.map(Op::Release));
        self.arrived.notify_one();
    }

    /// Asks for attempts to be put back into their queues and released, in one step each.
    pub fn give_back(&self, tokens: Vec<Token>, waiter: Arc<Waiter<()>>) {
        self.put(Op::GiveBack(tokens, waiter));
    }

    /// Asks to be told when everything up to now is done.
    pub fn flush(&self, waiter: Arc<Waiter<()>>) {
        self.put(Op::Flush(waiter));
    }

    /// Lets nothing more be tracked: the instance is about to leave the registry.
    pub fn close(&self) {
        self.inbox.lock().closed = true;
    }

    /// Ends the thread that serves this pipeline.
    pub fn stop(&self) {
        self.inbox.lock().stopped = true;
        self.arrived.notify_all();
    }

    fn put(&self, op: Op) {
        self.inbox.lock().ops.push_back(op);
        self.arrived.notify_one();
    }

    /// Serves the pipeline until it is stopped.
    pub fn serve(&self, mut store: Store, identity: &SharedIdentity, outage: &Outage) {
        // After a panic, ops that were in hand are gone; the registry still knows what they were for.
        self.registry.unmirrored().into_iter().for_each(|token| self.track(token, None));
        let mut backoff = Backoff::new(LONGEST_WAIT);
        while let Some(mut ops) = self.take() {
            let Some(identity) = self.identity(identity) else { return };
            match self.perform(&mut store, &identity, &mut ops) {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    if error.remedy == Remedy::Reclaim {
                        self.heartbeat.nudge();
                    } else {
                        outage.began(&self.events, &error);
                    }
                    self.put_back(ops);
                    self.pause(backoff.next_wait());
                }
            }
        }
    }

    fn identity(&self, identity: &SharedIdentity) -> Option<Arc<Identity>> {
        loop {
            if let Some(identity) = identity.wait(Duration::from_millis(100)) {
                return Some(identity);
            }
            if self.inbox.lock().stopped {
                return None;
            }
        }
    }

    /// Waits for ops and takes a batch; nothing once stopped.
    fn take(&self) -> Option<VecDeque<Op>> {
        let mut inbox = self.inbox.lock();
        loop {
            if inbox.stopped {
                return None;
            }
            if !inbox.ops.is_empty() {
                let count = inbox.ops.len().min(BATCH);
                return Some(inbox.ops.drain(..count).collect());
            }
            self.arrived.wait(&mut inbox);
        }
    }

    fn put_back(&self, mut ops: VecDeque<Op>) {
        let mut inbox = self.inbox.lock();
        ops.append(&mut inbox.ops);
        inbox.ops = ops;
    }

    fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut inbox = self.inbox.lock();
        while !inbox.stopped && !self.arrived.wait_until(&mut inbox, until).timed_out() {}
    }

    /// Performs ops from the front. After an error, `ops` holds what is still to be done.
    fn perform(&self, store: &mut Store, identity: &Identity, ops: &mut VecDeque<Op>) -> Result<()> {
        while let Some(op) = ops.front() {
            match op {
                Op::Track(..) | Op::Release(_) => {
                    self.commit(store, identity, ops)?;
                    continue;
                }
                Op::GiveBack(tokens, waiter) => {
                    self.perform_give_back(store, identity, tokens)?;
                    waiter.answer(());
                }
                Op::Flush(waiter) => waiter.answer(()),
            }
            ops.pop_front();
        }
        Ok(())
    }

    /// One round trip for the tracks and releases at the front of `ops`. After an error all of them are there
    /// again, in their order: a release that is repeated after the track of a later attempt of the same
    /// name would remove that one's record.
    fn commit(&self, store: &mut Store, identity: &Identity, ops: &mut VecDeque<Op>) -> Result<()> {
        let round = self.next_round(ops);
        let releases: Vec<_> = round.releases().cloned().collect();
        let outcome = self.record(store, identity, &releases, &round.attempts);
        match outcome {
            Ok(()) => {
                round.ops.into_iter().for_each(|op| {
                    if let Op::Track(_, waiter) = op {
                        answer(waiter);
                    }
                });
                Ok(())
            }
            Err(error) => {
                round.ops.into_iter().rev().for_each(|op| ops.push_front(op));
                Err(error)
            }
        }
    }

    fn next_round(&self, ops: &mut VecDeque<Op>) -> Round {
        let mut round = Round::default();
        let mut bytes = 0;
        while bytes < BUDGET {
            match ops.front() {
                Some(Op::Release(_)) => {}
                Some(Op::Track(token, _)) => {
                    // Released before it was sent: nothing to record.
                    if let Some(attempt) = self.registry.send(*token) {
                        bytes += attempt.payload.len();
                        round.attempts.push(attempt);
                    }
                }
                Some(Op::GiveBack(..) | Op::Flush(_)) | None => break,
            }
            round.ops.extend(ops.pop_front());
        }
        round
    }

    /// Sends releases and attempts, and notes in the registry what Redis knows now.
    fn record(
        &self,
        store: &mut Store,
        identity: &Identity,
        releases: &[Bytes],
        attempts: &[Attempt],
    ) -> Result<()> {
        let records: Vec<_> = attempts.iter().map(to_record).collect();
        let (released, recorded) = store.commit(identity, releases, &records)?;
        for (attempt, spare) in attempts.iter().zip(recorded?) {
            if spare {
                self.registry.rename_to_spare(attempt.token);
            }
            self.registry.set_mirrored(attempt.token, Mirrored::Yes);
        }
        released
    }

    /// An attempt that Redis does not know yet is recorded first: only what is recorded can be moved in
    /// one step. What is not held any more is in good hands: finished, or recovered by somebody else.
    fn perform_give_back(&self, store: &mut Store, identity: &Identity, tokens: &[Token]) -> Result<()> {
        for part in tokens.chunks(BATCH) {
            let held = || part.iter().filter_map(|token| self.registry.get(*token));
            let unknown: Vec<_> = held()
                .filter(|attempt| matches!(attempt.mirrored, Mirrored::Not | Mirrored::Unknown))
                .filter_map(|attempt| self.registry.send(attempt.token))
                .collect();
            if !unknown.is_empty() {
                self.record(store, identity, &[], &unknown)?;
            }
            let held: Vec<_> = held().collect();
            let returns: Vec<_> = held.iter().map(to_return).collect();
            let outcomes = store.give_back(identity, &returns)?;
            held.iter().zip(outcomes).for_each(|(attempt, outcome)| self.given_back(attempt, outcome));
        }
        Ok(())
    }

    fn given_back(&self, attempt: &Attempt, outcome: Requeued) {
        let name = String::from_utf8_lossy(&attempt.name);
        match outcome {
            Requeued::Yes => {}
            Requeued::Gone => {
                let message =
                    format!("job {name} was not given back: it was recovered from this instance already");
                self.events.log(Level::Warn, message);
            }
            Requeued::Refused => {
                let message =
                    format!("job {name} cannot be given back and stays recorded: its queue is no list");
                self.events.log(Level::Error, message);
                return;
            }
        }
        self.registry.remove(attempt.token);
    }
}

/// What goes in one round trip.
#[derive(Debug, Default)]
struct Round {
    ops: Vec<Op>,
    attempts: Vec<Attempt>,
}

impl Round {
    fn releases(&self) -> impl Iterator<Item = &Bytes> {
        self.ops.iter().filter_map(|op| match op {
            Op::Release(name) => Some(name),
            _ => None,
        })
    }
}

fn to_record(attempt: &Attempt) -> Record {
    Record { name: attempt.name.clone(), spare: attempt.spare.clone(), payload: Arc::clone(&attempt.payload) }
}

fn to_return(attempt: &Attempt) -> Return {
    Return { name: attempt.name.clone(), queue: attempt.queue.clone(), payload: attempt.payload.to_vec() }
}

fn answer(waiter: Option<Arc<Waiter<()>>>) {
    if let Some(waiter) = waiter {
        waiter.answer(());
    }
}
