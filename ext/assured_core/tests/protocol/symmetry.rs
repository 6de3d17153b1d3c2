//! Instances are alike, and so are jobs: of all states that differ in their numbers only, one is checked.

use crate::process::{Process, Stage};
use crate::redis::{Bits, Redis};
use crate::world::{INSTANCES, World};

/// The state that stands for all of its kind. Where a tie is broken by chance, two may stand for one kind.
pub fn representative(world: &World) -> World {
    let world = if job(world, 1) < job(world, 0) { swap_jobs(world) } else { *world };
    let mut order = [0, 1, 2];
    order.sort_by_key(|i| instance(&world, *i));
    reorder(&world, order)
}

fn job(world: &World, job: usize) -> impl Ord + use<> {
    let half = |bits: Bits| bits >> (8 * job) & 255;
    let Redis { queue, retry, payloads, counted, .. } = &world.redis;
    (world.jobs[job], queue[job], retry[job], half(*payloads), half(*counted))
}

/// What can be said of an instance without the number of another.
fn instance(world: &World, i: usize) -> impl Ord + use<> {
    let bit = |bits: Bits| bits >> i & 1;
    let process = Process { suspects: 0, silences: 0, ripe: 0, dead: 0, ..world.processes[i] };
    let bits = (
        bit(world.redis.registry),
        bit(world.redis.verdicts),
        bit(world.redis.closed),
        bit(world.redis.stuck),
        bit(world.excused),
        world.lock == Some(i as u8),
    );
    (process, world.redis.sets[i], world.given[i], world.redis.beats[i], bits)
}

/// The names of the first job are the lower eight bits, those of the second the upper ones.
fn swap_jobs(world: &World) -> World {
    let swap = |bits: &mut Bits| *bits = bits.rotate_left(8);
    let mut world = *world;
    world.jobs.swap(0, 1);
    world.redis.queue.swap(0, 1);
    world.redis.retry.swap(0, 1);
    swap(&mut world.redis.payloads);
    swap(&mut world.redis.counted);
    world.redis.sets.iter_mut().for_each(swap);
    world.given.iter_mut().for_each(swap);
    for process in &mut world.processes {
        let names = [&mut process.releases, &mut process.sent, &mut process.strays, &mut process.settle];
        names.into_iter().for_each(swap);
        let attempts = process.attempts.iter_mut().chain([&mut process.arriving]);
        attempts.flatten().for_each(|attempt| attempt.name ^= 8);
        process.attempts.sort_unstable();
        match &mut process.stage {
            Stage::Names(names) | Stage::Doomed(names) | Stage::Removed(names) => swap(names),
            Stage::Payloads(there, gone) => {
                swap(there);
                swap(gone);
            }
            Stage::Idle | Stage::Verdict | Stage::Through => {}
        }
    }
    world
}

/// `order[new]` is the old number.
fn reorder(world: &World, order: [usize; INSTANCES]) -> World {
    let bits = |old: Bits| (0..INSTANCES).fold(0, |all, new| all | (old >> order[new] & 1) << new);
    let mut next = *world;
    for (new, &old) in order.iter().enumerate() {
        next.redis.sets[new] = world.redis.sets[old];
        next.redis.beats[new] = world.redis.beats[old];
        next.given[new] = world.given[old];
        next.processes[new] = world.processes[old];
        next.processes[new].dead = bits(world.processes[old].dead);
        next.processes[new].suspects = bits(world.processes[old].suspects);
        next.processes[new].silences = bits(world.processes[old].silences);
        next.processes[new].ripe = bits(world.processes[old].ripe);
    }
    next.redis.verdicts = bits(world.redis.verdicts);
    next.redis.registry = bits(world.redis.registry);
    next.redis.closed = bits(world.redis.closed);
    next.redis.stuck = bits(world.redis.stuck);
    next.lock =
        world.lock.map(|i| order.iter().position(|old| *old == usize::from(i)).expect("one of them") as u8);
    next.excused = bits(world.excused);
    next
}
