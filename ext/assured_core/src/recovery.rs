//! Brings back the orphans of one dead instance, batch by batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Bytes;
use crate::error::Result;
use crate::events::{Events, Kind, Level, Notice, Orphan};
use crate::inspection::each_batch;
use crate::obituary::Obituary;
use crate::payload::{self, Profile};
use crate::printable;
use crate::settings::{PushBy, Settings};
use crate::store::{Death, FORBIDDEN, Requeued, Return, Store};
use crate::verdict::Sighting;
use crate::waiter::{Waiter, Woken};

/// Orphans of one atomic step. A script of this size keeps Redis busy for well under a millisecond.
const BATCH: usize = 100;

/// Bytes of payload that one step may carry.
const BUDGET: usize = 1 << 20;

/// How long Ruby may take over one batch of orphans before the sweep gives up; the next one tries again.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the lock is looked after meanwhile.
const PATIENCE_STEP: Duration = Duration::from_millis(500);

/// What Ruby decided about an orphan.
#[derive(Clone, Debug)]
pub enum Decision {
    /// Client middleware let it pass: push this payload.
    Push(Return),
    /// It cannot be pushed: refused by a client middleware, or something raised.
    Refused {
        /// Name of the record.
        name: Bytes,
        /// Why, for the log.
        why: String,
    },
    /// It cannot be pushed yet, through no fault of its own: a duplicate holds its unique lock.
    Waits {
        /// Name of the record.
        name: Bytes,
        /// For what, for the log.
        why: String,
    },
}

/// The way of orphans through Ruby and back.
#[derive(Debug, Default)]
pub struct Push {
    last: AtomicU64,
    waiting: Mutex<HashMap<u64, Arc<Waiter<Vec<Decision>>>>>,
}

impl Push {
    /// Takes Ruby's decisions about a batch. A batch nobody waits for any more is forgotten.
    pub fn decide(&self, batch: u64, decisions: Vec<Decision>) {
        if let Some(waiter) = self.waiting.lock().remove(&batch) {
            waiter.answer(decisions);
        }
    }

    /// Asks for decisions; `go_on` is asked again and again meanwhile, as client middleware may be slow.
    fn ask(
        &self,
        events: &Events,
        orphans: Vec<Orphan>,
        mut go_on: impl FnMut() -> Result<bool>,
    ) -> Result<Option<Vec<Decision>>> {
        let batch = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let waiter = Waiter::new();
        self.waiting.lock().insert(batch, Arc::clone(&waiter));
        events.push_orphans(batch, orphans);
        let deadline = Instant::now() + PATIENCE;
        let mut answer = None;
        let mut outcome = Ok(true);
        while answer.is_none() && Instant::now() < deadline {
            outcome = go_on();
            if !matches!(outcome, Ok(true)) {
                break;
            }
            answer = match waiter.wait(Some(Instant::now() + PATIENCE_STEP)) {
                Woken::Answered(decisions) => Some(decisions),
                Woken::TimedOut | Woken::Interrupted => None,
            };
        }
        self.waiting.lock().remove(&batch);
        outcome.map(|_| answer)
    }
}

/// Error classes of the Dead set, defined in `lib/sidekiq/assured_jobs/errors.rb`.
const POISON: &str = "Sidekiq::AssuredJobs::PoisonJob";
const UNRECOVERABLE: &str = "Sidekiq::AssuredJobs::UnrecoverableJob";

/// What one recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Orphans that are in their queues again.
    pub recovered: u64,
    /// Orphans that stay recorded because they cannot be pushed.
    pub stuck: u64,
    /// Orphans that went to the Dead set, or would have if they were allowed to.
    pub poisoned: u64,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.recovered += other.recovered;
        self.stuck += other.stuck;
        self.poisoned += other.poisoned;
    }
}

/// An orphan while its batch lasts.
struct Case {
    payload: Bytes,
    profile: Option<Profile>,
}

/// How often an orphan was looked at that cannot be recovered, and in which run last: one run may see a record twice.
#[derive(Clone, Copy, Default)]
struct Looks {
    times: u64,
    run: u64,
}

/// One batch on its way.
struct Batch<'a> {
    id: &'a [u8],
    /// Its instance ended cleanly: no job has killed it.
    retired: bool,
    silent: Option<Duration>,
    cases: HashMap<Bytes, Case>,
    deaths: Vec<(Death, String)>,
    report: Report,
}

/// Recovers from dead instances.
pub struct Recovery {
    settings: Arc<Settings>,
    events: Arc<Events>,
    push: Arc<Push>,
    obituary: Obituary,
    run: u64,
    stuck: HashMap<(Bytes, Bytes), Looks>,
}

impl Recovery {
    /// A recovery that has not looked at anything yet.
    pub fn new(settings: Arc<Settings>, events: Arc<Events>, push: Arc<Push>) -> Self {
        Self { settings, events, push, obituary: Obituary::default(), run: 0, stuck: HashMap::new() }
    }

