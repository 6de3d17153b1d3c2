//! Mirrors the registry to Redis, and gets jobs from it. One thread serves all Ruby threads: what waits
//! together goes in one round trip (group commit).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::Bytes;
use crate::backoff::Backoff;
use crate::error::{Remedy, Result};
use crate::events::{Events, Level};
use crate::fetch::{Job, Request};
use crate::heartbeat::Outage;
use crate::identity::{Identity, SharedIdentity};
use crate::payload;
use crate::registry::{Attempt, Mirrored, Registry, Token};
use crate::store::{Order, Popped, Record, Requeued, Return, Store, Wanted};
use crate::threads::Alarm;
use crate::waiter::Waiter;
use crate::watch::Idle;

/// Upper bounds of one round trip, in ops and in bytes of payload: they keep each script short, so that no
/// other client of that Redis waits. One payload may be larger.
const BATCH: usize = 128;
const BUDGET: usize = 1 << 20;

/// How long a release waits for a track or a fetch to share its round trip. A crash meanwhile runs a finished
/// job again, as a crash before its release does in any case.
const RIDE: Duration = Duration::from_millis(5);

/// How long an op waits that Redis refuses for now, and a job that ended without being acknowledged: whatever
/// ended it may go on, and it would run again at once.
const LATER: Duration = Duration::from_secs(1);

/// Longest wait between two tries while Redis is away.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What the pipeline does for others, in the order in which it was asked.
#[derive(Debug)]
enum Op {
    /// Record an attempt, then tell its thread.
    Track(Token),
    /// Remove the record of this name, if it is ours.
    Release(Bytes),
    /// Put attempts back into their queues, then tell the waiter.
    GiveBack(Vec<Token>, Option<Arc<Waiter<()>>>),
    /// Put a job that is not in flight back into its queue.
    PushBack(Bytes, Arc<[u8]>),
    /// Settle records that nobody in this process knew of when the heartbeat looked.
    Strays(Vec<Bytes>),
    /// Tell the waiter that everything before it is done.
    Flush(Arc<Waiter<()>>),
}

/// The pipeline's inbox. Locks are taken in the order inbox, registry.
#[derive(Debug)]
pub struct Pipeline {
    registry: Arc<Registry>,
    events: Arc<Events>,
    heartbeat: Arc<Alarm>,
    idle: Arc<Idle>,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
struct Inbox {
    ops: VecDeque<Op>,
    requests: VecDeque<Request>,
    /// Not before their time.
    later: Vec<(Instant, Op)>,
    /// While nothing but releases is there: when they must go, ride or no ride.
    leave_at: Option<Instant>,
    /// The pipeline sleeps and has no releases to wake up for.
    asleep: bool,
    closed: bool,
    stopped: bool,
}

impl Inbox {
    /// Moves what is due to the other ops.
    fn hasten(&mut self) {
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= now);
        self.later = later;
        self.ops.extend(due.into_iter().map(|(_, op)| op));
    }

    /// Whether all that is to be done may wait for company.
    fn only_releases(&self) -> bool {
        self.ops.len() < BATCH && self.ops.iter().all(|op| matches!(op, Op::Release(_)))
    }
}

