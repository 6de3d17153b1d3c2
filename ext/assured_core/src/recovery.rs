//! Brings back the orphans of one dead instance, batch by batch.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Bytes;
use crate::error::Result;
use crate::events::{Events, Level, Orphan};
use crate::inspection::each_batch;
use crate::payload;
use crate::settings::{PushBy, Settings};
use crate::store::{Requeued, Return, Store};
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

/// What one recovery did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Orphans that are in their queues again.
    pub recovered: u64,
    /// Orphans that stay recorded because they cannot be pushed.
    pub stuck: u64,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.recovered += other.recovered;
        self.stuck += other.stuck;
    }
}

/// Recovers from dead instances.
pub struct Recovery {
    settings: Arc<Settings>,
    events: Arc<Events>,
    push: Arc<Push>,
    complained: HashSet<(Bytes, Bytes)>,
}

impl Recovery {
    /// A recovery that has not complained about anything yet.
    pub fn new(settings: Arc<Settings>, events: Arc<Events>, push: Arc<Push>) -> Self {
        Self { settings, events, push, complained: HashSet::new() }
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
        each_batch(store, id, BATCH, BUDGET, |store, records| {
            if !go_on(store)? {
                return Ok(false);
            }
            let done = self.batch(store, id, by, records, &mut go_on)?;
            report += done.unwrap_or_default();
            Ok(done.is_some())
        })?;
        let left = store.bury(id)?;
        if left == 0 {
            self.complained.retain(|(instance, _)| instance != id);
        }
        if report.recovered > 0 {
            self.events.log(
                Level::Warn,
                format!(
                    "recovered {} jobs of dead instance {} in {:.3} s",
                    report.recovered,
                    String::from_utf8_lossy(id),
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
        id: &[u8],
        by: &[u8],
        records: Vec<(Bytes, Option<Bytes>)>,
        go_on: &mut impl FnMut(&mut Store) -> Result<bool>,
    ) -> Result<Option<Report>> {
        let mut report = Report::default();
        let mut returns = Vec::with_capacity(records.len());
        for (name, payload) in records {
            let Some(payload) = payload else {
                self.drop_empty(store, id, &name)?;
                continue;
            };
            match payload::revive(&payload, self.settings.timestamps) {
                Ok(revived) => returns.push(Return { name, queue: revived.queue, payload: revived.payload }),
                Err(why) => {
                    report.stuck += 1;
                    self.complain(id, &name, &why);
                }
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
                    Decision::Refused { name, why } => {
                        report.stuck += 1;
                        self.complain(id, &name, &why);
                    }
                }
            }
        }
        if returns.is_empty() {
            return Ok(Some(report));
        }
        let Some(outcomes) = store.requeue(id, by, &returns)? else { return Ok(None) };
        for (item, outcome) in returns.iter().zip(outcomes) {
            match outcome {
                Requeued::Yes => report.recovered += 1,
                Requeued::Gone => {}
                Requeued::Refused => {
                    report.stuck += 1;
                    self.complain(id, &item.name, "its queue is no list");
                }
            }
        }
        Ok(Some(report))
    }

    fn drop_empty(&self, store: &mut Store, id: &[u8], name: &[u8]) -> Result<()> {
        if store.forget(id, name)? {
            self.events.log(
                Level::Error,
                format!(
                    "the payload of orphan {} of dead instance {} is gone from Redis; nothing is left to recover",
                    String::from_utf8_lossy(name),
                    String::from_utf8_lossy(id)
                ),
            );
        }
        Ok(())
    }

    /// Each bad orphan is logged once by each process, not at every sweep.
    fn complain(&mut self, id: &[u8], name: &[u8], why: &str) {
        if self.complained.insert((id.to_vec(), name.to_vec())) {
            self.events.log(
                Level::Error,
                format!(
                    "orphan {} of dead instance {} cannot be recovered and stays recorded: {why}",
                    String::from_utf8_lossy(name),
                    String::from_utf8_lossy(id)
                ),
            );
        }
    }
}
