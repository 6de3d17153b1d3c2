//! The pipeline's thread: takes work from the inbox and does it in order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{BATCH, LATER, LONGEST_WAIT, Op, Pipeline};
use crate::backoff::Backoff;
use crate::error::{Remedy, Result};
use crate::events::Level;
use crate::fetch::Request;
use crate::heartbeat::Outage;
use crate::identity::{Identity, SharedIdentity};
use crate::store::Store;

/// What the pipeline takes from its inbox at once.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) ops: VecDeque<Op>,
    pub(super) requests: VecDeque<Request>,
}

impl Pipeline {
    /// Serves the pipeline until it is stopped.
    pub fn serve(&self, mut store: Store, identity: &SharedIdentity, outage: &Outage) {
        // After a panic, ops that were in hand are gone; the registry still knows what they were for.
        self.registry.unmirrored().into_iter().for_each(|token| self.track(token));
        let mut backoff = Backoff::new(LONGEST_WAIT);
        let mut failures = 0;
        while let Some(mut work) = self.take() {
            let Some(identity) = self.identity(identity) else { return };
            match self.perform(&mut store, &identity, &mut work) {
                Ok(()) => {
                    backoff.reset();
                    failures = 0;
                }
                Err(error) => {
                    failures += 1;
                    match error.remedy {
                        Remedy::Reclaim => {}
                        // A connection that had been idle for long may be gone without any fault.
                        Remedy::Reconnect if failures == 1 => {}
                        _ => outage.began(&self.events, &error),
                    }
                    // It claims another id, and finds the records of a fetch that was not answered.
                    self.heartbeat.nudge();
                    self.put_back(work);
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

    /// Waits for work and takes a batch of it; nothing once stopped.
    fn take(&self) -> Option<Work> {
        let mut inbox = self.inbox.lock();
        loop {
            if inbox.stopped {
                return None;
            }
            inbox.requests.retain(|request| !request.waiter.is_abandoned());
            inbox.hasten();
            let requests = match self.idle.is_idle() {
                true => VecDeque::new(),
                false => std::mem::take(&mut inbox.requests),
            };
            let ride_until = inbox.leave_at.filter(|_| requests.is_empty() && inbox.only_releases());
            let go = ride_until.is_none_or(|at| at <= Instant::now());
            if go && !(inbox.ops.is_empty() && requests.is_empty()) {
                let count = inbox.ops.len().min(BATCH);
                let ops: VecDeque<_> = inbox.ops.drain(..count).collect();
                inbox.leave_at = inbox.leave_at.filter(|_| !inbox.ops.is_empty());
                return Some(Work { ops, requests });
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
        if !inbox.closed {
            work.requests.append(&mut inbox.requests);
            inbox.requests = work.requests;
        }
    }

    fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut inbox = self.inbox.lock();
        while !inbox.stopped && !self.arrived.wait_until(&mut inbox, until).timed_out() {}
    }

    /// Does the work, requests together with the last ops. After an error, `work` holds what is still to be done.
    fn perform(&self, store: &mut Store, identity: &Identity, work: &mut Work) -> Result<()> {
        loop {
            let outcome = match work.ops.front() {
                Some(Op::Track(_) | Op::Release(_)) => {
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
                None if work.requests.is_empty() => return Ok(()),
                None => {
                    self.exchange(store, identity, work)?;
                    continue;
                }
            };
            match outcome {
                Ok(()) => drop(work.ops.pop_front()),
                // A Redis without memory refuses to take a job back, and must not be kept from giving others
                // out: running them is what frees memory.
                Err(error) if error.remedy == Remedy::Wait => {
                    self.events.log(Level::Warn, format!("{error}; trying again"));
                    let op = work.ops.pop_front().map(|op| (Instant::now() + LATER, op));
                    self.inbox.lock().later.extend(op);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
