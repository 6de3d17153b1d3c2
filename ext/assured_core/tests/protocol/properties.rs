//! What must hold in each state. The promises are those of docs/architecture.md.

use stateright::Property;

use crate::process::Status;
use crate::redis::{NAMES, Redis};
use crate::steps::Protocol;
use crate::world::{Broken, INSTANCES, JOBS, TTL, World};

type Check = (&'static str, fn(&Protocol, &World) -> bool);

/// A job that is not done is in its queue, in the retry or the Dead set, or recorded together with its payload.
const NO_LOSS: Check = ("no loss", |_, world| {
    let Redis { queue, retry, .. } = &world.redis;
    let kept = |job: usize| queue[job] != [0; 2] || retry[job] != [0; 2] || world.redis.records(job);
    (0..JOBS).all(|job| world.jobs[job].done || world.jobs[job].dead || kept(job))
});

/// It runs once, and once more for each crash or lost lease of an owner, each end without acknowledgement, each retry and
/// each give-back.
const BOUNDED_DUPLICATION: Check =
    ("bounded duplication", |_, world| world.jobs.iter().all(|job| job.runs <= 1 + job.reasons));

/// Where no run ends without the end of its job, a job runs once and is recovered once. It does not die before that.
const POISON_BOUND: Check = ("poison bound", |protocol, world| {
    !protocol.poison || world.jobs.iter().all(|job| job.runs <= 2 && (!job.dead || job.reasons >= 2))
});

/// Nobody is declared dead who could beat.
const RIGHT_VERDICTS: Check = ("right verdicts", |_, world| world.broken != Some(Broken::Verdict));

/// The end of an attempt changes nothing of another one.
const FENCING: Check = ("fencing", |_, world| world.broken != Some(Broken::Fence));

/// Nobody records once more what was given to others.
const NOTHING_ANEW: Check = ("nothing anew", |_, world| world.broken != Some(Broken::Anew));

/// While one process lives and may judge, a dead instance is dealt with within the TTL and one interval.
const BOUNDED_RECOVERY: Check = ("bounded recovery", |_, world| world.overdue <= TTL + 1);

/// No record without payload, no payload without record, no record of an instance that no sweep finds.
const NOTHING_LEFT_OVER: Check = ("nothing left over", |_, world| {
    let sets = world.redis.sets.iter().fold(0, |all, set| all | set);
    let found = (0..INSTANCES).all(|i| world.redis.sets[i] == 0 || world.redis.registry & (1 << i) != 0);
    found && sets == world.redis.payloads
});

/// Both a crash and a pause were got over, nothing is in flight any more, and the keys are gone but for those of
/// the living.
const ALL_IS_WELL: Check = ("all is well in the end", |protocol, world| {
    let redis = &world.redis;
    let spent = world.faults == Default::default() && protocol.faults != Default::default();
    let over = world.processes.iter().all(|p| p.attempts == [None; 2] && p.status != Status::Paused);
    let empty = redis.queue == [[0; 2]; JOBS] && redis.retry == [[0; 2]; JOBS] && redis.payloads == 0;
    spent && over && empty && !world.unburied() && world.jobs.iter().all(|job| job.done || job.dead)
});

/// A job was recovered from an instance that still runs it.
const A_ZOMBIE: Check = ("a zombie runs a job that somebody else has", |protocol, world| {
    let runs = |i: usize| world.processes[i].attempts.iter().flatten().map(|a| a.name / NAMES);
    protocol.faults.pauses == 0
        || (0..INSTANCES).any(|i| (0..i).any(|k| runs(i).any(|job| runs(k).any(|other| job == other))))
});

/// A recovery began before two looks could find that the heartbeat is gone.
const A_FAST_VERDICT: Check = ("a fast verdict", |protocol, world| {
    !protocol.fast || world.processes.iter().any(|judge| judge.dead & !judge.suspects != 0)
});

/// A job has run as often as it may.
const A_DEATH: Check =
    ("a job dies", |protocol, world| !protocol.poison || world.jobs.iter().any(|job| job.dead && !job.done));

/// All properties: what always holds, and what shows that the model gets anywhere.
pub fn all() -> Vec<Property<Protocol>> {
    let always = [
        NO_LOSS,
        BOUNDED_DUPLICATION,
        POISON_BOUND,
        RIGHT_VERDICTS,
        FENCING,
        NOTHING_ANEW,
        BOUNDED_RECOVERY,
        NOTHING_LEFT_OVER,
    ];
    let sometimes = [ALL_IS_WELL, A_ZOMBIE, A_FAST_VERDICT, A_DEATH];
    let always = always.map(|(name, check)| Property::always(name, check));
    always.into_iter().chain(sometimes.map(|(name, check)| Property::sometimes(name, check))).collect()
}
