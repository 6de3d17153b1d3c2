//! One round trip: releases, tracks and fetches of all threads that wait at the moment.

use std::collections::VecDeque;
use std::sync::Arc;

use super::serve::Work;
use super::{BUDGET, Op, Pipeline};
use crate::Bytes;
use crate::error::Result;
use crate::events::Level;
use crate::fetch::{DueRequest, Job, Request};
use crate::identity::Identity;
use crate::payload;
use crate::registry::{Attempt, Mirrored, Registry, Token};
use crate::store::{Order, Popped, Record, Store, Wanted};

impl Pipeline {
    /// One round trip for the tracks and releases at the front, and for the requests if nothing else comes
    /// before them. After an error all ops are there again, in their order: a release that is repeated
    /// after the track of a later attempt of the same name would remove that one's record.
    pub(super) fn exchange(&self, store: &mut Store, identity: &Identity, work: &mut Work) -> Result<()> {
        let round = self.next_round(&mut work.ops);
        let requests = match work.ops.is_empty() {
            true => std::mem::take(&mut work.requests),
            false => VecDeque::new(),
        };
        let releases: Vec<_> = round.releases().cloned().collect();
        let done = self.send(store, identity, &releases, &round.attempts, requests);
        match &done.ops {
            Ok(()) => round.attempts.iter().for_each(|attempt| attempt.recorded.answer(())),
            Err(_) => {
                let careful = !done.answered && !done.unserved.is_empty();
                let again = round.ops.into_iter().map(|op| match op {
                    // The fetch may have been executed, and have recorded a job under this very name.
                    Op::Release(name) if careful => Op::Strays(vec![name]),
                    op => op,
                });
                again.collect::<Vec<_>>().into_iter().rev().for_each(|op| work.ops.push_front(op));
            }
        }
        if done.answered {
            self.wait_on(done.unserved);
        } else {
            work.requests.extend(done.unserved);
        }
        done.ops.and(done.fetch)
    }

    /// Leaves requests for which there is no job in the inbox.
    fn wait_on(&self, unserved: VecDeque<Request>) {
        let mut inbox = self.inbox.lock();
        if !inbox.closed {
            unserved.into_iter().rev().for_each(|request| inbox.requests.push_front(request));
        }
    }

    fn next_round(&self, ops: &mut VecDeque<Op>) -> Round {
        let mut round = Round::default();
        let mut bytes = 0;
        while bytes < BUDGET {
            match ops.front() {
                Some(Op::Release(_)) => {}
                Some(Op::Track(token)) => {
                    // Released before it was sent: nothing to record.
                    if let Some(attempt) = self.registry.send(*token) {
                        bytes += attempt.payload.len();
                        round.attempts.push(attempt);
                    }
                }
                _ => break,
            }
            round.ops.extend(ops.pop_front());
        }
        round
    }

    /// Sends releases, attempts and requests, and notes what Redis knows now.
    pub(super) fn send(
        &self,
        store: &mut Store,
        identity: &Identity,
        releases: &[Bytes],
        attempts: &[Attempt],
        requests: VecDeque<Request>,
    ) -> Done {
        let records: Vec<_> = attempts.iter().map(to_record).collect();
        let fetch = Fetch::new(&requests, &self.registry);
        let wanted = Wanted { releases, records: &records, queues: &fetch.queues, orders: &fetch.orders };
        let reply = match store.exchange(identity, &wanted) {
            Ok(reply) => reply,
            Err(error) => {
                return Done { ops: Err(error), fetch: Ok(()), answered: false, unserved: requests };
            }
        };
        let recorded = reply.recorded.map(|spares| {
            for (attempt, spare) in attempts.iter().zip(spares) {
                if spare {
                    self.registry.rename_to_spare(attempt.token);
                }
                self.registry.set_mirrored(attempt.token, Mirrored::Yes);
            }
        });
        let ops = recorded.and(reply.released);
        match reply.fetched {
            Ok(jobs) => {
                let unserved = self.hand_out(&fetch, requests, &jobs);
                Done { ops, fetch: Ok(()), answered: true, unserved }
            }
            Err(error) => Done { ops, fetch: Err(error), answered: false, unserved: requests },
        }
    }

