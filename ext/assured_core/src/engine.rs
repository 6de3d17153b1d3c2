//! The engine: owns the threads and connects the parts. This is the door through which Ruby comes in.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Bytes;
use crate::assured_classes::AssuredClasses;
use crate::backoff::Turnstile;
use crate::events::{Events, Level};
use crate::fetch::{DueRequest, Job, Queues, Request};
use crate::heartbeat::{Checkups, Farewell, Heartbeat};
use crate::identity::{Candidates, SharedIdentity};
use crate::outage::{Outage, Who};
use crate::password::Passwords;
use crate::payload;
use crate::pipeline::{LANES, NEAR_LANES, Pipeline};
use crate::pulse::Pulse;
use crate::registry::{Registry, Token};
use crate::settings::Settings;
use crate::store::{Lenders, Store};
use crate::sweeper::{Answer, Sweeper, refuse};
use crate::threads::{Alarm, room, spawn};
use crate::waiter::{Waiter, Woken};
use crate::watch::{self, Watch};

/// The threads without which there is no engine: heartbeat, pipeline, sweeper, a lane, and Ruby's for events and for
/// passwords.
const ESSENTIAL: usize = 6;

/// A running engine. Dropping it ends its threads without waiting for them.
pub struct Engine {
    settings: Arc<Settings>,
    identity: Arc<SharedIdentity>,
    registry: Arc<Registry>,
    pipeline: Arc<Pipeline>,
    events: Arc<Events>,
    outage: Arc<Outage>,
    pulse: Arc<Pulse>,
    alarms: Alarms,
    farewell: Arc<Farewell>,
    checkups: Arc<Checkups>,
    lenders: Arc<Lenders>,
    classes: Arc<AssuredClasses>,
    sweeps: Arc<Mutex<Vec<Arc<Waiter<Answer>>>>>,
    lanes: Mutex<usize>,
    watches: AtomicUsize,
    turnstile: Arc<Turnstile>,
    opened: Mutex<Vec<Arc<Queues>>>,
}

#[derive(Default)]
struct Alarms {
    heartbeat: Arc<Alarm>,
    sweeper: Arc<Alarm>,
}

impl Engine {
    fn new(settings: Settings) -> Self {
        let settings = Arc::new(settings);
        let registry = Arc::new(Registry::new(&settings.nonce));
        let events = Arc::new(Events::default());
        let alarms = Alarms::default();
        let classes =
            settings.assured_classes.iter().map(|(name, limit)| (name.clone().into_bytes(), *limit));
        let classes = Arc::new(AssuredClasses::new(classes));
        Self {
            identity: Arc::default(),
            pipeline: Arc::new(Pipeline::new(
                Arc::clone(&settings),
                Arc::clone(&registry),
                Arc::clone(&classes),
                Arc::clone(&events),
                Arc::clone(&alarms.heartbeat),
            )),
            outage: Arc::default(),
            pulse: Arc::new(Pulse::new(settings.heartbeat_interval, settings.heartbeat_ttl)),
            alarms,
            farewell: Arc::default(),
            checkups: Arc::default(),
            lenders: Arc::default(),
            classes,
            sweeps: Arc::default(),
            lanes: Mutex::default(),
            watches: AtomicUsize::new(0),
            turnstile: Arc::new(Turnstile::new(watch::LONGEST_WAIT)),
            opened: Mutex::default(),
            registry,
            events,
            settings,
        }
    }