    /// Takes in a look at all instances, for what people are told of the dead.
    pub fn note(&mut self, sightings: &[Sighting]) {
        self.obituary.look(sightings);
    }

    /// Recovers all orphans of `id`. `go_on` is asked between batches; it keeps the lock, and says when to
    /// stop. Ends early, without an error, when the instance beats again.
    pub fn run(
        &mut self,
        store: &mut Store,
        id: &[u8],
        by: &[u8],
        mut go_on: impl FnMut(&mut Store) -> Result<bool>,
    ) -> Result<Report> {
        let began = Instant::now();
        let mut report = Report::default();
        self.run += 1;
        let retired = store.has_retired(id)?;
        if !retired && self.obituary.is_news(id) {
            let notice = Notice::of_instance(Kind::InstanceDied, id, self.obituary.silent(id));
            self.events.notify(vec![notice]);
        }
        each_batch(store, id, BATCH, BUDGET, |store, records| {
            if !go_on(store)? {
                return Ok(false);
            }
            let batch = Batch::new(id, retired, self.obituary.silent(id));
            let done = self.batch(store, batch, by, records, &mut go_on)?;
            report += done.unwrap_or_default();
            Ok(done.is_some())
        })?;
        let left = store.bury(id)?;
        if left == 0 {
            self.stuck.retain(|(instance, _), _| instance != id);
        }
        if report.recovered > 0 {
            self.events.log(
                Level::Warn,
                format!(
                    "recovered {} jobs of {} instance {} in {:.3} s",
                    report.recovered,
                    if retired { "retired" } else { "dead" },
                    printable::name(id),
                    began.elapsed().as_secs_f64()
                ),
            );
        }
        Ok(report)
    }

    /// Recovers one batch; `None` when the instance beats again.
    fn batch(
        &mut self,
        store: &mut Store,
        mut batch: Batch<'_>,
        by: &[u8],
        records: Vec<(Bytes, Option<Bytes>)>,
        go_on: &mut impl FnMut(&mut Store) -> Result<bool>,
    ) -> Result<Option<Report>> {
        let id = batch.id;
        let mut returns = Vec::with_capacity(records.len());
        for (name, payload) in records {
            match payload {
                Some(payload) => returns.extend(self.examine(&mut batch, name, payload)),
                None => self.drop_empty(store, id, &name)?,
            }
        }
        if self.settings.push_by == PushBy::Client && !returns.is_empty() {
            let orphans =
                returns.into_iter().map(|item| Orphan { name: item.name, payload: item.payload }).collect();
            let Some(decisions) = self.push.ask(&self.events, orphans, || go_on(store))? else {
                self.events.log(Level::Warn, "a recovery was left before client middleware was through");
                return Ok(None);
            };
            returns = Vec::with_capacity(decisions.len());
            for decision in decisions {
                match decision {
                    Decision::Push(item) => returns.push(item),
                    Decision::Refused { name, why } => self.keep(&mut batch, &name, &why),
                    Decision::Waits { name, why } => {
                        batch.report.stuck += 1;
                        self.note_waiting(id, &name, &why);
                    }
                }
            }
        }
        if !self.requeue(store, &mut batch, by, &returns)? || !self.kill(store, &mut batch, by)? {
            return Ok(None);
        }
        Ok(Some(batch.report))
    }

    /// What is to be pushed for an orphan, if it is.
    fn examine(&mut self, batch: &mut Batch<'_>, name: Bytes, payload: Bytes) -> Option<Return> {
        let profile = payload::profile(&payload);
        let revived = payload::revive(&payload, self.settings.timestamps, !batch.retired);
        let limit = self.limit(profile.as_ref());
        let recoveries = profile.as_ref().map_or(0, |profile| profile.recoveries);
        batch.cases.insert(name.clone(), Case { payload, profile });
        match revived {
            Ok(_) if recoveries >= limit && !batch.retired => {
                let times = recoveries.saturating_add(1);
                let (id, option) = (printable::name(batch.id), "assured_max_recoveries");
                let why = format!(
                    "{times} instances died, or were taken for dead, while they ran this job, the last one was {id}; \
                     it may be recovered {limit} times (max_recoveries, or {option} of its class)"
                );
                self.condemn(batch, name, POISON, why);
                None
            }
            Ok(revived) => Some(Return { name, queue: revived.queue, payload: revived.payload }),
            Err(why) => {
                self.keep(batch, &name, &why);
                None
            }
        }
    }

    fn limit(&self, profile: Option<&Profile>) -> u64 {
        profile.and_then(|profile| profile.limit).unwrap_or(self.settings.max_recoveries)
    }

    /// Keeps an orphan recorded that cannot be pushed; after `max_recoveries` looks it goes to the Dead set.
    fn keep(&mut self, batch: &mut Batch<'_>, name: &[u8], why: &str) {
        let Some(case) = batch.cases.get(name) else { return };
        let limit = self.limit(case.profile.as_ref());
        let times = self.note_stuck(batch.id, name, why);
        if times > limit {
            let why = format!("could not be recovered from a dead instance, {times} times: {why}");
            return self.condemn(batch, name.to_vec(), UNRECOVERABLE, why);
        }
        batch.report.stuck += 1;
    }

