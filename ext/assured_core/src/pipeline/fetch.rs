//! A lane: takes the requests of all threads that wait at the moment, and gets jobs for them in one round trip.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::serve::Troubles;
use super::{BATCH, Inbox, Pipeline, Release};
use crate::Bytes;
use crate::error::Result;
use crate::fetch::{DueRequest, Job, Queues, Request};
use crate::identity::{Identity, SharedIdentity};
use crate::outage::{Outage, Who};
use crate::payload;
use crate::registry::{Admitted, Registry, Token};
use crate::store::{Order, Popped, Store};

/// What a lane is called for.
enum Call {
    /// Threads ask for jobs.
    Fetch,
    /// Nobody knows whether these queues are still empty.
    Glance(Arc<Queues>),
}

/// How much longer a lane without a connection waits before it glances: at the limit of its connections a server gives
/// no other one.
const UNCONNECTED: Duration = Duration::from_millis(100);

/// What a lane takes from the inbox at once.
struct Catch {
    releases: Vec<Release>,
    requests: VecDeque<Request>,
}

impl Pipeline {
    /// Serves requests until the pipeline is stopped. Several threads may do so, each with a store of its own; some only
    /// where Redis is far away.
    pub fn serve_fetches(
        &self,
        mut store: Store,
        identity: &SharedIdentity,
        outage: &Outage,
        who: Who,
        afar: bool,
    ) {
        let mut troubles = Troubles::new(who);
        while let Some(call) = self.await_call(afar, &store) {
            if let Call::Glance(queues) = call {
                let outcome = self.glance(&mut store, &queues);
                self.conclude(outcome, &mut store, &mut troubles, outage);
                continue;
            }
            // Before anything leaves the inbox: whoever waits for the fetches under way waits for this one, too.
            let under_way = self.fetching.read();
            let Some(identity) = identity.get() else {
                drop(under_way);
                self.identity(identity);
                continue;
            };
            let Some(catch) = self.take_requests() else { continue };
            let outcome = self.pop(&mut store, &identity, catch);
            drop(under_way);
            self.conclude(outcome, &mut store, &mut troubles, outage);
        }
    }

    /// Goes on once there is a connection: what the lane was called for, others may have done meanwhile, and nobody
    /// would know whether it would fail again.
    fn conclude(&self, outcome: Result<()>, store: &mut Store, troubles: &mut Troubles, outage: &Outage) {
        let mut outcome = outcome;
        while let Err(error) = outcome {
            // This lane waits before it tries again; the others may have nothing to complain of.
            self.wanted.notify_one();
            self.recover_from(&error, troubles, outage);
            if self.inbox.lock().stopped {
                return;
            }
            outcome = store.reach_queues("fetch");
            if outcome.is_ok() {
                return outage.connected(&self.events, troubles.who);
            }
        }
        troubles.over();
        outage.over(&self.events, troubles.who);
    }

    /// Waits until there is something to do; nothing once stopped.
    fn await_call(&self, afar: bool, store: &Store) -> Option<Call> {
        let called = if afar { &self.wanted_afar } else { &self.wanted };
        let hesitation = if store.reaches_queues() { Duration::ZERO } else { UNCONNECTED };
        let mut inbox = self.inbox.lock();
        loop {
            if inbox.stopped {
                return None;
            }
            if may_fetch(&inbox) && (!afar || self.pace.is_far()) {
                return Some(Call::Fetch);
            }
            let glances = inbox.requests.iter().filter(|_| !afar).filter_map(|request| {
                request.queues.idle.next_glance().map(|at| (at + hesitation, &request.queues))
            });
            match glances.min_by_key(|(at, _)| *at) {
                None => called.wait(&mut inbox),
                Some((at, queues)) if at <= Instant::now() => {
                    if queues.idle.take_turn() {
                        return Some(Call::Glance(Arc::clone(queues)));
                    }
                }
                Some((at, _)) => drop(called.wait_until(&mut inbox, at)),
            }
        }
    }