    /// Enters a job that was popped just now.
    fn admit(&self, token: Token, queue: Bytes, payload: Arc<[u8]>, name: Option<Bytes>) -> Job {
        let attempt = name.map(|name| {
            if self.registry.admit_recorded(token, name, queue.clone(), Arc::clone(&payload)) {
                let name = self.registry.get(token).map(|attempt| attempt.name).unwrap_or_default();
                let message = format!(
                    "job {} runs here still, but was given away and has come back",
                    String::from_utf8_lossy(&name)
                );
                self.events.log(Level::Error, message);
            }
            token
        });
        // Recorded because of a text in its arguments: not assured, and nobody's to bring back.
        let attempt = attempt.filter(|token| {
            let assured = payload::is_assured(&payload);
            if !assured {
                self.release(*token);
            }
            assured
        });
        Job { queue, payload, attempt }
    }

    /// Pops a job that is due. It belongs to the queue that its payload names.
    pub(super) fn perform_pop_due(
        &self,
        store: &mut Store,
        identity: &Identity,
        request: &DueRequest,
    ) -> Result<()> {
        if request.waiter.is_abandoned() {
            return Ok(());
        }
        let (token, suffix) = self.registry.reserve();
        let popped = store.pop_due(identity, &request.set, &suffix)?;
        let job = popped.map(|(payload, name)| {
            let queue = payload::queue(&payload).unwrap_or_default();
            self.admit(token, queue, payload.into(), name)
        });
        if let Err(Some(job)) = request.waiter.offer(job) {
            self.return_job(job);
        }
        Ok(())
    }

    /// Gives each job to the thread that asked, and returns the requests for which there is none.
    fn hand_out(&self, fetch: &Fetch, requests: VecDeque<Request>, jobs: &[Popped]) -> VecDeque<Request> {
        let mut waiting: Vec<_> = requests.into_iter().map(Some).collect();
        let closed = self.inbox.lock().closed;
        for popped in jobs {
            let queue = fetch.queues[popped.queue].clone();
            let payload: Arc<[u8]> = popped.payload.as_slice().into();
            let token = fetch.tokens[popped.order];
            let job = self.admit(token, queue, payload, popped.name.clone());
            match waiting[popped.order].take() {
                Some(request) if !closed => {
                    if let Err(job) = request.waiter.offer(job) {
                        self.return_job(job);
                    }
                }
                _ => self.return_job(job),
            }
        }
        let unserved: VecDeque<_> = waiting.into_iter().flatten().collect();
        if !unserved.is_empty() {
            self.idle.found_empty(jobs.len());
        }
        unserved
    }
}

/// What came of a round trip.
pub(super) struct Done {
    /// Of the releases and tracks: all of them, or none as far as anybody knows.
    pub(super) ops: Result<()>,
    /// Of the requests: a queue that cannot be popped must not hold up what is to be recorded.
    fetch: Result<()>,
    /// Whether the requests were answered, with a job or with none.
    answered: bool,
    unserved: VecDeque<Request>,
}

/// All waiting threads' requests, as one round trip asks them.
#[derive(Debug, Default)]
struct Fetch {
    queues: Vec<Bytes>,
    orders: Vec<Order>,
    tokens: Vec<Token>,
}

impl Fetch {
    fn new(requests: &VecDeque<Request>, registry: &Registry) -> Self {
        let mut fetch = Self::default();
        for request in requests {
            let names = &request.queues.names;
            // Requests of one Sidekiq process share their queues, so this is a look at the first place.
            let start = fetch.queues.windows(names.len()).position(|known| known == names.as_slice());
            let start = start.unwrap_or_else(|| {
                fetch.queues.extend(names.iter().cloned());
                fetch.queues.len() - names.len()
            });
            let positions = request.queues.order().into_iter().map(|at| start + at).collect();
            let (token, suffix) = registry.reserve();
            fetch.orders.push(Order { suffix, positions });
            fetch.tokens.push(token);
        }
        fetch
    }
}

/// The tracks and releases of one round trip.
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
