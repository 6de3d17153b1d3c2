//! Keeps this process alive in the eyes of the others, and its mirror in Redis complete.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Bytes;
use crate::assured_classes::AssuredClasses;
use crate::backoff::Backoff;
use crate::clock;
use crate::error::{Remedy, Result};
use crate::events::{Events, Kind, Level, Notice};
use crate::fast_death::{CHECKS, GLANCES};
use crate::identity::{Candidates, SharedIdentity};
use crate::outage::{Outage, Who};
use crate::pipeline::Pipeline;
use crate::printable;
use crate::pulse::Pulse;
use crate::registry::{Attempt, Registry};
use crate::settings::Settings;
use crate::store::{Beat, Lenders, Store};
use crate::threads::Alarm;
use crate::waiter::{Waiter, Woken};

/// Those who wait for the next beat.
pub type Checkups = Mutex<Vec<Arc<Waiter<()>>>>;

/// Records of which this process knows nothing, and since when they are seen.
type Strays = HashMap<Bytes, Instant>;

/// Who it is to outages.
const WHO: Who = ("heartbeat", 0);

/// How many lost jobs one log line names.
const NAMED: usize = 20;

/// All that the heartbeat thread works with.
pub struct Heartbeat {
    /// Interval and TTL.
    pub settings: Arc<Settings>,
    /// Where the claimed identity goes.
    pub identity: Arc<SharedIdentity>,
    /// Where the beats are noted.
    pub pulse: Arc<Pulse>,
    /// What this process holds.
    pub registry: Arc<Registry>,
    /// Writes lost records anew.
    pub pipeline: Arc<Pipeline>,
    /// Over whose connections it beats where it cannot have one of its own.
    pub lenders: Arc<Lenders>,
    /// Log lines.
    pub events: Arc<Events>,
    /// Shared with all threads of the engine.
    pub outage: Arc<Outage>,
    /// Ends the thread.
    pub alarm: Arc<Alarm>,
    /// Asks for a clean end.
    pub farewell: Arc<Farewell>,
    /// Announced to whoever pops jobs.
    pub classes: Arc<AssuredClasses>,
    /// Asked for before the thread was nudged; answered after the next beat.
    pub checkups: Arc<Checkups>,
}

/// The verdict of `lua/beat.lua` where the last beat is gone.
const GONE: &[u8] = b"gone";

impl Heartbeat {
    /// Claims an identity, then beats until stopped. After a panic the same candidates must come again: the
    /// registry knows a claim by its entry.
    pub fn serve(&self, candidates: &mut Candidates) {
        let mut store =
            Store::impatient(&self.settings, "heartbeat", limit(&self.settings)).borrowing(&self.lenders);
        if self.settings.grace().is_some() {
            store.introduce();
        }
        let mut strays = Strays::new();
        let mut backoff = Backoff::new(longest_wait(&self.settings));
        let mut lasts_until = None;
        let mut failures = 0;
        while !self.alarm.stopped() {
            let began = Instant::now();
            let checkups = std::mem::take(&mut *self.checkups.lock());
            match self.beat(&mut store, candidates, &mut strays) {
                Ok(()) => {
                    self.outage.over(&self.events, WHO);
                    backoff.reset();
                    failures = 0;
                    if began.elapsed() < limit(&self.settings) {
                        store.limit(limit(&self.settings));
                    }
                    lasts_until = Some(began + self.settings.heartbeat_ttl);
                    self.pulse.connected(store.open_since());
                    checkups.iter().for_each(|waiter| waiter.answer(()));
                    self.rest(&mut store, began + self.settings.heartbeat_interval);
                }
                Err(error) => {
                    self.pulse.failed();
                    failures += 1;
                    // The grace is as good as over. What is slow must not end as if it were dead.
                    if failures == 2 {
                        store.limit(slack(&self.settings) / 3);
                    }
                    self.checkups.lock().extend(checkups);
                    self.outage.failed(&self.events, WHO, &error);
                    // A token that has expired may be another one at the next try, and a heartbeat may still be saved.
                    let lasts = lasts_until.is_some_and(|until| Instant::now() < until);
                    let slowly = if error.remedy == Remedy::TellUser && !lasts { 5 } else { 1 };
                    // Once Redis is back, a third of an interval without a heartbeat may be a verdict.
                    self.alarm
                        .sleep((backoff.next_wait() * slowly).min(self.settings.heartbeat_interval / 5));
                }
            }
        }
        self.farewell.answer(|| {
            self.tell(&mut store, false);
            store.retire(&*self.identity.get()?).ok()
        });
    }