    /// How many looks in a row have found the orphan stuck.
    fn note_stuck(&mut self, id: &[u8], name: &[u8], why: &str) -> u64 {
        let run = self.run;
        let looks = self.looks(id, name, why);
        if looks.run != run {
            *looks = Looks { times: looks.times + 1, run };
        }
        looks.times
    }

    /// Whoever waits for a duplicate is not stuck. The count begins anew: while duplicates come and go, a look may take
    /// a refusal for somebody else's, and such looks must not add up over a long wait.
    fn note_waiting(&mut self, id: &[u8], name: &[u8], why: &str) {
        *self.looks(id, name, why) = Looks::default();
    }

    /// An orphan is logged once by each process, not at every look.
    fn looks(&mut self, id: &[u8], name: &[u8], why: &str) -> &mut Looks {
        self.stuck.entry((id.to_vec(), name.to_vec())).or_insert_with(|| {
            let (name, id) = (printable::name(name), printable::name(id));
            self.events.log(
                Level::Error,
                format!("orphan {name} of dead instance {id} cannot be recovered and stays recorded: {why}"),
            );
            Looks::default()
        })
    }

    /// Has an orphan moved to the Dead set: with its error where it is a JSON object, else as it is.
    fn condemn(&self, batch: &mut Batch<'_>, name: Bytes, error_class: &str, why: String) {
        let Some(case) = batch.cases.get(&name) else { return };
        let marked = payload::mortify(&case.payload, error_class, &why, self.settings.timestamps);
        let death = Death {
            name,
            keep: case.profile.as_ref().is_none_or(|profile| profile.keeps_dead),
            notify: marked.is_some(),
            payload: marked.unwrap_or_else(|| case.payload.clone()),
        };
        batch.deaths.push((death, why));
    }

    /// False when the instance beats again.
    fn requeue(
        &mut self,
        store: &mut Store,
        batch: &mut Batch<'_>,
        by: &[u8],
        returns: &[Return],
    ) -> Result<bool> {
        let Some(outcomes) = store.requeue(batch.id, by, returns)? else { return Ok(false) };
        let mut notices = Vec::with_capacity(returns.len());
        for (item, outcome) in returns.iter().zip(outcomes) {
            match outcome {
                Requeued::Yes => {
                    batch.report.recovered += 1;
                    notices.push(batch.notice(Kind::Recovered, &item.name, None));
                }
                Requeued::Gone => {}
                Requeued::Refused => self.keep(batch, &item.name, "its queue is no list"),
                // Somebody else may be allowed to, or it will be.
                Requeued::Forbidden => {
                    batch.report.stuck += 1;
                    self.note_stuck(batch.id, &item.name, FORBIDDEN);
                }
            }
        }
        self.events.notify(notices);
        Ok(true)
    }

    /// False when the instance beats again.
    fn kill(&mut self, store: &mut Store, batch: &mut Batch<'_>, by: &[u8]) -> Result<bool> {
        let (deaths, reasons): (Vec<_>, Vec<_>) = std::mem::take(&mut batch.deaths).into_iter().unzip();
        let Some(outcomes) = store.kill(batch.id, by, &deaths, self.settings.dead_set)? else {
            return Ok(false);
        };
        let mut notices = Vec::with_capacity(deaths.len());
        for ((death, why), outcome) in deaths.iter().zip(reasons).zip(outcomes) {
            match outcome {
                Requeued::Yes => {
                    batch.report.poisoned += 1;
                    notices.push(batch.notice(Kind::Poisoned, &death.name, Some(why)));
                }
                Requeued::Gone => {}
                Requeued::Refused | Requeued::Forbidden => batch.report.stuck += 1,
            }
        }
        self.events.notify(notices);
        Ok(true)
    }

    fn drop_empty(&self, store: &mut Store, id: &[u8], name: &[u8]) -> Result<()> {
        if store.forget(id, name)? {
            self.events.log(
                Level::Error,
                format!(
                    "the payload of orphan {} of dead instance {} is gone from Redis; nothing is left to recover",
                    printable::name(name),
                    printable::name(id)
                ),
            );
        }
        Ok(())
    }
}

impl<'a> Batch<'a> {
    fn new(id: &'a [u8], retired: bool, silent: Option<Duration>) -> Self {
        Self { id, retired, silent, cases: HashMap::new(), deaths: Vec::new(), report: Report::default() }
    }

    fn notice(&self, kind: Kind, name: &[u8], reason: Option<String>) -> Notice {
        let job = self.cases.get(name).and_then(|case| case.profile.clone());
        Notice { job, reason, ..Notice::of_instance(kind, self.id, self.silent) }
    }
}
