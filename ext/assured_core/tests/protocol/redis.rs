//! What is in Redis, and each script as one atomic step on it.

use crate::mistakes::Mistake;
use crate::world::{INSTANCES, JOBS, TTL};

/// Name of a record: the jid itself, or one of its spare names. `name / NAMES` is the job.
pub type Name = u8;
/// Names that a jid can have at once: its own, and enough spare ones for all bounds used here.
pub const NAMES: u8 = 8;
/// A set of names, or of instances.
pub type Bits = u16;

pub fn job_of(name: Name) -> usize {
    usize::from(name / NAMES)
}

pub fn each(bits: Bits) -> impl Iterator<Item = u8> {
    (0..16).filter(move |bit| bits & (1 << bit) != 0)
}

/// The key space. A payload is no more than a copy of its job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Redis {
    /// `queue:<q>`: copies of each job, without and with a count of recoveries. Their order is left open.
    pub queue: [[u8; 2]; JOBS],
    /// `retry`: copies of each job, without and with a count. A retry that Sidekiq has stored has none.
    pub retry: [[u8; 2]; JOBS],
    /// `jobs:<id>`
    pub sets: [Bits; INSTANCES],
    /// `job:<name>`
    pub payloads: Bits,
    /// Those of them that carry a count of recoveries.
    pub counted: Bits,
    /// `beats`: ticks until the last one has stood there for a TTL, or a verdict has fallen.
    pub beats: [u8; INSTANCES],
    /// `instance:<id>`, as far as it outlives that: the clock of the server was set back.
    pub stuck: Bits,
    /// `instance:<id>` is evicted again and again.
    pub evicts: bool,
    /// `verdict:<id>`
    pub verdicts: Bits,
    /// `instances`
    pub registry: Bits,
    /// `connections`, as far as the connection that stands there is closed.
    pub closed: Bits,
}

impl Redis {
    /// `lua/fetch.lua` and `lua/due.lua`, once a job is popped: `lua/record.lua`. `spare` is a name that nobody
    /// uses.
    pub fn record(
        &mut self,
        i: usize,
        job: usize,
        counted: bool,
        spare: Name,
        mistake: Option<Mistake>,
    ) -> Name {
        self.registry |= 1 << i;
        let wanted = job as u8 * NAMES;
        let taken = self.payloads & (1 << wanted) != 0 && mistake != Some(Mistake::SharedPayload);
        let name = if taken { spare } else { wanted };
        self.write(i, name, counted);
        name
    }

    fn write(&mut self, i: usize, name: Name, counted: bool) {
        self.payloads |= 1 << name;
        self.counted = self.counted & !(1 << name) | Bits::from(counted) << name;
        self.sets[i] |= 1 << name;
    }

    fn delete(&mut self, names: Bits) {
        self.payloads &= !names;
        self.counted &= !names;
    }

    /// `lua/track.lua`, as a heartbeat uses it to record an attempt anew.
    pub fn track(&mut self, i: usize, name: Name, counted: bool, spare: Name) -> Name {
        self.registry |= 1 << i;
        let ours = self.sets[i] & (1 << name) != 0;
        let name = if self.payloads & (1 << name) == 0 || ours { name } else { spare };
        self.write(i, name, counted);
        name
    }

    /// `lua/release.lua`, and the release part of the others: `lua/drop.lua`.
    pub fn release(&mut self, i: usize, names: Bits, mistake: Option<Mistake>) {
        let ours = self.sets[i] & names;
        self.sets[i] &= !names;
        self.delete(if mistake == Some(Mistake::ReleaseUnchecked) { names } else { ours });
    }

    /// `lua/requeue.lua` by the instance itself; says which of the names were still its own.
    pub fn give_back(&mut self, i: usize, names: Bits) -> Bits {
        let counted = self.counted;
        let ours = self.take(i, names);
        self.push(ours, counted);
        ours
    }

    /// `lua/retry.lua`; says which of the names were still the instance's own.
    pub fn put_off(&mut self, i: usize, name: Name, counts: bool) -> Bits {
        let counted = counts || self.counted & (1 << name) != 0;
        let ours = self.take(i, 1 << name);
        if ours != 0 {
            self.retry[job_of(name)][usize::from(counted)] += 1;
        }
        ours
    }

    /// `lua/requeue.lua` by a judge. Nothing where the instance beats.
    pub fn requeue(&mut self, of: usize, names: Bits, counted: Bits) -> Option<Bits> {
        let moved = self.kill(of, names)?;
        self.push(moved, counted);
        Some(moved)
    }

    /// `lua/kill.lua`, but for the Dead set, and the end that all recoveries have: `lua/leave_verdict.lua`.
    pub fn kill(&mut self, of: usize, names: Bits) -> Option<Bits> {
        if self.beats[of] > 0 {
            return None;
        }
        let moved = self.take(of, names);
        if moved != 0 {
            self.verdicts |= 1 << of;
        }
        Some(moved)
    }

    /// The first half of a requeue that is not atomic.
    pub fn take(&mut self, i: usize, names: Bits) -> Bits {
        let ours = self.sets[i] & names;
        self.sets[i] &= !ours;
        self.delete(ours);
        ours
    }

    /// The second half.
    pub fn push(&mut self, names: Bits, counted: Bits) {
        for name in each(names) {
            self.queue[job_of(name)][usize::from(counted >> name & 1)] += 1;
        }
    }

    /// `lua/forget.lua`
    pub fn forget(&mut self, of: usize, names: Bits) {
        self.sets[of] &= !(names & !self.payloads);
    }

    /// `lua/beat.lua`; says whether there is a verdict.
    pub fn beat(&mut self, i: usize) -> bool {
        self.registry |= 1 << i;
        self.beats[i] = TTL;
        self.stuck &= !(1 << i);
        self.closed &= !(1 << i);
        self.verdicts & (1 << i) != 0
    }

    /// `lua/expire.lua`, where nothing has changed.
    pub fn condemn(&mut self, of: usize) {
        self.beats[of] = 0;
        self.closed &= !(1 << of);
    }

    /// `lua/retire.lua`, by the instance itself or, after its death, by a sweep.
    pub fn retire(&mut self, i: usize, itself: bool) {
        if itself {
            self.beats[i] = 0;
        } else if self.beats[i] > 0 {
            return;
        }
        self.closed &= !(1 << i);
        if self.sets[i] == 0 {
            self.registry &= !(1 << i);
        }
    }

    /// Whether a sweep finds a record of this job with its payload.
    pub fn records(&self, job: usize) -> bool {
        let held = self.sets.iter().fold(0, |all, set| all | set);
        each(held & self.payloads).any(|name| job_of(name) == job)
    }
}
