//! One round trip of ops: releases, and the tracks of all threads that wait at the moment.

use std::collections::VecDeque;
use std::sync::Arc;

use super::serve::Work;
use super::{BATCH, BUDGET, Op, Pipeline, Release};
use crate::Bytes;
use crate::error::Result;
use crate::identity::Identity;
use crate::record;
use crate::registry::{Attempt, Mirrored};
use crate::store::{Record, Store};

impl Pipeline {
    /// One round trip for releases and for the tracks at the front, the latter when the releases are through. After
    /// an error all tracks are there again, in their order.
    pub(super) fn exchange(&self, store: &mut Store, identity: &Identity, work: &mut Work) -> Result<()> {
        let count = work.releases.len().min(BATCH);
        let releases: Vec<_> = work.releases.drain(..count).collect();
        let attempts = match work.releases.is_empty() {
            true => self.next_attempts(&mut work.ops),
            false => Vec::new(),
        };
        let names: Vec<_> = releases.iter().map(|release| release.name.clone()).collect();
        match self.record(store, identity, &names, &attempts) {
            Ok(()) => {
                self.released(&releases);
                attempts.iter().for_each(|attempt| attempt.recorded.answer(()));
                Ok(())
            }
            Err(error) => {
                let again = attempts.iter().rev().map(|attempt| Op::Track(attempt.token));
                again.for_each(|op| work.ops.push_front(op));
                self.doubt(releases);
                Err(error)
            }
        }
    }

    /// Redis has acknowledged these.
    pub(super) fn released(&self, releases: &[Release]) {
        releases.iter().for_each(|release| self.registry.free(&release.name, release.token));
    }

    /// Keeps releases of a round trip that failed. It may have been executed, and a fetch may have recorded
    /// another job under the same name since, so they are not simply sent again.
    pub(super) fn doubt(&self, releases: Vec<Release>) {
        if !releases.is_empty() {
            self.inbox.lock().doubtful.extend(releases);
            self.arrived.notify_one();
        }
    }

    /// Releases what a failed round trip should have released and has not.
    pub(super) fn settle_doubts(&self, store: &mut Store, identity: &Identity) -> Result<()> {
        let mut doubtful = std::mem::take(&mut self.inbox.lock().doubtful);
        while !doubtful.is_empty() {
            let part = &doubtful[..doubtful.len().min(BATCH)];
            let records: Vec<_> =
                part.iter().map(|release| (release.name.clone(), Arc::clone(&release.payload))).collect();
            match store.release_if_unchanged(identity, &records) {
                Ok(()) => {
                    self.released(part);
                    doubtful.drain(..records.len());
                }
                Err(error) => {
                    self.doubt(doubtful);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn next_attempts(&self, ops: &mut VecDeque<Op>) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        let mut bytes = 0;
        while bytes < BUDGET {
            let Some(Op::Track(token)) = ops.front() else { break };
            // Released before it was sent: nothing to record.
            if let Some(attempt) = self.registry.send(*token) {
                bytes += attempt.payload.len();
                attempts.push(attempt);
            }
            ops.pop_front();
        }
        attempts
    }

    /// Sends releases and attempts, and notes what Redis knows of the attempts now.
    pub(super) fn record(
        &self,
        store: &mut Store,
        identity: &Identity,
        releases: &[Bytes],
        attempts: &[Attempt],
    ) -> Result<()> {
        let records: Vec<_> = attempts.iter().map(to_record).collect();
        let spares = store.record(identity, releases, &records)?;
        for (attempt, spare) in attempts.iter().zip(spares) {
            if spare {
                self.registry.rename_to_spare(attempt.token);
            }
            self.registry.set_mirrored(attempt.token, Mirrored::Yes);
        }
        Ok(())
    }
}

fn to_record(attempt: &Attempt) -> Record {
    let text = record::write(&attempt.queue, &attempt.payload);
    Record { name: attempt.name.clone(), spare: attempt.spare.clone(), text }
}
