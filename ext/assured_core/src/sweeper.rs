//! Looks for dead instances, at start and then at every interval, and has their orphans recovered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::Bytes;
use crate::backoff::{Backoff, jittered};
use crate::error::Result;
use crate::events::{Events, Level};
use crate::fast_death::FastDeath;
use crate::identity::SharedIdentity;
use crate::outage::{Outage, Who};
use crate::pulse::Pulse;
use crate::recovery::{Recovery, Report};
use crate::settings::Settings;
use crate::store::{Lenders, Store};
use crate::threads::Alarm;
use crate::verdict::{Judge, Sighting, Watch};
use crate::waiter::Waiter;

/// Answer to somebody who asked for a sweep.
pub type Answer = std::result::Result<Report, String>;

/// Who it is to outages.
const WHO: Who = ("sweep", 0);

/// All that the sweeper thread works with.
pub struct Sweeper {
    /// Interval and lock TTL.
    pub settings: Arc<Settings>,
    /// Who this process is; nobody, in a process that only visits.
    pub identity: Arc<SharedIdentity>,
    /// Whether this process may judge others.
    pub pulse: Arc<Pulse>,
    /// Where this process's heartbeat finds the connection.
    pub lenders: Arc<Lenders>,
    /// Log lines.
    pub events: Arc<Events>,
    /// Shared with all threads of the engine.
    pub outage: Arc<Outage>,
    /// Ends the thread, or a sleep.
    pub alarm: Arc<Alarm>,
    /// Sweeps asked for by hand.
    pub requests: Arc<Mutex<Vec<Arc<Waiter<Answer>>>>>,
    /// Whether to sweep without being asked.
    pub periodic: bool,
}

/// Answers everybody who waits for a sweep that will not come.
pub fn refuse(requests: &Mutex<Vec<Arc<Waiter<Answer>>>>) {
    requests.lock().drain(..).for_each(|waiter| waiter.answer(Err("the engine stopped".into())));
}

/// Somebody who asked for a sweep. A panic must not leave them waiting.
struct Asker(Arc<Waiter<Answer>>);

impl Drop for Asker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.answer(Err("the sweep panicked".into()));
        }
    }
}

/// How a sweep chooses the dead.
enum Looks {
    /// Two looks or more, and the judge's own pulse.
    Two(Watch),
    /// One look: a person asked.
    One,
}

impl Sweeper {
    /// Sweeps until stopped.
    pub fn serve(&self) {
        let mut store = Store::new(&self.settings, "sweep").lending(&self.lenders);
        let mut fast = FastDeath::new(&self.settings);
        if fast.is_some() {
            store.introduce();
        }
        let mut recovery = Recovery::new(Arc::clone(&self.settings), Arc::clone(&self.events));
        let interval = self.settings.heartbeat_interval;
        // Two thirds of an interval between looks and one third between the first and the second: together
        // the one interval after the TTL in which a crash is noticed.
        let mut looks = Looks::Two(Watch::new(self.settings.heartbeat_ttl, interval / 3));
        let mut backoff = Backoff::new((interval / 3).min(Duration::from_secs(5)));
        let mut strangers_seen = false;
        let mut regular = Instant::now();
        while !self.alarm.stopped() {
            self.answer_requests(&mut store, &mut recovery);
            if !self.periodic {
                self.report_deaths(&mut store);
            }
            if !self.periodic || self.identity.wait(Duration::from_millis(100)).is_none() {
                self.alarm.sleep(if self.periodic { Duration::ZERO } else { interval });
                continue;
            }
            if regular > Instant::now() {
                if let Some(fast) = fast.as_mut()
                    && let Err(error) = self.sweep_fast(&mut store, &mut recovery, fast)
                {
                    self.outage.failed(&self.events, WHO, &error);
                    self.alarm.sleep(backoff.next_wait());
                }
                let next = fast.as_ref().map_or(regular, |fast| regular.min(fast.next_look()));
                self.alarm.sleep_until(next);
                continue;
            }
            let swept = self.sweep(&mut store, &mut recovery, &mut looks);
            let adopted = match strangers_seen {
                true => Ok(()),
                false => self.adopt_strangers(&mut store),
            };
            strangers_seen |= adopted.is_ok();
            match swept.and(adopted) {
                Ok(()) => {
                    backoff.reset();
                    self.outage.over(&self.events, WHO);
                    self.report_deaths(&mut store);
                    regular = next_look(&looks, interval);
                }
                Err(error) => {
                    self.outage.failed(&self.events, WHO, &error);
                    self.alarm.sleep(backoff.next_wait());
                }
            }
        }
        refuse(&self.requests);
    }