    /// Starts an instance: heartbeat, pipeline and sweeper.
    ///
    /// # Errors
    /// Where the operating system does not give as many threads as the engine and Sidekiq need.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let wanted = ESSENTIAL + settings.reserved_threads;
        let found = room(wanted);
        if found < wanted {
            let message = format!("there is room for {found} more, and Sidekiq and the engine need {wanted}");
            return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
        }
        // What has started ends again where an error drops the engine.
        let engine = Self::new(settings);
        engine.spawn_heartbeat()?;
        engine.spawn_pipeline()?;
        engine.spawn_sweeper(engine.settings.auto_recovery)?;
        Ok(engine)
    }

    /// Starts an engine that is no instance: it runs nothing and sweeps when asked. For consoles.
    ///
    /// # Errors
    /// Where the operating system gives no thread.
    pub fn visit(settings: Settings) -> io::Result<Self> {
        let engine = Self::new(settings);
        engine.spawn_sweeper(false)?;
        Ok(engine)
    }

    fn spawn_heartbeat(&self) -> io::Result<()> {
        let heartbeat = Heartbeat {
            settings: Arc::clone(&self.settings),
            identity: Arc::clone(&self.identity),
            pulse: Arc::clone(&self.pulse),
            registry: Arc::clone(&self.registry),
            pipeline: Arc::clone(&self.pipeline),
            lenders: Arc::clone(&self.lenders),
            events: Arc::clone(&self.events),
            outage: Arc::clone(&self.outage),
            alarm: Arc::clone(&self.alarms.heartbeat),
            farewell: Arc::clone(&self.farewell),
            checkups: Arc::clone(&self.checkups),
            classes: Arc::clone(&self.classes),
        };
        let mut candidates = Candidates::new(&self.settings);
        spawn("saj-heartbeat", Arc::clone(&self.events), move || heartbeat.serve(&mut candidates))
    }

    fn spawn_pipeline(&self) -> io::Result<()> {
        self.spawn_server("saj-pipeline", ("pipeline", 0), Pipeline::serve)
    }

    fn spawn_lane(&self, number: usize) -> io::Result<()> {
        let afar = number >= NEAR_LANES;
        self.spawn_server("saj-fetch", ("fetch", number), move |pipeline, store, identity, outage, who| {
            pipeline.serve_fetches(store, identity, outage, who, afar);
        })
    }

    /// Starts a thread that serves the pipeline with a store of its own.
    fn spawn_server(
        &self,
        thread: &'static str,
        who: Who,
        serve: impl Fn(&Pipeline, Store, &SharedIdentity, &Outage, Who) + Send + 'static,
    ) -> io::Result<()> {
        let settings = Arc::clone(&self.settings);
        let pipeline = Arc::clone(&self.pipeline);
        let identity = Arc::clone(&self.identity);
        let (outage, lenders) = (Arc::clone(&self.outage), Arc::clone(&self.lenders));
        spawn(thread, Arc::clone(&self.events), move || {
            serve(&pipeline, Store::new(&settings, who.0).lending(&lenders), &identity, &outage, who);
        })
    }

    fn spawn_sweeper(&self, periodic: bool) -> io::Result<()> {
        let sweeper = Sweeper {
            settings: Arc::clone(&self.settings),
            identity: Arc::clone(&self.identity),
            pulse: Arc::clone(&self.pulse),
            lenders: Arc::clone(&self.lenders),
            events: Arc::clone(&self.events),
            outage: Arc::clone(&self.outage),
            alarm: Arc::clone(&self.alarms.sweeper),
            requests: Arc::clone(&self.sweeps),
            periodic,
        };
        spawn("saj-sweeper", Arc::clone(&self.events), move || sweeper.serve())
    }

    /// The instance id, once it is claimed; waits for that at most for `limit`.
    pub fn instance_id(&self, limit: Duration) -> Option<Bytes> {
        self.identity.wait(limit).map(|identity| identity.id.clone())
    }

    /// How long `track` may wait for Redis.
    pub fn track_timeout(&self) -> Duration {
        self.settings.track_timeout
    }

    /// Makes sure that there is a lane.
    ///
    /// # Errors
    /// Where the operating system gives no thread for it.
    pub fn begin_to_fetch(&self) -> io::Result<()> {
        let mut lanes = self.lanes.lock();
        if *lanes == 0 {
            self.spawn_lane(0)?;
            *lanes = 1;
        }
        Ok(())
    }

    /// Begins to watch queues, so that threads may fetch from them.
    ///
    /// # Errors
    /// Where the operating system gives no thread at all. It goes on with one.
    pub fn open_queues(&self, queues: Queues) -> io::Result<Arc<Queues>> {
        self.begin_to_fetch()?;
        let queues = Arc::new(queues);
        self.opened.lock().push(Arc::clone(&queues));
        let mut lanes = self.lanes.lock();
        let mut left = {
            let wanted = self.settings.reserved_threads + (LANES - *lanes) + queues.names.len();
            room(wanted).saturating_sub(self.settings.reserved_threads)
        };
        let mut take = |start: &dyn Fn() -> io::Result<()>| {
            let started = left > 0 && start().is_ok();
            left = if started { left - 1 } else { 0 };
            started
        };
        while *lanes < NEAR_LANES && take(&|| self.spawn_lane(*lanes)) {
            *lanes += 1;
        }
        let watched =
            queues.names.iter().take_while(|queue| take(&|| self.spawn_watch(&queues, queue))).count();
        let unwatched = queues.names.len() - watched;
        (0..unwatched).for_each(|_| std::mem::forget(queues.idle.unwatched()));
        while *lanes < LANES && take(&|| self.spawn_lane(*lanes)) {
            *lanes += 1;
        }
        if *lanes < LANES || unwatched > 0 {
            let message = format!(
                "the operating system gives no more threads: {lanes} of {LANES} that fetch are there, and {watched} of \
                 {} that watch queues; jobs are fetched more slowly",
                queues.names.len()
            );
            self.events.log(Level::Warn, message);
        }
        drop(lanes);
        Ok(queues)
    }

    fn spawn_watch(&self, queues: &Arc<Queues>, queue: &Bytes) -> io::Result<()> {
        let watch = Watch {
            settings: Arc::clone(&self.settings),
            queues: Arc::clone(queues),
            who: ("watch", self.watches.fetch_add(1, Ordering::Relaxed)),
            turnstile: Arc::clone(&self.turnstile),
            outage: Arc::clone(&self.outage),
            events: Arc::clone(&self.events),
        };
        let (pipeline, queue) = (Arc::clone(&self.pipeline), queue.clone());
        spawn("saj-watch", Arc::clone(&self.events), move || {
            watch.serve(&queue, || pipeline.stir(&watch.queues));
        })
    }

    /// Asks for a job. It is in flight when it arrives at the waiter, if it is assured.
    pub fn fetch(&self, queues: &Arc<Queues>) -> Arc<Waiter<Job>> {
        let waiter = Waiter::new();
        self.pipeline.fetch(Request { queues: Arc::clone(queues), waiter: Arc::clone(&waiter) });
        waiter
    }

    /// Asks for a job that is due. It is in flight when it arrives at the waiter, if it is assured.
    pub fn pop_due(&self, set: &[u8]) -> Arc<Waiter<Option<Job>>> {
        let waiter = Waiter::new();
        self.pipeline.pop_due(DueRequest { set: set.to_vec(), waiter: Arc::clone(&waiter) });
        waiter
    }

    /// Moves a job that has become due into its queue, and releases it, in one step.
    pub fn enqueue(&self, token: Token, queue: &[u8], payload: &[u8]) -> Arc<Waiter<()>> {
        let waiter = Waiter::new();
        self.pipeline.enqueue(token, queue.to_vec(), payload.to_vec(), Arc::clone(&waiter));
        waiter
    }

    /// Puts a job back into its queue, untouched.
    pub fn return_job(&self, job: Job) {
        self.pipeline.return_job(job);
    }

    /// Begins to track a job, without waiting for Redis.
    pub fn track(&self, jid: &[u8], queue: &[u8], payload: &[u8]) -> Token {
        let token = self.registry.admit(jid, queue, payload);
        self.pipeline.track(token);
        token
    }

    /// The same for a job that is only now taken in hand: where its payload says that it is assured.
    pub fn track_if_assured(&self, queue: &[u8], payload: &[u8]) -> Option<Token> {
        let jid = payload::assured_jid(payload)?;
        Some(self.track(&jid, queue, payload))
    }

    /// Where to wait until Redis has acknowledged the record; until then a crash may lose the job.
    pub fn recorded(&self, token: Token) -> Option<Arc<Waiter<()>>> {
        self.registry.recorded(token)
    }

    /// Says that the jobs of a class are assured, and how often they may be recovered, where it says so.
    pub fn assure_class(&self, name: Bytes, limit: Option<u64>) {
        self.classes.add(name, limit);
        self.alarms.heartbeat.nudge();
    }

    /// Ends an attempt. Does not wait for Redis.
    pub fn release(&self, token: Token) {
        self.pipeline.release(token);
    }

    /// Whether the job of an attempt that has not ended was given to somebody else, as far as this process knows.
    pub fn is_lost(&self, token: Token) -> bool {
        self.registry.is_lost(token)
    }

    /// The waiter is told when this process has learnt from Redis what it has lost up to now.
    pub fn check_up(&self) -> Arc<Waiter<()>> {
        let waiter = Waiter::new();
        self.checkups.lock().push(Arc::clone(&waiter));
        self.alarms.heartbeat.nudge();
        if self.alarms.heartbeat.stopped() {
            waiter.answer(());
        }
        waiter
    }

    /// The attempt that runs exactly this payload, if any.
    pub fn find(&self, payload: &[u8]) -> Option<Token> {
        self.registry.find(payload)
    }

    /// Puts attempts back into their queues and releases them, in one step each.
    pub fn give_back(&self, tokens: Vec<Token>) -> Arc<Waiter<()>> {
        let waiter = Waiter::new();
        self.pipeline.give_back(tokens, Some(Arc::clone(&waiter)));
        waiter
    }

    /// Ends an attempt that was not acknowledged: its job runs again after a wait that grows with the count of its
    /// recoveries, and once it was recovered as often as it may be it goes to the Dead set.
    /// `as_retry`: it may wait in Sidekiq's set of retries, because whoever finds it there brings it back as it is.
    pub fn end_unacknowledged(&self, token: Token, as_retry: bool) {
        self.pipeline.end_unacknowledged(token, as_retry);
    }

    /// Puts an attempt back after a moment.
    pub fn give_back_later(&self, token: Token) {
        self.pipeline.give_back_later(token);
    }

    /// The waiter is told when Redis has everything that was asked for so far.
    pub fn flush(&self) -> Arc<Waiter<()>> {
        let waiter = Waiter::new();
        self.pipeline.flush(Arc::clone(&waiter));
        waiter
    }

    /// Asks for a sweep with one look.
    pub fn sweep(&self) -> Arc<Waiter<Answer>> {
        let waiter = Waiter::new();
        self.sweeps.lock().push(Arc::clone(&waiter));
        self.alarms.sweeper.nudge();
        if self.alarms.sweeper.stopped() {
            refuse(&self.sweeps);
        }
        waiter
    }

    /// Events for Ruby.
    pub fn events(&self) -> &Events {
        &self.events
    }

    /// Questions for passwords, and where their answers go.
    pub fn passwords(&self) -> &Passwords {
        &self.settings.passwords
    }

    /// How many jobs are in flight.
    pub fn in_flight(&self) -> usize {
        self.registry.len()
    }

    /// Ends the engine cleanly: sends what is pending, hands over what is left, and takes the instance out
    /// of the registry. Returns how many records it leaves to the others' sweeps; `None` when Redis did not
    /// answer in time, so that the others have to wait for the TTL.
    pub fn stop(&self, limit: Duration) -> Option<u64> {
        let deadline = Some(Instant::now() + limit);
        self.alarms.sweeper.stop();
        self.pipeline.close();
        // Without an identity nothing was ever recorded.
        let left = match self.identity.get() {
            None => Some(0),
            Some(_) if self.hand_over(deadline) => self.farewell.ask(&self.alarms.heartbeat, deadline),
            Some(_) => None,
        };
        self.shut_down();
        left
    }

    /// Gives back what is left. A round trip that was under way comes first: it may have brought jobs.
    fn hand_over(&self, deadline: Option<Instant>) -> bool {
        self.flush().wait(deadline) == Woken::Answered(())
            && self.give_back(self.registry.to_hand_over()).wait(deadline) == Woken::Answered(())
    }

    fn shut_down(&self) {
        self.alarms.heartbeat.stop();
        self.alarms.sweeper.stop();
        self.opened.lock().iter().for_each(|queues| queues.idle.stop());
        self.pipeline.stop();
        self.events.close();
        self.settings.passwords.close();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // The garbage collector may be behind this call: never wait, never talk to Redis.
        self.shut_down();
    }
}