impl Pipeline {
    /// A pipeline that nobody serves yet. `heartbeat` is nudged when the instance id turns out to be lost.
    pub fn new(registry: Arc<Registry>, events: Arc<Events>, heartbeat: Arc<Alarm>) -> Self {
        Self {
            registry,
            events,
            heartbeat,
            idle: Arc::default(),
            inbox: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    /// Whether there is nothing to fetch, for those who watch the queues.
    pub fn idle(&self) -> &Arc<Idle> {
        &self.idle
    }

    /// Asks for a job. While the queues are known to be empty the request waits without a round trip.
    pub fn fetch(&self, request: Request) {
        self.inbox.lock().requests.push_back(request);
        self.arrived.notify_one();
    }

    /// Says that a job may have arrived.
    pub fn stir(&self) {
        // Under the lock: between the pipeline's look at the inbox and its sleep nobody may stir.
        let _inbox = self.inbox.lock();
        self.idle.stir();
        self.arrived.notify_one();
    }

    /// Asks for an attempt to be recorded; [`Attempt::recorded`] is told when Redis has acknowledged it. A
    /// closed pipeline records nothing more, and lets nobody wait for it.
    pub fn track(&self, token: Token) {
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            if let Some(attempt) = self.registry.get(token) {
                attempt.recorded.answer(());
            }
            return;
        }
        inbox.ops.push_back(Op::Track(token));
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
        inbox.leave_at.get_or_insert_with(|| Instant::now() + RIDE);
        if inbox.asleep {
            self.arrived.notify_one();
        }
    }

    /// Settles records that no attempt of this process knows of: jobs whose fetch was not answered go back
    /// into their queues, and what was released already is released again.
    pub fn settle_strays(&self, names: Vec<Bytes>) {
        self.put(Op::Strays(names));
    }

    /// Asks for attempts to be put back into their queues and released, in one step each.
    pub fn give_back(&self, tokens: Vec<Token>, waiter: Option<Arc<Waiter<()>>>) {
        self.put(Op::GiveBack(tokens, waiter));
    }

    /// The same, after a moment, for a job that ended without being acknowledged.
    pub fn give_back_later(&self, token: Token) {
        self.inbox.lock().later.push((Instant::now() + LATER, Op::GiveBack(vec![token], None)));
        self.arrived.notify_one();
    }

    /// Asks to be told when everything up to now is done.
    pub fn flush(&self, waiter: Arc<Waiter<()>>) {
        self.put(Op::Flush(waiter));
    }

    /// Puts a job back into its queue, untouched.
    pub fn return_job(&self, job: Job) {
        match job.attempt {
            Some(token) => self.give_back(vec![token], None),
            None => self.put(Op::PushBack(job.queue, job.payload)),
        }
    }

    /// Lets nothing more be tracked or fetched: the instance is about to leave the registry.
    pub fn close(&self) {
        let mut inbox = self.inbox.lock();
        inbox.closed = true;
        inbox.requests.clear();
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

    /// One round trip for the tracks and releases at the front, and for the requests if nothing else comes
    /// before them. After an error all ops are there again, in their order: a release that is repeated
    /// after the track of a later attempt of the same name would remove that one's record.
    fn exchange(&self, store: &mut Store, identity: &Identity, work: &mut Work) -> Result<()> {
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
    fn send(
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

    /// Gives each job to the thread that asked, and returns the requests for which there is none.
    fn hand_out(&self, fetch: &Fetch, requests: VecDeque<Request>, jobs: &[Popped]) -> VecDeque<Request> {
        let mut waiting: Vec<_> = requests.into_iter().map(Some).collect();
        for popped in jobs {
            let queue = fetch.queues[popped.queue].clone();
            let payload: Arc<[u8]> = popped.payload.as_slice().into();
            let attempt = popped.name.as_ref().map(|name| {
                let token = fetch.tokens[popped.order];
                self.registry.admit_recorded(token, name.clone(), queue.clone(), Arc::clone(&payload));
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
            let job = Job { queue, payload, attempt };
            let closed = self.inbox.lock().closed;
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

    /// An attempt that Redis does not know yet is recorded first: only what is recorded can be moved in
    /// one step. What is not held any more is in good hands: finished, or recovered by somebody else.
    fn perform_give_back(&self, store: &mut Store, identity: &Identity, tokens: &[Token]) -> Result<()> {
        for part in tokens.chunks(BATCH) {
            // A lost lease: the job is in its queue already, or somebody else's.
            let lost = |token: &&Token| {
                self.registry.get(**token).is_some_and(|attempt| attempt.mirrored == Mirrored::Lost)
            };
            part.iter().filter(lost).for_each(|token| self.registry.give_up(*token));
            let held = || part.iter().filter_map(|token| self.registry.get(*token));
            let unknown: Vec<_> = held()
                .filter(|attempt| matches!(attempt.mirrored, Mirrored::Not | Mirrored::Unknown))
                .filter_map(|attempt| self.registry.send(attempt.token))
                .collect();
            if !unknown.is_empty() {
                self.send(store, identity, &[], &unknown, VecDeque::new()).ops?;
            }
            let held: Vec<_> = held().collect();
            if held.is_empty() {
                continue;
            }
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
        self.registry.give_up(attempt.token);
    }

    /// Served by the thread that also fetches, so a record that is unknown here is not one on its way.
    fn perform_strays(&self, store: &mut Store, identity: &Identity, names: &[Bytes]) -> Result<()> {
        let strays = names.iter().filter(|name| !self.registry.knows(name));
        for name in strays {
            let payload = store.payloads(std::slice::from_ref(name), 0)?.pop().flatten();
            match payload {
                Some(payload) if !self.registry.was_released(name, &payload) => {
                    self.return_stray(store, identity, name.clone(), payload)?;
                }
                _ => {
                    let releases = std::slice::from_ref(name);
                    store.exchange(identity, &Wanted { releases, ..Wanted::default() })?.released?;
                }
            }
        }
        Ok(())
    }

    fn return_stray(
        &self,
        store: &mut Store,
        identity: &Identity,
        name: Bytes,
        payload: Bytes,
    ) -> Result<()> {
        let label = String::from_utf8_lossy(&name).into_owned();
        let Some(queue) = payload::queue(&payload) else {
            let message = format!("job {label} was fetched by a round trip that failed, and names no queue");
            self.events.log(Level::Error, message);
            return Ok(());
        };
        if store.give_back(identity, &[Return { name, queue, payload }])? == [Requeued::Yes] {
            let message =
                format!("job {label} was fetched by a round trip that failed; it is back in its queue");
            self.events.log(Level::Warn, message);
        }
        Ok(())
    }
}

/// What the pipeline takes from its inbox at once.
#[derive(Debug, Default)]
struct Work {
    ops: VecDeque<Op>,
    requests: VecDeque<Request>,
}

/// What came of a round trip.
struct Done {
    /// Of the releases and tracks: all of them, or none as far as anybody knows.
    ops: Result<()>,
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

fn to_return(attempt: &Attempt) -> Return {
    Return { name: attempt.name.clone(), queue: attempt.queue.clone(), payload: attempt.payload.to_vec() }
}
