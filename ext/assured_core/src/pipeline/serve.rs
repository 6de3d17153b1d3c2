//! The pipeline's own thread: takes ops and releases from the inbox and does them in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::{BATCH, FORBIDDEN_WAIT, LATER, LONGEST_WAIT, Op, Pipeline, Release};
use crate::backoff::Backoff;
use crate::error::{Error, Remedy, Result};
use crate::events::Level;
use crate::identity::{Identity, SharedIdentity};
use crate::outage::{Outage, Who};
use crate::store::Store;

/// What the pipeline takes from its inbox at once.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) ops: VecDeque<Op>,
    pub(super) releases: Vec<Release>,
}

/// Failures in a row.
#[derive(Debug)]
pub(super) struct Troubles {
    pub(super) who: Who,
    backoff: Backoff,
    count: u32,
}

impl Troubles {
    pub(super) fn new(who: Who) -> Self {
        Self { who, backoff: Backoff::new(LONGEST_WAIT), count: 0 }
    }

    pub(super) fn over(&mut self) {
        if self.count > 0 {
            *self = Self::new(self.who);
        }
    }
}

/// How many times longer to wait where the server has no connection left.
const CROWDED: u32 = 10;

/// How often an op is tried at which the thread panics. One that always does must not stop the others.
const PANICS: u32 = 3;

/// Work that goes back into the inbox if the thread panics.
struct InHand<'a> {
    pipeline: &'a Pipeline,
    work: Work,
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.pipeline.save(std::mem::take(&mut self.work));
        }
    }
}

impl Pipeline {
    /// Serves the pipeline until it is stopped.
    pub fn serve(&self, mut store: Store, identity: &SharedIdentity, outage: &Outage, who: Who) {
        // After a panic, tracks that were in hand are gone; the registry still knows what they were for. Releases
        // are found as strays, and requests are made anew.
        self.registry.unmirrored().into_iter().for_each(|token| self.track(token));
        let mut troubles = Troubles::new(who);
        while let Some(ops) = self.take() {
            let mut hand = InHand { pipeline: self, work: Work { ops, releases: Vec::new() } };
            let Some(identity) = self.identity(identity) else { return };
            match self.perform(&mut store, &identity, &mut hand.work) {
                Ok(()) => {
                    self.panics.store(0, Ordering::Relaxed);
                    troubles.over();
                    outage.over(&self.events, who);
                }
                Err(error) => {
                    self.put_back(std::mem::take(&mut hand.work));
                    self.recover_from(&error, &mut troubles, outage);
                }
            }
        }
    }

    /// Reports an error as far as it is worth it, and waits before the next try.
    pub(super) fn recover_from(&self, error: &Error, troubles: &mut Troubles, outage: &Outage) {
        troubles.count += 1;
        match error.remedy {
            Remedy::Reclaim => {}
            // A connection that had been idle for long may be gone without any fault.
            Remedy::Reconnect if troubles.count == 1 && !error.is_crowded() => {}
            _ => outage.failed(&self.events, troubles.who, error),
        }
        // It claims another id, and finds the records of a fetch that was not answered.
        self.heartbeat.nudge();
        self.pause(troubles.backoff.next_wait() * if error.is_crowded() { CROWDED } else { 1 });
    }

    pub(super) fn identity(&self, identity: &SharedIdentity) -> Option<Arc<Identity>> {
        loop {
            if let Some(identity) = identity.wait(Duration::from_millis(100)) {
                return Some(identity);
            }
            if self.inbox.lock().stopped {
                return None;
            }
        }
    }

    /// Waits for work and takes a batch of it; nothing once stopped.
    fn take(&self) -> Option<VecDeque<Op>> {
        let mut inbox = self.inbox.lock();
        loop {
            if inbox.stopped {
                return None;
            }
            inbox.hasten();
            let now = Instant::now();
            let ride_until = inbox.leave_at.filter(|at| *at > now && inbox.releases.len() < BATCH);
            let go = !inbox.releases.is_empty() && ride_until.is_none();
            if go || !inbox.ops.is_empty() || !inbox.doubtful.is_empty() {
                let count = inbox.ops.len().min(BATCH);
                return Some(inbox.ops.drain(..count).collect());
            }
            let wake_at = ride_until.into_iter().chain(inbox.later.iter().map(|(at, _)| *at)).min();
            inbox.asleep = ride_until.is_none();
            match wake_at {
                Some(at) => drop(self.arrived.wait_until(&mut inbox, at)),
                None => self.arrived.wait(&mut inbox),
            }
            inbox.asleep = false;
        }
    }

