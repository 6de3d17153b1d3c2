//! The pipeline's two round trips: release and record, release and pop. Releases are part of whichever script
//! comes with them, since calling one costs Redis more than what it does.

use std::collections::BTreeMap;
use std::sync::Arc;

use redis::Cmd;

use super::link::parse;
use super::{Store, cmd, now};
use crate::Bytes;
use crate::error::Result;
use crate::identity::Identity;
use crate::payload::FLAG;
use crate::scripts;

/// Where one waiting thread looks.
#[derive(Clone, Debug)]
pub struct Order {
    /// What makes the spare name of its record unique.
    pub suffix: Bytes,
    /// Positions in the queues, first one first.
    pub positions: Vec<usize>,
}

/// A job that was popped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Popped {
    /// Position in the orders.
    pub order: usize,
    /// Position in the queues.
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
    /// As [`crate::record::write`] makes it.
    pub text: Bytes,
}

impl Store {
    /// Releases records, then records attempts: for each one whether it took its spare name.
    pub fn record(
        &mut self,
        identity: &Identity,
        releases: &[Bytes],
        records: &[Record],
    ) -> Result<Vec<bool>> {
        if records.is_empty() {
            if !releases.is_empty() {
                let release = self.release_command(&identity.id, identity.entry.as_bytes(), releases);
                // Not sent twice: a fetch on another connection may take a name meanwhile.
                parse::<i64>("release", self.tracking.run_once("release", release)?)?;
            }
            return Ok(Vec::new());
        }
        let (mut keys, mut args) = self.with_releases(identity, releases);
        for record in records {
            keys.extend([self.keys.job(&record.name), self.keys.job(&record.spare)]);
            args.extend([record.name.clone(), record.spare.clone(), record.text.clone()]);
        }
        let names: Vec<i64> = self.one("track", scripts::TRACK.call(&keys, &args))?;
        Ok(names.into_iter().map(|name| name == 2).collect())
    }

    /// Releases records, then pops a job for each of `orders`, as far as there are any.
    pub fn fetch(
        &mut self,
        identity: &Identity,
        releases: &[Bytes],
        queues: &[Bytes],
        orders: &[Order],
    ) -> Result<Vec<Popped>> {
        let (mut keys, mut args) = self.with_releases(identity, releases);
        keys.extend([self.keys.assured_classes(), self.keys.job_prefix()]);
        // Where queues begin: KEYS count from 1.
        let first = keys.len() + 1;
        keys.extend(queues.iter().map(|queue| self.keys.queue(queue)));
        args.extend([FLAG.into(), self.keys.queue(b"").len().to_string().into_bytes()]);
        for Order { suffix, positions } in orders {
            let positions: Vec<_> = positions.iter().map(|at| (at + first).to_string()).collect();
            args.extend([suffix.clone(), positions.join(",").into_bytes()]);
        }
        // It must not be sent twice: what the first one popped, nobody would run.
        let reply = self.tracking.run_once("fetch", scripts::FETCH.call(&keys, &args))?;
        let jobs: Vec<(usize, usize, Bytes, Option<Bytes>)> = parse("fetch", reply)?;
        let popped =
            |(order, at, payload, name)| Popped { order: order - 1, queue: at - first, payload, name };
        Ok(jobs.into_iter().map(popped).collect())
    }

    /// How many assured classes Redis knows.
    pub fn assured_classes(&mut self) -> Result<u64> {
        self.one("look for classes", cmd("HLEN", [&self.keys.assured_classes()]))
    }

    /// Adds names of assured classes, and how often their jobs may be recovered, where a class says so.
    pub fn add_assured_classes(&mut self, limits: &BTreeMap<Bytes, Option<u64>>) -> Result<()> {
        let limit = |limit: Option<u64>| limit.map(|limit| limit.to_string()).unwrap_or_default();
        let args: Vec<Bytes> =
            limits.iter().flat_map(|(name, most)| [name.clone(), limit(*most).into()]).collect();
        let add = scripts::ANNOUNCE.call(&[self.keys.assured_classes()], &args);
        self.one::<redis::Value>("add classes", add).map(drop)
    }

    /// How often the jobs of these classes may be recovered, where their class says so.
    pub fn limits_of(&mut self, names: &[String]) -> Result<Vec<Option<u64>>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let mut ask = cmd("HMGET", [&self.keys.assured_classes()]);
        ask.arg(names);
        let limits: Vec<Option<String>> = self.one("look for classes", ask)?;
        Ok(limits.into_iter().map(|limit| limit?.parse().ok()).collect())
    }

    /// `entry` is the owner's registry entry, or empty for somebody who has put a dead instance's jobs back.
    pub(super) fn release_command(&self, id: &[u8], entry: &[u8], names: &[Bytes]) -> Cmd {
        let mut keys = vec![self.keys.jobs(id), self.keys.instances()];
        keys.extend(names.iter().map(|name| self.keys.job(name)));
        let mut args = vec![id, entry];
        args.extend(names.iter().map(Vec::as_slice));
        scripts::RELEASE.call(&keys, &args)
    }

    /// Releases records that still hold these payloads. It may be sent twice.
    pub fn release_if_unchanged(
        &mut self,
        identity: &Identity,
        records: &[(Bytes, Arc<[u8]>)],
    ) -> Result<()> {
        let mut keys = vec![self.keys.jobs(&identity.id), self.keys.instances()];
        let mut args = vec![identity.id.clone(), identity.entry.clone().into()];
        for (name, payload) in records {
            keys.push(self.keys.job(name));
            args.extend([name.clone(), payload.to_vec()]);
        }
        self.one::<i64>("release", scripts::RELEASE_IF_UNCHANGED.call(&keys, &args)).map(drop)
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
        let keys = [
            self.keys.jobs(id),
            self.keys.instances(),
            self.keys.assured_classes(),
            self.keys.job_prefix(),
            self.keys.sorted_set(set),
        ];
        let now = now();
        let args: [&[u8]; 5] = [id, identity.entry.as_bytes(), FLAG.as_bytes(), suffix, &now];
        parse("pop a due job", self.tracking.run_once("pop a due job", scripts::DUE.call(&keys, &args))?)
    }
}
