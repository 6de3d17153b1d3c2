//! The pipeline's round trip: release, record, pop.

use std::sync::Arc;

use redis::Cmd;

use super::{Store, now};
use crate::Bytes;
use crate::error::Result;
use crate::identity::Identity;
use crate::payload::FLAG;
use crate::scripts;

/// What one round trip of the pipeline asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Names of records to release.
    pub releases: &'a [Bytes],
    /// Attempts to record.
    pub records: &'a [Record],
    /// All queues that `orders` look at.
    pub queues: &'a [Bytes],
    /// One for each thread that waits for a job.
    pub orders: &'a [Order],
}

/// Where one waiting thread looks.
#[derive(Clone, Debug)]
pub struct Order {
    /// What makes the spare name of its record unique.
    pub suffix: Bytes,
    /// Positions in [`Wanted::queues`], first one first.
    pub positions: Vec<usize>,
}

/// What a round trip brought.
#[derive(Debug)]
pub struct Exchanged {
    /// Whether the releases were done.
    pub released: Result<()>,
    /// For each record whether it took its spare name.
    pub recorded: Result<Vec<bool>>,
    /// The jobs.
    pub fetched: Result<Vec<Popped>>,
}

/// A job that was popped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Popped {
    /// Position in [`Wanted::orders`].
    pub order: usize,
    /// Position in [`Wanted::queues`].
    pub queue: usize,
    /// The payload as it was in the queue.
    pub payload: Bytes,
    /// Name of the record, where one was made.
    pub name: Option<Bytes>,
}

/// An attempt to record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Wanted name.
    pub name: Bytes,
    /// Name to take where the wanted one is another holder's.
    pub spare: Bytes,
    /// Payload as it was in the queue.
    pub payload: Arc<[u8]>,
}

impl Store {
    /// Releases records, records attempts, pops jobs: all in one round trip, in this order. Releases are part of
    /// whichever script comes with them, since calling one costs Redis more than what it does.
    pub fn exchange(&mut self, identity: &Identity, wanted: &Wanted<'_>) -> Result<Exchanged> {
        let mut cmds = Vec::new();
        let mut releases = wanted.releases;
        if !wanted.records.is_empty() {
            cmds.push(self.track(identity, std::mem::take(&mut releases), wanted.records));
        }
        if !wanted.orders.is_empty() {
            cmds.push(self.fetch(identity, std::mem::take(&mut releases), wanted));
        }
        if !releases.is_empty() {
            cmds.push(self.release(&identity.id, identity.entry.as_bytes(), releases));
        }
        // A fetch must not be sent twice: what the first one popped, nobody would run.
        let replies = match wanted.orders {
            [] => self.tracking.run("track", &cmds)?,
            _ => self.tracking.run_once("fetch", &cmds)?,
        };
        let mut replies = replies.into_iter();
        let recorded = match wanted.records {
            [] => Ok(Vec::new()),
            _ => self
                .next::<Vec<i64>>("track", &mut replies)
                .map(|names| names.into_iter().map(|name| name == 2).collect()),
        };
        let fetched = match wanted.orders {
            [] => Ok(Vec::new()),
            _ => self.next::<Vec<(usize, usize, Bytes, Option<Bytes>)>>("fetch", &mut replies),
        };
        let first = self.first_queue(if wanted.records.is_empty() { wanted.releases.len() } else { 0 });
        let fetched: Result<Vec<Popped>> = fetched.map(|jobs| {
            let popped = |(order, at, payload, name): (usize, usize, Bytes, Option<Bytes>)| Popped {
                order: order - 1,
                queue: at - first,
                payload,
                name,
            };
            jobs.into_iter().map(popped).collect()
        });
        let released = if wanted.releases.is_empty() {
            Ok(())
        } else if !wanted.records.is_empty() {
            recorded.as_ref().map(drop).map_err(Clone::clone)
        } else if !wanted.orders.is_empty() {
            fetched.as_ref().map(drop).map_err(Clone::clone)
        } else {
            self.next::<i64>("release", &mut replies).map(drop)
        };
        Ok(Exchanged { released, recorded, fetched })
    }

    /// `entry` is the owner's registry entry, or empty for somebody who has put a dead instance's jobs back.
    pub(super) fn release(&self, id: &[u8], entry: &[u8], names: &[Bytes]) -> Cmd {
        let mut keys = vec![self.keys.jobs(id), self.keys.instances()];
        keys.extend(names.iter().map(|name| self.keys.job(name)));
        let mut args = vec![id, entry];
        args.extend(names.iter().map(Vec::as_slice));
        scripts::RELEASE.call(&keys, &args)
    }

    fn track(&self, identity: &Identity, releases: &[Bytes], records: &[Record]) -> Cmd {
        let (mut keys, mut args) = self.with_releases(identity, releases);
        for record in records {
            keys.extend([self.keys.job(&record.name), self.keys.job(&record.spare)]);
            args.extend([record.name.clone(), record.spare.clone(), record.payload.to_vec()]);
        }
        scripts::TRACK.call(&keys, &args)
    }

    fn fetch(&self, identity: &Identity, releases: &[Bytes], wanted: &Wanted<'_>) -> Cmd {
        let (mut keys, mut args) = self.with_releases(identity, releases);
        keys.push(self.keys.job_prefix());
        keys.extend(wanted.queues.iter().map(|queue| self.keys.queue(queue)));
        args.push(FLAG.into());
        let first = self.first_queue(releases.len());
        for Order { suffix, positions } in wanted.orders {
            let positions: Vec<_> = positions.iter().map(|at| (at + first).to_string()).collect();
            args.extend([suffix.clone(), positions.join(",").into_bytes()]);
        }
        scripts::FETCH.call(&keys, &args)
    }

    /// Where queues begin in the KEYS of `fetch.lua`, which count from 1.
    fn first_queue(&self, releases: usize) -> usize {
        releases + 4
    }

    /// The KEYS and ARGV with which `track.lua` and `fetch.lua` begin.
    fn with_releases(&self, identity: &Identity, names: &[Bytes]) -> (Vec<Bytes>, Vec<Bytes>) {
        let mut keys = vec![self.keys.jobs(&identity.id), self.keys.instances()];
        keys.extend(names.iter().map(|name| self.keys.job(name)));
        let count = names.len().to_string().into_bytes();
        let mut args = vec![identity.id.clone(), identity.entry.clone().into(), count];
        args.extend(names.iter().cloned());
        (keys, args)
    }

    /// Pops the job of a sorted set that has been due longest; the name is that of its record, where one was
    /// made.
    pub fn pop_due(
        &mut self,
        identity: &Identity,
        set: &[u8],
        suffix: &[u8],
    ) -> Result<Option<(Bytes, Option<Bytes>)>> {
        let id = &identity.id;
        let keys =
            [self.keys.jobs(id), self.keys.instances(), self.keys.job_prefix(), self.keys.sorted_set(set)];
        let now = now();
        let args: [&[u8]; 5] = [id, identity.entry.as_bytes(), FLAG.as_bytes(), suffix, &now];
        let replies = self.tracking.run_once("pop a due job", &[scripts::DUE.call(&keys, &args)])?;
        self.next("pop a due job", &mut replies.into_iter())
    }
}
