//! Attempts that ended without acknowledgement while this process lives: the thread was killed, or the retry could not
//! be stored. Each counts like a crash, since its cause may well be there at the next run, too: the job waits longer
//! each time, as Sidekiq's retries do, and ends in the Dead set.

use std::time::{Duration, Instant};

use super::{FORBIDDEN_WAIT, Op, Pipeline};
use crate::Bytes;
use crate::error::Result;
use crate::events::{Kind, Level, Notice};
use crate::identity::Identity;
use crate::payload::{self, POISON, Profile};
use crate::printable;
use crate::registry::{Attempt, Token};
use crate::store::{Death, Requeued, Return, Store};

/// Error class that Sidekiq shows, defined in `lib/sidekiq/assured_jobs/errors.rb`.
const UNACKNOWLEDGED: &str = "Sidekiq::AssuredJobs::UnacknowledgedEnd";

/// A greater count makes the wait no longer; it has only to be one that a clock can hold.
const LARGEST: u64 = 1000;

/// An attempt that has ended, and what its payload says.
pub(super) struct Ended {
    attempt: Attempt,
    profile: Profile,
    limit: u64,
}

impl Pipeline {
    /// Moves the job into Sidekiq's set of retries, where any process finds it when it is due, or into the Dead set.
    pub(super) fn perform_end(
        &self,
        store: &mut Store,
        identity: &Identity,
        token: Token,
        as_retry: bool,
        again: bool,
    ) -> Result<()> {
        let Some(attempt) = self.still_held(store, identity, token)? else { return Ok(()) };
        let ended = self.ended(attempt);
        if ended.is_poison() {
            return self.perform_death(store, identity, &ended, again);
        }
        let (payload, wait) = (self.postponed(&ended), ended.wait());
        let outcome = match as_retry {
            true => store.retry(identity, &ended.attempt.name, &payload, wait)?,
            false => Requeued::Refused,
        };
        if outcome == Requeued::Refused {
            // It may be handed over at the end of this process, which waits for nothing.
            if self.inbox.lock().closed {
                return self.perform_return(store, identity, token, again);
            }
            let why = if as_retry { "Redis takes no retry" } else { "others move what is due" };
            self.tell(&ended, &format!("waits for {} s, in memory: {why}", wait.as_secs()));
            self.later(wait, Op::Return(token, false));
            return Ok(());
        }
        if outcome == Requeued::Yes {
            self.tell(&ended, &format!("is due again in {} s", wait.as_secs()));
        }
        self.given_back(&ended.attempt, outcome)
    }

    /// Puts a job that has waited here into its queue, counted.
    pub(super) fn perform_return(
        &self,
        store: &mut Store,
        identity: &Identity,
        token: Token,
        again: bool,
    ) -> Result<()> {
        let Some(attempt) = self.still_held(store, identity, token)? else { return Ok(()) };
        let ended = self.ended(attempt);
        let Attempt { name, queue, .. } = &ended.attempt;
        let item = Return { name: name.clone(), queue: queue.clone(), payload: self.postponed(&ended) };
        match store.give_back(identity, &[item])?[..] {
            [Requeued::Refused | Requeued::Forbidden] => {
                if !again {
                    self.tell(&ended, "stays recorded, and is tried again: its queue takes no job");
                }
                self.later(FORBIDDEN_WAIT, Op::Return(token, true));
                Ok(())
            }
            [outcome] => {
                self.given_back(&ended.attempt, outcome)?;
                // Best effort: the step that puts jobs back counts for recoveries alone.
                if outcome == Requeued::Yes {
                    let _ = store.count("unacknowledged", 1);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn perform_death(
        &self,
        store: &mut Store,
        identity: &Identity,
        ended: &Ended,
        again: bool,
    ) -> Result<()> {
        let why = format!(
            "{} attempts ended without acknowledgement, or with their instance, the last one in {}; it may be \
             recovered {} times (max_recoveries, or assured_max_recoveries of its class)",
            ended.profile.recoveries.saturating_add(1),
            printable::name(&identity.id),
            ended.limit
        );
        let Attempt { name, payload, .. } = &ended.attempt;
        let timestamps = self.settings.timestamps;
        let payload = payload::mortify(payload, POISON, &why, timestamps).unwrap_or_else(|| payload.to_vec());
        let death = Death { name: name.clone(), payload, keep: true, notify: true };
        let outcome = match store.kill_own(identity, death, self.settings.dead_set) {
            Err(error) if error.is_forbidden() => Requeued::Refused,
            outcome => outcome?,
        };
        match outcome {
            Requeued::Yes => {
                let notice = Notice::of_job(Kind::Poisoned, &identity.id, &ended.attempt.payload);
                self.events.notify(vec![Notice { reason: Some(why), ..notice }]);
                self.events.report_deaths();
            }
            Requeued::Gone => {}
            Requeued::Refused | Requeued::Forbidden => {
                if !again {
                    self.tell(ended, "stays recorded, and is tried again: the Dead set takes no job");
                }
                self.later(FORBIDDEN_WAIT, Op::End(ended.attempt.token, false, true));
                return Ok(());
            }
        }
        self.given_back(&ended.attempt, outcome)
    }

    fn ended(&self, attempt: Attempt) -> Ended {
        let profile = payload::profile(&attempt.payload).unwrap_or_default();
        let of_class = || self.classes.limit(profile.class.as_ref()?);
        let limit = profile.limit.or_else(of_class).unwrap_or(self.settings.max_recoveries);
        Ended { attempt, profile, limit }
    }

    /// What cannot be counted, because it is no JSON object, goes back as it is.
    fn postponed(&self, ended: &Ended) -> Bytes {
        let Attempt { payload, queue, .. } = &ended.attempt;
        let why = "an attempt ended without acknowledgement: its thread was killed, or its retry could not be stored";
        payload::postpone(payload, queue, UNACKNOWLEDGED, why, self.settings.timestamps)
            .unwrap_or_else(|| payload.to_vec())
    }

    fn later(&self, wait: Duration, op: Op) {
        self.inbox.lock().later.push((Instant::now() + wait, op));
    }

    fn tell(&self, ended: &Ended, what: &str) {
        let Ended { profile, limit, .. } = ended;
        let shown = |text: &Option<String>| printable::name(text.as_deref().unwrap_or("?").as_bytes());
        let (jid, class) = (shown(&profile.jid), shown(&profile.class));
        self.events.log(
            Level::Warn,
            format!(
                "job {jid} ({class}) ended without acknowledgement, and was recovered {} of {limit} times; it \
                 {what}",
                profile.recoveries
            ),
        );
    }
}

impl Ended {
    fn is_poison(&self) -> bool {
        self.profile.recoveries >= self.limit
    }

    /// As Sidekiq has it for retries. What a class says of those is code of the application.
    fn wait(&self) -> Duration {
        let count = self.profile.recoveries.min(LARGEST);
        Duration::from_secs(count.pow(4) + 15 + fastrand::u64(0..10) * (count + 1))
    }
}