    fn answer_requests(&self, store: &mut Store, recovery: &mut Recovery) {
        loop {
            let Some(asker) = self.requests.lock().pop().map(Asker) else {
                return;
            };
            let answer =
                self.adopt_strangers(store).and_then(|()| self.sweep(store, recovery, &mut Looks::One));
            asker.0.answer(answer.map_err(|error| error.to_string()));
        }
    }

    /// Scans the keys, so it happens at start and when a person asks, never at a periodic sweep.
    fn adopt_strangers(&self, store: &mut Store) -> Result<()> {
        store.adopt_strangers(|| !self.alarm.stopped())
    }

    /// Has the handlers of dead jobs run in this process. One that only visits may not know them.
    fn report_deaths(&self, store: &mut Store) {
        // Best effort: the next round looks again.
        if self.identity.get().is_some() && store.deaths().is_ok_and(|deaths| deaths > 0) {
            self.events.report_deaths();
        }
    }

    fn sweep(&self, store: &mut Store, recovery: &mut Recovery, looks: &mut Looks) -> Result<Report> {
        let own = self.identity.get().map(|identity| identity.id.clone());
        let mut sightings = store.look()?;
        let now = Instant::now();
        sightings.retain(|seen| Some(&seen.id) != own.as_ref());
        recovery.note(&sightings);
        let silent = match looks {
            Looks::One => {
                let ttl = self.settings.heartbeat_ttl;
                sightings.iter().filter(|seen| seen.is_silent(ttl)).cloned().collect()
            }
            Looks::Two(watch) => {
                let judge = Judge {
                    steady_since: self.pulse.steady_since(now),
                    may_judge_since: self.pulse.may_judge_since(now),
                };
                watch.look(&sightings, judge, now)
            }
        };
        let mut dead = Vec::new();
        for seen in silent {
            if store.expire(&seen)? {
                dead.push(seen.id);
            }
        }
        let outcome = self.recover_from(store, recovery, &sightings, &dead);
        if let Looks::Two(watch) = looks
            && !matches!(outcome, Ok(None))
        {
            dead.iter().for_each(|id| watch.forget(id));
        }
        outcome.map(Option::unwrap_or_default)
    }

    /// Gives the verdict on instances whose connection is closed. It is everybody's, so that the regular sweeps see to
    /// what is left undone here.
    fn sweep_fast(&self, store: &mut Store, recovery: &mut Recovery, fast: &mut FastDeath) -> Result<()> {
        let Some(own) = self.identity.get() else { return Ok(()) };
        let mut dead = Vec::new();
        let silent = fast.look(store, &own.id, &self.pulse)?;
        if silent.is_empty() {
            return Ok(());
        }
        let sightings = store.look()?;
        recovery.note(&sightings);
        for silence in silent {
            if store.expire_silent(&silence)? {
                self.events.log(Level::Warn, fast.describe(&silence));
                dead.push(silence.id);
            }
        }
        self.recover_from(store, recovery, &sightings, &dead).map(drop)
    }

    /// Recovers from dead instances; nothing if there are none, or if another instance is at it.
    fn recover_from(
        &self,
        store: &mut Store,
        recovery: &mut Recovery,
        sightings: &[Sighting],
        dead: &[Bytes],
    ) -> Result<Option<Report>> {
        if dead.is_empty() {
            return Ok(None);
        }
        let own = self.identity.get();
        let lock = Lock::new(&self.settings, own.as_ref().map(|identity| identity.id.as_slice()));
        if !lock.take(store, sightings, dead)? {
            self.events.log(Level::Debug, "another instance sweeps already");
            return Ok(None);
        }
        let mut total = Report::default();
        let outcome = self.recover_all(store, recovery, &lock, dead, &mut total);
        // Best effort: a lock that stays behind is taken over, or expires.
        let _ = lock.free(store);
        outcome.map(|()| Some(total))
    }

