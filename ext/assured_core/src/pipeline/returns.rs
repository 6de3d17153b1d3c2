//! Jobs on their way back into their queues: given back by this process, or found as strays.

use super::{BATCH, Pipeline};
use crate::Bytes;
use crate::error::{Error, Result};
use crate::events::Level;
use crate::identity::Identity;
use crate::printable;
use crate::record;
use crate::registry::{Attempt, Mirrored, Token};
use crate::store::{FORBIDDEN, Requeued, Return, Store};

impl Pipeline {
    /// An attempt that Redis does not know yet is recorded first: only what is recorded can be moved in
    /// one step. What is not held any more is in good hands: finished, or recovered by somebody else.
    pub(super) fn perform_give_back(
        &self,
        store: &mut Store,
        identity: &Identity,
        tokens: &[Token],
    ) -> Result<()> {
        let mut forbidden = Ok(());
        for part in tokens.chunks(BATCH) {
            // A lost lease: the job is in its queue already, or somebody else's.
            let lost = |token: &&Token| {
                self.registry.get(**token).is_some_and(|attempt| attempt.mirrored == Mirrored::Lost)
            };
            part.iter().filter(lost).for_each(|token| self.registry.give_up(*token));
            self.record_first(store, identity, part)?;
            let held: Vec<_> = part.iter().filter_map(|token| self.registry.get(*token)).collect();
            if held.is_empty() {
                continue;
            }
            let returns: Vec<_> = held.iter().map(to_return).collect();
            let outcomes = store.give_back(identity, &returns)?;
            let outcomes =
                held.iter().zip(outcomes).map(|(attempt, outcome)| self.given_back(attempt, outcome));
            // All of them, before the first failure ends this.
            forbidden = outcomes.fold(forbidden, Result::and);
        }
        forbidden
    }

    /// The attempt, recorded: only what is recorded can be moved in one step. Nothing where it is not held any more, or
    /// its lease is lost: then the job is somebody else's, and the name of the record may be another attempt's.
    pub(super) fn still_held(
        &self,
        store: &mut Store,
        identity: &Identity,
        token: Token,
    ) -> Result<Option<Attempt>> {
        self.record_first(store, identity, &[token])?;
        let Some(attempt) = self.registry.get(token) else { return Ok(None) };
        if attempt.mirrored == Mirrored::Lost {
            self.registry.give_up(token);
            return Ok(None);
        }
        Ok(Some(attempt))
    }

    fn record_first(&self, store: &mut Store, identity: &Identity, tokens: &[Token]) -> Result<()> {
        let unknown: Vec<_> = tokens
            .iter()
            .filter_map(|token| self.registry.get(*token))
            .filter(|attempt| matches!(attempt.mirrored, Mirrored::Not | Mirrored::Unknown))
            .filter_map(|attempt| self.registry.send(attempt.token))
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        self.record(store, identity, &[], &unknown)
    }

    /// Moves a job that client middleware let pass into its queue. Gone: it was given to others already.
    pub(super) fn perform_enqueue(
        &self,
        store: &mut Store,
        identity: &Identity,
        token: Token,
        queue: &Bytes,
        payload: &Bytes,
    ) -> Result<()> {
        let Some(attempt) = self.still_held(store, identity, token)? else { return Ok(()) };
        let due = Return { name: attempt.name.clone(), queue: queue.clone(), payload: payload.clone() };
        let outcome = store.enqueue(identity, due)?;
        self.given_back(&attempt, outcome)
    }

    /// An error where it has to be tried again.
    pub(super) fn given_back(&self, attempt: &Attempt, outcome: Requeued) -> Result<()> {
        let name = printable::name(&attempt.name);
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
                return Ok(());
            }
            Requeued::Forbidden => return Err(Error::forbidden(format!("{FORBIDDEN} (job {name})"))),
        }
        self.registry.give_up(attempt.token);
        Ok(())
    }

    /// No fetch is under way meanwhile, so a record that is unknown here is not one on its way.
    pub(super) fn perform_strays(
        &self,
        store: &mut Store,
        identity: &Identity,
        names: &[Bytes],
    ) -> Result<()> {
        let strays = names.iter().filter(|name| !self.registry.knows(name));
        let mut forbidden = None;
        for name in strays {
            let record = store.payloads(std::slice::from_ref(name), 0)?.pop().flatten();
            match record {
                Some(record) if self.registry.was_released(name, record::read(&record).1) => {
                    let payload = record::read(&record).1.into();
                    store.release_if_unchanged(identity, &[(name.clone(), payload)])?;
                }
                Some(record) => match self.return_stray(store, identity, name, &record) {
                    Err(error) if error.is_forbidden() => forbidden = Some(error),
                    outcome => outcome?,
                },
                None => drop(store.forget(&identity.id, name)?),
            }
        }
        forbidden.map_or(Ok(()), Err)
    }

    fn return_stray(&self, store: &mut Store, identity: &Identity, name: &[u8], record: &[u8]) -> Result<()> {
        let label = printable::name(name);
        let Some(queue) = record::queue(record) else {
            let message = format!("job {label} was fetched by a round trip that failed, and names no queue");
            self.events.log(Level::Error, message);
            return Ok(());
        };
        let stray = Return { name: name.to_vec(), queue, payload: record::read(record).1.to_vec() };
        match store.give_back(identity, &[stray])?[..] {
            [Requeued::Yes] => {
                let message =
                    format!("job {label} was fetched by a round trip that failed; it is back in its queue");
                self.events.log(Level::Warn, message);
                Ok(())
            }
            [Requeued::Forbidden] => Err(Error::forbidden(format!("{FORBIDDEN} (job {label})"))),
            _ => Ok(()),
        }
    }
}

fn to_return(attempt: &Attempt) -> Return {
    Return { name: attempt.name.clone(), queue: attempt.queue.clone(), payload: attempt.payload.to_vec() }
}