    /// Sleeps until the next beat, or until the connection turns out to be cut: without it the others take this
    /// process for dead, once the grace is over.
    fn rest(&self, store: &mut Store, until: Instant) {
        let Some(step) = self.settings.grace().map(|grace| grace / CHECKS) else {
            self.alarm.sleep_until(until);
            return;
        };
        // The beat may have gone over a connection that is not the heartbeat's.
        let connected = store.seems_connected();
        let mut asks_at = Instant::now() + step;
        while self.alarm.sleep_until(until.min(Instant::now() + step / GLANCES)) {
            let now = Instant::now();
            if now >= until || connected && !store.seems_connected() {
                return;
            }
            if now >= asks_at {
                if !(connected && store.keeps_connection()) {
                    return;
                }
                asks_at = now + step;
            }
        }
    }

    fn beat(&self, store: &mut Store, candidates: &mut Candidates, strays: &mut Strays) -> Result<()> {
        let Some(identity) = self.identity.get() else {
            return self.claim(store, candidates);
        };
        // Taken before the beat: what is released meanwhile is missing rightly, and no longer held.
        let attempts = self.registry.mirrored();
        let names: Vec<_> = attempts.iter().map(|attempt| attempt.name.clone()).collect();
        let (sent, sent_awake_or_not) = (Instant::now(), clock::awake_or_not());
        let silent = self.pulse.silent_at(sent_awake_or_not);
        match store.beat(&identity, self.settings.heartbeat_ttl, &names)? {
            Beat::Taken => {
                // The name was free for somebody else only because all our records had been recovered.
                self.lose(&attempts);
                self.registry.doubt(&attempts);
                self.tell(store, true);
                candidates.refuse();
                self.claim(store, candidates)
            }
            Beat::Ours { verdict, records, payloads, data_lost } => {
                self.pulse.beat(sent);
                self.pulse.heard(sent_awake_or_not);
                // The others may have had it for dead, whatever they left to tell of it. Not in data that is new.
                let was_silent = silent > self.settings.heartbeat_ttl && !data_lost;
                let judged = verdict.is_some() || was_silent;
                let doubtful: HashSet<_> = attempts
                    .iter()
                    .map(|attempt| attempt.token)
                    .filter(|token| self.registry.end_doubt(*token))
                    .collect();
                let missing =
                    |(attempt, payload): &(&Attempt, bool)| !(*payload && records.contains(&attempt.name));
                let missing =
                    attempts.iter().zip(payloads).filter(missing).map(|(attempt, _)| attempt.clone());
                let (lost, gone): (Vec<_>, Vec<_>) =
                    missing.partition(|attempt| judged || doubtful.contains(&attempt.token));
                self.lose(&lost);
                if judged {
                    self.registry.doubt(&attempts);
                }
                // What is gone may have been deleted by hand: a verdict only where something was taken.
                self.tell(store, verdict.as_ref().is_some_and(|verdict| verdict != GONE || !lost.is_empty()));
                if let Some(verdict) = verdict {
                    store.clear_verdict(&identity.id, &verdict)?;
                }
                self.restore(&gone);
                self.classes.announce(store)?;
                self.settle_strays(records, strays);
                self.registry.note_beat(self.settings.heartbeat_interval);
                Ok(())
            }
        }
    }

    fn claim(&self, store: &mut Store, candidates: &mut Candidates) -> Result<()> {
        loop {
            let identity = candidates.current();
            let (sent, sent_awake_or_not) = (Instant::now(), clock::awake_or_not());
            if store.claim(&identity, self.settings.heartbeat_ttl)? {
                let id = printable::name(&identity.id);
                // Before anybody fetches.
                self.classes.announce(store)?;
                self.events.log(Level::Info, format!("instance {id} started"));
                self.identity.set(identity);
                self.pulse.beat(sent);
                self.pulse.heard(sent_awake_or_not);
                return Ok(());
            }
            self.events.log(
                Level::Warn,
                format!(
                    "instance id {} is not free: its last owner lives, or its jobs are not recovered yet",
                    printable::name(&identity.id)
                ),
            );
            candidates.refuse();
        }
    }