    fn recover_all(
        &self,
        store: &mut Store,
        recovery: &mut Recovery,
        lock: &Lock,
        dead: &[Bytes],
        total: &mut Report,
    ) -> Result<()> {
        let mut renewed = Instant::now();
        let mut lost = false;
        let mut failure = None;
        for id in dead {
            let outcome = recovery.run(store, id, &lock.token, |store| {
                if renewed.elapsed() > lock.ttl / 3 {
                    renewed = Instant::now();
                    lost = !lock.renew(store)?;
                }
                Ok(!lost && !self.alarm.stopped())
            });
            match outcome {
                Ok(report) => *total += report,
                // One instance whose records cannot be read must not keep the others from being recovered.
                Err(error) => {
                    failure.get_or_insert(error);
                }
            }
            if lost {
                break;
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

fn next_look(looks: &Looks, interval: Duration) -> Instant {
    let now = Instant::now();
    let regular = now + jittered(interval * 2 / 3);
    match looks {
        Looks::Two(watch) => watch.next_look(now).map_or(regular, |second| second.min(regular)),
        Looks::One => regular,
    }
}

/// The recovery lock. It spares work; correctness does not rest on it, for every requeue is one atomic step.
struct Lock {
    token: Bytes,
    ttl: Duration,
}

impl Lock {
    /// The token names its owner, so that the others can tell when it died: `<nonce> <instance id>`. A
    /// process that only visits has no id, and its lock must expire.
    fn new(settings: &Settings, id: Option<&[u8]>) -> Self {
        let token = [settings.nonce.as_bytes(), b" ", id.unwrap_or_default()].concat();
        let ttl = match id {
            Some(_) => settings.recovery_lock_ttl,
            None => settings.recovery_lock_ttl.min(settings.heartbeat_ttl),
        };
        Self { token, ttl }
    }

    fn take(&self, store: &mut Store, sightings: &[Sighting], dead: &[Bytes]) -> Result<bool> {
        match store.lock(&self.token, self.ttl)? {
            None => Ok(true),
            Some(holder) if holder == self.token => Ok(true),
            Some(holder) => {
                Ok(is_dead(&holder, sightings, dead)
                    && store.take_over_lock(&holder, &self.token, self.ttl)?)
            }
        }
    }

    fn renew(&self, store: &mut Store) -> Result<bool> {
        store.renew_lock(&self.token, self.ttl)
    }

    fn free(&self, store: &mut Store) -> Result<bool> {
        store.free_lock(&self.token)
    }
}

/// Whether the holder of the lock is known to be dead. The 1.x gem's token is the bare instance id.
fn is_dead(holder: &[u8], sightings: &[Sighting], dead: &[Bytes]) -> bool {
    let space = holder.iter().position(|byte| *byte == b' ');
    let owner = &holder[space.map_or(0, |at| at + 1)..];
    match sightings.iter().find(|seen| seen.id == owner) {
        Some(seen) => !seen.is_alive() || dead.contains(&seen.id),
        // It left the registry in the middle of a sweep. A 1.x instance may not be in there yet.
        None => space.is_some() && !owner.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_of_a_dead_or_departed_holder_may_be_taken() {
        let seen = |id: &[u8], alive: bool| Sighting {
            id: id.to_vec(),
            heartbeat: alive.then(|| b"17".to_vec()),
            beat: None,
        };
        let sightings =
            [seen(b"live 1", true), seen(b"dead", false), seen(b"judged", true), seen(b"old", true)];
        let is_dead = |holder: &[u8]| is_dead(holder, &sightings, &[b"judged".to_vec()]);
        assert!(!is_dead(b"n live 1"));
        assert!(is_dead(b"n dead"));
        assert!(is_dead(b"n judged"));
        assert!(is_dead(b"n departed"));
        assert!(!is_dead(b"n "), "a visitor's lock must expire");
        assert!(is_dead(b"dead"), "a 1.x holder");
        assert!(!is_dead(b"old"), "a 1.x holder");
        assert!(!is_dead(b"unknown"), "a 1.x holder that may live");
    }
}
