//! Brings back the orphans of one dead instance, batch by batch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Bytes;
use crate::error::Result;
use crate::events::{Events, Kind, Level, Notice};
use crate::inspection::each_batch;
use crate::obituary::Obituary;
use crate::payload::{self, POISON, Profile};
use crate::printable;
use crate::record;
use crate::settings::Settings;
use crate::store::{Death, FORBIDDEN, Requeued, Return, Store};
use crate::verdict::Sighting;

/// Orphans of one atomic step. A script of this size keeps Redis busy for well under a millisecond.
const BATCH: usize = 100;

/// Bytes of payload that one step may carry.
const BUDGET: usize = 1 << 20;

/// Error class of the Dead set, defined in `lib/sidekiq/assured_jobs/errors.rb`.
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
    /// The queue that it was popped from.
    queue: Option<Bytes>,
}

impl Case {
    fn of(record: &[u8]) -> Self {
        let (popped_from, payload) = record::read(record);
        let mut profile = payload::profile(payload);
        if let (Some(profile), Some(popped_from)) = (&mut profile, popped_from) {
            profile.queue = Some(String::from_utf8_lossy(popped_from).into_owned());
        }
        let named = || profile.as_ref()?.queue.clone().map(String::into_bytes);
        let queue = popped_from.map(<[u8]>::to_vec).or_else(named).or_else(|| record::queue(record));
        Self { payload: payload.to_vec(), profile, queue }
    }
}

/// Whether a dead job lies in the Dead set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Not with `dead: false`.
    AsItsClassSays,
    InAnyCase,
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
    obituary: Obituary,
    /// Orphans that cannot go back, and since when.
    stuck: HashMap<(Bytes, Bytes), Instant>,
}

impl Recovery {
    /// A recovery that has not looked at anything yet.
    pub fn new(settings: Arc<Settings>, events: Arc<Events>) -> Self {
        Self { settings, events, obituary: Obituary::default(), stuck: HashMap::new() }
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
            let done = self.batch(store, batch, by, records)?;
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
    ) -> Result<Option<Report>> {
        let id = batch.id;
        let mut orphans = Vec::with_capacity(records.len());
        for (name, record) in records {
            match record {
                Some(record) => orphans.push((name, Case::of(&record))),
                None => self.drop_empty(store, id, &name)?,
            }
        }
        let class_limits = class_limits(store, &orphans)?;
        let examine = |(name, case)| self.examine(&mut batch, &class_limits, name, case);
        let returns: Vec<_> = orphans.into_iter().filter_map(examine).collect();
        if !self.requeue(store, &mut batch, by, &returns)? || !self.kill(store, &mut batch, by)? {
            return Ok(None);
        }
        Ok(Some(batch.report))
    }

    /// What is to be pushed for an orphan, if it is: the bytes that lay in its queue, but for the count and
    /// `enqueued_at`. What is no JSON object goes back as it is, to be dealt with by Sidekiq.
    fn examine(
        &mut self,
        batch: &mut Batch<'_>,
        class_limits: &HashMap<String, u64>,
        name: Bytes,
        case: Case,
    ) -> Option<Return> {
        let profile = case.profile.as_ref();
        let by_class = || class_limits.get(profile?.class.as_ref()?).copied();
        let limit = profile.and_then(|profile| profile.limit).or_else(by_class);
        let limit = limit.unwrap_or(self.settings.max_recoveries);
        let recoveries = profile.map_or(0, |profile| profile.recoveries);
        let revived = payload::revive(&case.payload, self.settings.timestamps, !batch.retired);
        let payload = revived.unwrap_or_else(|| case.payload.clone());
        let queue = case.queue.clone();
        batch.cases.insert(name.clone(), case);
        let Some(queue) = queue else {
            self.leave(batch, &name, "nothing tells which queue it came from");
            return None;
        };
        if recoveries >= limit && !batch.retired {
            let times = recoveries.saturating_add(1);
            let (id, option) = (printable::name(batch.id), "assured_max_recoveries");
            let why = format!(
                "{times} instances died, or were taken for dead, while they ran this job, the last one was {id}; \
                 it may be recovered {limit} times (max_recoveries, or {option} of its class)"
            );
            self.condemn(batch, name, Kept::AsItsClassSays, POISON, why);
            return None;
        }
        Some(Return { name, queue, payload })
    }

    /// Leaves an orphan recorded that cannot go back now. It is tried again at each sweep, for `dead_after` at least,
    /// and then goes to the Dead set, whatever its class says: the fault is not its own.
    fn leave(&mut self, batch: &mut Batch<'_>, name: &[u8], why: &str) {
        let since = self.stuck_since(batch.id, name, why);
        if since.elapsed() < self.settings.dead_after {
            batch.report.stuck += 1;
            return;
        }
        let hours = self.settings.dead_after.as_secs_f64() / 3600.0;
        let why = format!(
            "its process died, and for {hours:.1} hours it could not go back into its queue: {why}. \
             The job itself is not at fault"
        );
        self.condemn(batch, name.to_vec(), Kept::InAnyCase, UNRECOVERABLE, why);
    }

    /// An orphan is logged once by each process, not at every sweep.
    fn stuck_since(&mut self, id: &[u8], name: &[u8], why: &str) -> Instant {
        *self.stuck.entry((id.to_vec(), name.to_vec())).or_insert_with(|| {
            let (name, id) = (printable::name(name), printable::name(id));
            self.events.log(
                Level::Error,
                format!("orphan {name} of dead instance {id} cannot go back and stays recorded: {why}"),
            );
            Instant::now()
        })
    }

    /// Has an orphan moved to the Dead set: with its error where it is a JSON object, else as it is.
    fn condemn(&self, batch: &mut Batch<'_>, name: Bytes, kept: Kept, error_class: &str, why: String) {
        let Some(case) = batch.cases.get(&name) else { return };
        let why = printable::line(&why);
        let marked = payload::mortify(&case.payload, error_class, &why, self.settings.timestamps);
        let death = Death {
            name,
            keep: kept == Kept::InAnyCase || case.profile.as_ref().is_none_or(|profile| profile.keeps_dead),
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
                Requeued::Refused => self.leave(batch, &item.name, "its queue is no list"),
                Requeued::Forbidden => self.leave(batch, &item.name, FORBIDDEN),
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

/// How often orphans may be recovered whose payloads do not tell: they were pushed by the name of their class.
fn class_limits(store: &mut Store, orphans: &[(Bytes, Case)]) -> Result<HashMap<String, u64>> {
    let profiles = orphans.iter().filter_map(|(_, case)| case.profile.as_ref());
    let by_class = profiles.filter(|profile| profile.assured.is_none());
    let mut classes: Vec<_> = by_class.filter_map(|profile| profile.class.clone()).collect();
    classes.sort_unstable();
    classes.dedup();
    let limits = store.limits_of(&classes)?;
    Ok(classes.into_iter().zip(limits).filter_map(|(class, limit)| Some((class, limit?))).collect())
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
