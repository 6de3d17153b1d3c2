//! Mirrors the registry to Redis, and gets jobs from it, for all Ruby threads: what waits together goes in one
//! round trip (group commit). One thread does the ops, in order; a few lanes fetch, so that a thread that asks for
//! a job while a round trip is under way need not wait for the next one.

mod ends;
mod fetch;
mod pace;
mod record;
mod returns;
mod serve;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, RwLock};

use crate::Bytes;
use crate::assured_classes::AssuredClasses;
use crate::events::Events;
use crate::fetch::{DueRequest, Job, Queues, Request};
use crate::registry::{Attempt, Mirrored, Registry, Token};
use crate::settings::Settings;
use crate::threads::Alarm;
use crate::waiter::Waiter;
use pace::Pace;

/// How many lanes there are: some for any Redis, and how many in all.
pub use pace::{FAR as LANES, NEAR as NEAR_LANES};

/// Upper bounds of one round trip, in ops and in bytes of payload: they keep each script short, so that no
/// other client of that Redis waits. One payload may be larger.
const BATCH: usize = 128;
const BUDGET: usize = 1 << 20;

/// How long a release waits for a track or a fetch to share its round trip. A crash meanwhile runs a finished
/// job again, as a crash before its release does in any case.
const RIDE: Duration = Duration::from_millis(5);

/// How long an op waits that Redis refuses for now, and a job that cannot be given away now.
const LATER: Duration = Duration::from_secs(1);

/// How long an op waits that is forbidden: somebody has to allow it, and until then each try is a log line.
const FORBIDDEN_WAIT: Duration = Duration::from_secs(10);

/// Longest wait between two tries while Redis is away.
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// What the pipeline does for others, in the order in which it was asked, and never while a fetch is under way:
/// then Redis holds records that the registry does not know of yet.
#[derive(Debug)]
enum Op {
    /// Record an attempt, then tell its thread.
    Track(Token),
    /// Put attempts back into their queues, then tell the waiter.
    GiveBack(Vec<Token>, Option<Arc<Waiter<()>>>),
    /// End an attempt that was not acknowledged: whether its job may wait among the retries, and whether it has been tried
    /// in vain.
    End(Token, bool, bool),
    /// Put the job of such an attempt, which has waited here, into its queue; whether it has been tried in vain.
    Return(Token, bool),
    /// Pop a job that is due.
    PopDue(DueRequest),
    /// Move the record of a due job into this queue, with this payload.
    Enqueue(Token, Bytes, Bytes, Arc<Waiter<()>>),
    /// Put a job that is not in flight back into its queue.
    PushBack(Bytes, Arc<[u8]>),
    /// Settle records that nobody in this process knew of when the heartbeat looked twice.
    Strays(Vec<Bytes>),
    /// Tell the waiter that everything before it is done.
    Flush(Arc<Waiter<()>>),
}

impl Op {
    /// For the log, which payloads have no place in.
    fn describe(&self) -> &'static str {
        match self {
            Self::Track(_) => "recording a job",
            Self::GiveBack(..) | Self::Return(..) => "giving jobs back",
            Self::End(..) => "ending a job",
            Self::PopDue(_) => "popping a due job",
            Self::Enqueue(..) => "enqueueing a due job",
            Self::PushBack(..) => "putting a job back",
            Self::Strays(_) => "settling strays",
            Self::Flush(_) => "answering",
        }
    }
}

/// A record to remove.
#[derive(Clone, Debug)]
struct Release {
    name: Bytes,
    token: Token,
    payload: Arc<[u8]>,
}

/// The pipeline's inbox. Locks are taken in the order fetching, inbox, registry.
#[derive(Debug)]
pub struct Pipeline {
    settings: Arc<Settings>,
    registry: Arc<Registry>,
    classes: Arc<AssuredClasses>,
    events: Arc<Events>,
    heartbeat: Arc<Alarm>,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
    /// Wakes a lane.
    wanted: Condvar,
    /// Wakes one of the lanes that serve where Redis is far away.
    wanted_afar: Condvar,
    /// Ends the pauses after failures.
    halted: Condvar,
    pace: Pace,
    /// Held for reading while a fetch is under way, for writing while ops are done.
    fetching: RwLock<()>,
    /// Panics of the thread since it last got through a batch.
    panics: AtomicU32,
}

