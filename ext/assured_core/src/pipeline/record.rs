//! One round trip of ops: releases, and the tracks of all threads that wait at the moment.

use std::collections::VecDeque;
use std::sync::Arc;

use super::serve::Work;
use super::{BUDGET, Op, Pipeline};
use crate::Bytes;
use crate::error::Result;
use crate::identity::Identity;
use crate::registry::{Attempt, Mirrored};
use crate::store::{Record, Store};

impl Pipeline {
    /// One round trip for the releases and for the tracks at the front. After an error all tracks are there again, in
    /// their order.
    pub(super) fn exchange(&self, store: &mut Store, identity: &Identity, work: &mut Work) -> Result<()> {
        let releases = std::mem::take(&mut work.releases);
        let attempts = self.next_attempts(&mut work.ops);
        match self.record(store, identity, &releases, &attempts) {
            Ok(()) => {
                attempts.iter().for_each(|attempt| attempt.recorded.answer(()));
                Ok(())
            }
            Err(error) => {
                let again = attempts.iter().rev().map(|attempt| Op::Track(attempt.token));
                again.for_each(|op| work.ops.push_front(op));
                self.release_carefully(releases);
                Err(error)
            }
        }
    }

    /// Releases records once more after a round trip that failed. It may have been executed, and a fetch may have
    /// recorded another job under the same name since.
    pub(super) fn release_carefully(&self, names: Vec<Bytes>) {
        if !names.is_empty() {
            self.put(Op::Strays(names));
        }
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

    /// Sends releases and attempts, and notes what Redis knows now.
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
        self.registry.free(releases);
        Ok(())
    }
}

fn to_record(attempt: &Attempt) -> Record {
    Record { name: attempt.name.clone(), spare: attempt.spare.clone(), payload: Arc::clone(&attempt.payload) }
}