    /// Writes records anew that Redis lost: nobody declared this instance dead, so nobody recovered them.
    fn restore(&self, missing: &[Attempt]) {
        // Released since the snapshot: missing because it should be.
        let held = || missing.iter().filter(|attempt| self.registry.get(attempt.token).is_some());
        let count = held().count();
        if count > 0 {
            held().for_each(|attempt| self.pipeline.track(attempt.token));
            let message =
                format!("Redis had lost {count} in-flight jobs of this instance; they are recorded anew");
            self.events.log(Level::Warn, message);
        }
    }

    /// Has records settled that nobody in this process knows of: a fetch whose reply was lost leaves them, or
    /// a Redis that lost a release. Two beats in a row see them, half an interval apart, because a release may be on
    /// its way.
    fn settle_strays(&self, records: HashSet<Bytes>, strays: &mut Strays) {
        let now = Instant::now();
        *strays = records
            .into_iter()
            .filter(|name| !self.registry.knows(name))
            .map(|name| {
                let since = strays.get(&name).copied().unwrap_or(now);
                (name, since)
            })
            .collect();
        let apart = self.settings.heartbeat_interval / 2;
        let settled: Vec<_> =
            strays.iter().filter(|(_, since)| now - **since >= apart).map(|(name, _)| name.clone()).collect();
        if !settled.is_empty() {
            self.pipeline.settle_strays(settled);
        }
    }

    fn lose(&self, attempts: &[Attempt]) {
        attempts.iter().for_each(|attempt| self.registry.lose(attempt.token));
    }

    /// Tells of a verdict, and of the leases that were lost since the last time: by it, or as a fetch has shown.
    fn tell(&self, store: &mut Store, declared_dead: bool) {
        let lost = self.registry.take_lost();
        if lost.is_empty() && !declared_dead {
            return;
        }
        let verdict = if declared_dead { "this instance was declared dead; " } else { "" };
        let count = lost.len();
        let names: Vec<_> = lost.iter().take(NAMED).map(|attempt| printable::name(&attempt.name)).collect();
        let more = if count > NAMED { format!(" and {} more", count - NAMED) } else { String::new() };
        let message =
            format!("{verdict}{count} running jobs were given to others: {}{more}", names.join(", "));
        self.events.log(Level::Error, message);
        let id = self.identity.get().map(|identity| identity.id.clone()).unwrap_or_default();
        let notice = |attempt: &Attempt| Notice::of_job(Kind::LeaseLost, &id, &attempt.payload);
        self.events.notify(lost.iter().map(notice).collect());
        if count > 0 {
            // A counter is no reason to put off what the beat has to do.
            let _ = store.count("lease_lost", count as u64);
        }
    }
}

/// How long a beat waits for an answer, and once more for another connection. Between the next beat and the end of the
/// last one lies the slack: a third of it may pass until a connection turns out to be mute, a third in vain for
/// another one, a sixth until the next try ([`longest_wait`]), which has the rest. The grace begins when the connection
/// is cut: a third of it passes until that is noticed, a third for another one, a third for the beat.
fn limit(settings: &Settings) -> Duration {
    let slack = slack(settings);
    settings.grace().map_or(slack, |grace| slack.min(grace)) / 3
}

fn slack(settings: &Settings) -> Duration {
    settings.heartbeat_ttl - settings.heartbeat_interval
}

fn longest_wait(settings: &Settings) -> Duration {
    (settings.heartbeat_interval / 5).min(limit(settings) / 2).min(Duration::from_secs(1))
}

/// The clean end of an instance. The heartbeat thread itself takes it out of the registry: another thread
/// could be overtaken by a last beat that registers it again.
#[derive(Debug)]
pub struct Farewell {
    asked: AtomicBool,
    left: Arc<Waiter<Option<u64>>>,
}

impl Default for Farewell {
    fn default() -> Self {
        Self { asked: AtomicBool::new(false), left: Waiter::new() }
    }
}

impl Farewell {
    /// Ends the heartbeat thread and waits for how many records the instance leaves. `None`: Redis did not
    /// answer, and the others will notice the end by the TTL.
    pub fn ask(&self, alarm: &Alarm, deadline: Option<Instant>) -> Option<u64> {
        self.asked.store(true, Ordering::SeqCst);
        alarm.stop();
        match self.left.wait(deadline) {
            Woken::Answered(left) => left,
            Woken::TimedOut | Woken::Interrupted => None,
        }
    }

    fn answer(&self, retire: impl FnOnce() -> Option<u64>) {
        if self.asked.load(Ordering::SeqCst) {
            self.left.answer(retire());
        }
    }
}