    fn put_back(&self, mut work: Work) {
        let mut inbox = self.inbox.lock();
        work.ops.append(&mut inbox.ops);
        inbox.ops = work.ops;
        work.releases.into_iter().rev().for_each(|release| inbox.releases.push_front(release));
    }

    /// Keeps what is left of the work at which the thread panics.
    fn save(&self, mut work: Work) {
        if self.panics.fetch_add(1, Ordering::Relaxed) + 1 >= PANICS {
            self.panics.store(0, Ordering::Relaxed);
            let op = work.ops.pop_front();
            let op = op.as_ref().map_or("nothing", Op::describe);
            self.events.log(Level::Error, format!("given up after {PANICS} panics: {op}"));
        }
        self.put_back(work);
    }

    fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut inbox = self.inbox.lock();
        while !inbox.stopped && !self.halted.wait_until(&mut inbox, until).timed_out() {}
    }

    /// Does the work. After an error, `work` holds the ops that are still to be done.
    fn perform(&self, store: &mut Store, identity: &Identity, work: &mut Work) -> Result<()> {
        let only_releases = work.ops.is_empty() && self.inbox.lock().doubtful.is_empty();
        let _no_fetch_under_way = (!only_releases).then(|| self.fetching.write());
        if !only_releases {
            self.settle_doubts(store, identity)?;
        }
        // Now that the lanes have done with theirs: all that were asked for before the ops.
        work.releases = self.inbox.lock().take_releases(usize::MAX);
        while !work.releases.is_empty() {
            self.exchange(store, identity, work)?;
        }
        loop {
            let outcome = match work.ops.front() {
                Some(Op::Track(_)) => {
                    self.exchange(store, identity, work)?;
                    continue;
                }
                Some(Op::GiveBack(tokens, waiter)) => {
                    let outcome = self.perform_give_back(store, identity, tokens);
                    if let (Ok(()), Some(waiter)) = (&outcome, waiter) {
                        waiter.answer(());
                    }
                    outcome
                }
                Some(Op::End(token, as_retry, again)) => {
                    self.perform_end(store, identity, *token, *as_retry, *again)
                }
                Some(Op::Return(token, again)) => self.perform_return(store, identity, *token, *again),
                Some(Op::PopDue(request)) => self.perform_pop_due(store, identity, request),
                Some(Op::Enqueue(token, queue, payload, waiter)) => {
                    let outcome = self.perform_enqueue(store, identity, *token, queue, payload);
                    if outcome.is_ok() {
                        waiter.answer(());
                    }
                    outcome
                }
                Some(Op::PushBack(queue, payload)) => store.push_back(queue, payload),
                Some(Op::Strays(names)) => self.perform_strays(store, identity, names),
                Some(Op::Flush(waiter)) => {
                    waiter.answer(());
                    Ok(())
                }
                None => return Ok(()),
            };
            match outcome {
                Ok(()) => drop(work.ops.pop_front()),
                // A Redis without memory refuses to take a job back, and must not be kept from giving others
                // out: running them is what frees memory. And what is forbidden may be one queue alone.
                Err(error) if error.remedy == Remedy::Wait || error.is_forbidden() => {
                    self.events.log(Level::Warn, format!("{error}; trying again"));
                    // It may stay forbidden for longer than who waits for it can: what is not given back stays recorded.
                    if let Some(Op::GiveBack(_, waiter)) =
                        work.ops.front_mut().filter(|_| error.is_forbidden())
                    {
                        waiter.take().iter().for_each(|waiter| waiter.answer(()));
                    }
                    // Of strays the heartbeat tells anew.
                    let op = work.ops.pop_front().filter(|op| !matches!(op, Op::Strays(_)));
                    let wait = if error.is_forbidden() { FORBIDDEN_WAIT } else { LATER };
                    self.inbox.lock().later.extend(op.map(|op| (Instant::now() + wait, op)));
                }
                Err(error) => return Err(error),
            }
        }
    }
}