    /// Looks at all queues in one round trip. Where that is not possible, a fetch says why.
    fn glance(&self, store: &mut Store, queues: &Queues) -> Result<()> {
        match store.any_job(&queues.names) {
            Ok(false) => {}
            Err(error) if !store.reaches_queues() => return Err(error),
            Ok(true) | Err(_) => self.stir(queues),
        }
        Ok(())
    }

    /// Nothing, if another lane was faster, or the end of the engine.
    fn take_requests(&self) -> Option<Catch> {
        let mut inbox = self.inbox.lock();
        inbox.forget_abandoned();
        if inbox.stopped || !may_fetch(&inbox) {
            return None;
        }
        let (idle, requests) = std::mem::take(&mut inbox.requests)
            .into_iter()
            .partition(|request| request.queues.idle.is_idle());
        inbox.requests = idle;
        Some(Catch { releases: inbox.take_releases(BATCH), requests })
    }

    /// One round trip. After an error, requests and releases are back in the inbox.
    fn pop(&self, store: &mut Store, identity: &Identity, catch: Catch) -> Result<()> {
        let Catch { releases, requests } = catch;
        let fetch = Fetch::new(&requests, &self.registry);
        let names: Vec<_> = releases.iter().map(|release| release.name.clone()).collect();
        let began = Instant::now();
        match store.fetch(identity, &names, &fetch.queues, &fetch.orders) {
            Ok(jobs) => {
                self.pace.note(began.elapsed());
                self.released(&releases);
                let unserved = self.hand_out(&fetch, requests, &jobs);
                self.wait_on(unserved);
                Ok(())
            }
            Err(error) => {
                self.doubt(releases);
                self.wait_on(requests);
                Err(error)
            }
        }
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
        let mut known: Vec<&Arc<Queues>> = Vec::new();
        for Request { queues, .. } in &unserved {
            if !known.iter().any(|other| Arc::ptr_eq(other, queues)) {
                known.push(queues);
                let theirs = jobs.iter().filter(|job| Arc::ptr_eq(&fetch.whose[job.order], queues));
                queues.idle.found_empty(theirs.count());
            }
        }
        unserved
    }

    /// Leaves requests for which there is no job in the inbox.
    fn wait_on(&self, unserved: VecDeque<Request>) {
        let mut inbox = self.inbox.lock();
        if !inbox.closed {
            unserved.into_iter().rev().for_each(|request| inbox.requests.push_front(request));
        }
    }

    /// Enters a job that was popped just now.
    fn admit(&self, token: Token, queue: Bytes, payload: Arc<[u8]>, name: Option<Bytes>) -> Job {
        let attempt = name.map(|name| {
            match self.registry.admit_recorded(token, name, queue.clone(), Arc::clone(&payload)) {
                Admitted::Alone => {}
                // Recorded once more, after all releases that are under way.
                Admitted::BesideARelease => self.track(token),
                // The heartbeat tells of it, as of every lease that is lost.
                Admitted::InsteadOfALost => self.heartbeat.nudge(),
            }
            token
        });
        // Recorded because of its class, or of a text in its arguments, and says itself that it is not assured.
        let attempt = attempt.filter(|token| {
            let assured = payload::says_assured(&payload) != Some(false);
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
}

/// While their queues are known to be empty, requests wait.
fn may_fetch(inbox: &Inbox) -> bool {
    inbox.requests.iter().any(|request| !request.queues.idle.is_idle())
}

/// All waiting threads' requests, as one round trip asks them.
#[derive(Debug, Default)]
struct Fetch {
    queues: Vec<Bytes>,
    orders: Vec<Order>,
    tokens: Vec<Token>,
    whose: Vec<Arc<Queues>>,
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
            fetch.whose.push(Arc::clone(&request.queues));
        }
        fetch
    }
}
