//! Mirrors the registry to Redis. One thread serves all Ruby threads: what waits together goes in one
//! round trip (group commit).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::Bytes;
use crate::backoff::Backoff;
use crate::error::Result;
use crate::events::{Events, Level};
use crate::heartbeat::Outage;
use crate::identity::{Identity, SharedIdentity};
use crate::registry::{Attempt, Mirrored, Registry, Token};
use crate::store::{Record, Requeued, Return, Store};
use crate::waiter::Waiter;

/// Upper bound of one batch: keeps each script short, so that no other client of that Redis waits.
const BATCH: usize = 128;

/// Longest wait between two tries while Redis is away.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What the pipeline does for others, in the order in which it was asked.
#[derive(Debug)]
enum Op {
    /// Record an attempt, then tell the waiter.
    Track(Token, Option<Arc<Waiter<()>>>),
    /// Remove these records, where they are ours.
    Release(Bytes),
    /// Put attempts back into their queues; tell for each whether it is there now.
    GiveBack(Vec<Token>, Arc<Waiter<Vec<bool>>>),
    /// Tell the waiter that everything before it is done.
    Flush(Arc<Waiter<()>>),
}

/// The pipeline's inbox.
#[derive(Debug)]
pub struct Pipeline {
    registry: Arc<Registry>,
    events: Arc<Events>,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Inbox {
    ops: VecDeque<Op>,
    late: Vec<(Instant, Token)>,
    stopped: bool,
}

impl Pipeline {
    /// A pipeline that nobody serves yet.
    pub fn new(registry: Arc<Registry>, events: Arc<Events>) -> Self {
        Self {
            registry,
            events,
            inbox: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    /// Asks for an attempt to be recorded. The waiter is told when Redis has acknowledged it.
    pub fn track(&self, token: Token, waiter: Option<Arc<Waiter<()>>>) {
        self.put(Op::Track(token, waiter));
    }

    /// Ends an attempt: its record goes away, without anybody waiting for it.
    pub fn release(&self, token: Token) {
        let Some(attempt) = self.registry.remove(token) else {
            return;
        };
        match attempt.mirrored {
            Mirrored::Not | Mirrored::Lost => {}
            Mirrored::Yes => self.put(Op::Release(attempt.name)),
            Mirrored::Unknown => {
                // It may stand under either name, or under none.
                if attempt.name != attempt.spare {
                    self.put(Op::Release(attempt.spare));
                }
                self.put(Op::Release(attempt.name));
            }
        }
    }

    /// Ends an attempt after a delay, in which the record stays.
    pub fn release_later(&self, token: Token, delay: Duration) {
        self.inbox.lock().late.push((Instant::now() + delay, token));
        self.arrived.notify_one();
    }

    /// Does all late releases now.
    pub fn release_late_ones(&self) {
        let late = std::mem::take(&mut self.inbox.lock().late);
        late.into_iter().for_each(|(_, token)| self.release(token));
    }

    /// Asks for attempts to be put back into their queues and released, in one step each.
    pub fn give_back(&self, tokens: Vec<Token>, waiter: Arc<Waiter<Vec<bool>>>) {
        self.put(Op::GiveBack(tokens, waiter));
    }

    /// Asks to be told when everything up to now is done.
    pub fn flush(&self, waiter: Arc<Waiter<()>>) {
        self.put(Op::Flush(waiter));
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
        let mut backoff = Backoff::new(LONGEST_WAIT);
        while let Some(mut ops) = self.take() {
            let Some(identity) = self.identity(identity) else {
                return;
            };
            match self.perform(&mut store, &identity, &mut ops) {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    outage.began(&self.events, &error);
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
        loop {
            let mut inbox = self.inbox.lock();
            let now = Instant::now();
            let (due, later) = std::mem::take(&mut inbox.late)
                .into_iter()
                .partition(|(at, _)| *at <= now);
            inbox.late = later;
            if !Vec::is_empty(&due) {
                drop(inbox);
                due.into_iter()
                    .for_each(|(_, token): (Instant, _)| self.release(token));
                continue;
            }
            if inbox.stopped {
                return None;
            }
            if !inbox.ops.is_empty() {
                let count = inbox.ops.len().min(BATCH);
                return Some(inbox.ops.drain(..count).collect());
            }
            match inbox.late.iter().map(|(at, _)| *at).min() {
                Some(at) => drop(self.arrived.wait_until(&mut inbox, at)),
                None => self.arrived.wait(&mut inbox),
            }
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
    fn perform(
        &self,
        store: &mut Store,
        identity: &Identity,
        ops: &mut VecDeque<Op>,
    ) -> Result<()> {
        while !ops.is_empty() {
            let round = ops
                .iter()
                .take_while(|op| matches!(op, Op::Track(..) | Op::Release(_)))
                .count();
            if round > 0 {
                let done: VecDeque<_> = ops.drain(..round).collect();
                if let Err((error, rest)) = self.commit(store, identity, done) {
                    rest.into_iter().rev().for_each(|op| ops.push_front(op));
                    return Err(error);
                }
            }
            match ops.front() {
                Some(Op::Flush(waiter)) => waiter.answer(()),
                Some(Op::GiveBack(tokens, waiter)) => {
                    let queued = self.perform_give_back(store, identity, tokens)?;
                    waiter.answer(queued);
                }
                _ => continue,
            }
            ops.pop_front();
        }
        Ok(())
    }

    /// One round trip for a run of tracks and releases. After an error it returns what must be done again.
    #[allow(
        clippy::result_large_err,
        reason = "the ops must go back to where they came from"
    )]
    fn commit(
        &self,
        store: &mut Store,
        identity: &Identity,
        ops: VecDeque<Op>,
    ) -> std::result::Result<(), (crate::error::Error, Vec<Op>)> {
        let mut releases = Vec::new();
        let mut tracks = Vec::new();
        for op in ops {
            match op {
                Op::Release(name) => releases.push(name),
                Op::Track(token, waiter) => match self.registry.get(token) {
                    Some(attempt) => tracks.push((attempt, waiter)),
                    // Released before it was recorded: nothing to record.
                    None => answer(waiter),
                },
                Op::GiveBack(..) | Op::Flush(_) => unreachable!("not part of a round"),
            }
        }
        let attempts: Vec<_> = tracks.iter().map(|(attempt, _)| attempt).collect();
        let outcome = self.record(store, identity, &releases, &attempts);
        let (released, recorded) = match outcome {
            Ok(outcome) => outcome,
            Err(error) => (Err(error.clone()), Err(error)),
        };
        let mut failure = None;
        let mut again = Vec::new();
        if let Err(error) = released {
            again.extend(releases.into_iter().map(Op::Release));
            failure = Some(error);
        }
        match recorded {
            Ok(()) => tracks.into_iter().for_each(|(_, waiter)| answer(waiter)),
            Err(error) => {
                again.extend(
                    tracks
                        .into_iter()
                        .map(|(attempt, waiter)| Op::Track(attempt.token, waiter)),
                );
                failure = Some(error);
            }
        }
        failure.map_or(Ok(()), |error| Err((error, again)))
    }

    /// Sends releases and attempts, and notes in the registry what Redis knows now.
    fn record(
        &self,
        store: &mut Store,
        identity: &Identity,
        releases: &[Bytes],
        attempts: &[&Attempt],
    ) -> Result<(Result<()>, Result<()>)> {
        let records: Vec<_> = attempts
            .iter()
            .map(|attempt| {
                self.registry.set_mirrored(attempt.token, Mirrored::Unknown);
                Record {
                    name: attempt.name.clone(),
                    spare: attempt.spare.clone(),
                    payload: Arc::clone(&attempt.payload),
                }
            })
            .collect();
        let (released, recorded) = store.commit(&identity.id, releases, &records)?;
        let recorded = recorded.map(|spares| {
            for (attempt, spare) in attempts.iter().zip(spares) {
                if spare {
                    self.registry.rename_to_spare(attempt.token);
                }
                self.registry.set_mirrored(attempt.token, Mirrored::Yes);
            }
        });
        Ok((released, recorded))
    }

    /// An attempt that Redis does not know yet is recorded first: only what is recorded can be moved in
    /// one step.
    fn perform_give_back(
        &self,
        store: &mut Store,
        identity: &Identity,
        tokens: &[Token],
    ) -> Result<Vec<bool>> {
        let held: Vec<_> = tokens
            .iter()
            .filter_map(|token| self.registry.get(*token))
            .collect();
        let unknown: Vec<_> = held
            .iter()
            .filter(|a| matches!(a.mirrored, Mirrored::Not | Mirrored::Unknown))
            .collect();
        if !unknown.is_empty() {
            self.record(store, identity, &[], &unknown)?.1?;
        }
        let held: Vec<_> = tokens
            .iter()
            .filter_map(|token| self.registry.get(*token))
            .collect();
        let returns: Vec<_> = held.iter().map(to_return).collect();
        let mut queued = Vec::with_capacity(tokens.len());
        for part in returns.chunks(BATCH) {
            queued.extend(store.give_back(&identity.id, part)?);
        }
        for (attempt, outcome) in held.iter().zip(&queued) {
            self.registry.remove(attempt.token);
            if *outcome == Requeued::Gone {
                self.events.log(
                    Level::Warn,
                    format!(
                        "job {} was not given back: it was recovered from this instance already",
                        String::from_utf8_lossy(&attempt.name)
                    ),
                );
            }
        }
        // What is not held any more is in good hands: finished, or recovered by somebody else.
        let in_queue = |token: &Token| held.iter().any(|attempt| attempt.token == *token);
        Ok(tokens.iter().map(in_queue).collect())
    }
}

fn to_return(attempt: &Attempt) -> Return {
    Return {
        name: attempt.name.clone(),
        queue: attempt.queue.clone(),
        payload: attempt.payload.to_vec(),
    }
}

fn answer(waiter: Option<Arc<Waiter<()>>>) {
    if let Some(waiter) = waiter {
        waiter.answer(());
    }
}