#[derive(Debug, Default)]
struct Inbox {
    ops: VecDeque<Op>,
    /// They go with whichever round trip leaves first.
    releases: VecDeque<Release>,
    /// Those of round trips that failed: they may have been executed.
    doubtful: Vec<Release>,
    requests: VecDeque<Request>,
    /// Not before their time.
    later: Vec<(Instant, Op)>,
    /// When the releases must go, ride or no ride.
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

    /// Threads that found nothing for a while ask anew.
    fn forget_abandoned(&mut self) {
        self.requests.retain(|request| !request.waiter.is_abandoned());
    }

    fn take_releases(&mut self, most: usize) -> Vec<Release> {
        let count = self.releases.len().min(most);
        if count == self.releases.len() {
            self.leave_at = None;
        }
        self.releases.drain(..count).collect()
    }
}

impl Pipeline {
    /// A pipeline that nobody serves yet. `heartbeat` is nudged when the instance id, or a lease, turns out to be
    /// lost.
    pub fn new(
        settings: Arc<Settings>,
        registry: Arc<Registry>,
        classes: Arc<AssuredClasses>,
        events: Arc<Events>,
        heartbeat: Arc<Alarm>,
    ) -> Self {
        Self {
            settings,
            registry,
            classes,
            events,
            heartbeat,
            inbox: Mutex::default(),
            arrived: Condvar::new(),
            wanted: Condvar::new(),
            wanted_afar: Condvar::new(),
            halted: Condvar::new(),
            pace: Pace::default(),
            fetching: RwLock::default(),
            panics: AtomicU32::new(0),
        }
    }

    /// Asks for a job. While the queues are known to be empty the request waits without a round trip.
    pub fn fetch(&self, request: Request) {
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            return;
        }
        inbox.forget_abandoned();
        let (first, idle) = (inbox.requests.is_empty(), request.queues.idle.is_idle());
        inbox.requests.push_back(request);
        match idle {
            false => self.call_lanes(),
            // From now on one has to glance at the queues.
            true if first => drop(self.wanted.notify_one()),
            true => {}
        }
    }

    /// Asks for a job that is due.
    pub fn pop_due(&self, request: DueRequest) {
        self.put(Op::PopDue(request));
    }

    /// Moves a due job into its queue, with the payload that client middleware made of it.
    pub fn enqueue(&self, token: Token, queue: Bytes, payload: Bytes, waiter: Arc<Waiter<()>>) {
        self.put(Op::Enqueue(token, queue, payload, waiter));
    }

    /// Says that a job may have arrived in one of these queues.
    pub fn stir(&self, queues: &Queues) {
        // Under the lock: between a lane's look at the inbox and its sleep nobody may stir.
        let _inbox = self.inbox.lock();
        queues.idle.stir();
        self.call_lanes();
    }

    fn call_lanes(&self) {
        self.wanted.notify_one();
        if self.pace.is_far() {
            self.wanted_afar.notify_one();
        }
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
        let Some(Attempt { name, spare, payload, mirrored, .. }) = self.registry.remove(token) else {
            return;
        };
        let mut inbox = self.inbox.lock();
        match mirrored {
            Mirrored::Not | Mirrored::Lost => return,
            Mirrored::Yes => {}
            // It may stand under either name, or under none.
            Mirrored::Unknown if name != spare => {
                inbox.releases.push_back(Release { name: spare, token, payload: Arc::clone(&payload) });
            }
            Mirrored::Unknown => {}
        }
        inbox.releases.push_back(Release { name, token, payload });
        inbox.leave_at.get_or_insert_with(|| Instant::now() + RIDE);
        if inbox.asleep || inbox.releases.len() >= BATCH {
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

    /// Ends an attempt that was not acknowledged: its job runs again later, or never.
    pub fn end_unacknowledged(&self, token: Token, as_retry: bool) {
        self.put(Op::End(token, as_retry, false));
    }

    /// Puts an attempt back after a moment: what keeps its job from running now may go on.
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
        // Nothing may wait for later any more.
        let later: Vec<_> = inbox.later.drain(..).map(|(_, op)| op).collect();
        inbox.ops.extend(later);
    }

    /// Ends the threads that serve this pipeline.
    pub fn stop(&self) {
        self.inbox.lock().stopped = true;
        self.arrived.notify_all();
        self.wanted.notify_all();
        self.wanted_afar.notify_all();
        self.halted.notify_all();
    }

    fn put(&self, op: Op) {
        self.inbox.lock().ops.push_back(op);
        self.arrived.notify_one();
    }
}
