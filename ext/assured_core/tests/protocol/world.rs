//! All that there is: Redis, the processes, and what happened so far as far as a property asks for it.

use crate::mistakes::Mistake;
use crate::process::{Process, Status};
use crate::redis::{Bits, NAMES, Name, Redis, each, job_of};

pub const INSTANCES: usize = 3;
pub const JOBS: usize = 2;

/// `heartbeat_ttl` in ticks. A tick is `heartbeat_interval`, and also the time between two looks.
pub const TTL: u8 = 2;

/// What is still going to happen, at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Faults {
    /// SIGKILLs.
    pub crashes: u8,
    /// SIGSTOPs of any length.
    pub pauses: u8,
    /// Times of any length in which Redis is away.
    pub outages: u8,
    /// Commands that are executed and not answered.
    pub lost_replies: u8,
    /// Clean exits.
    pub exits: u8,
    /// Runs that end without acknowledgement while their process lives.
    pub ends: u8,
    /// Jobs that raise, and are stored for a retry.
    pub failures: u8,
    /// Connections of heartbeats that are closed although their process lives.
    pub cuts: u8,
    /// Verdicts of which nothing is left when their instance goes on.
    pub forgets: u8,
    /// Times from which on heartbeats are evicted as soon as they are written.
    pub evictions: u8,
    /// Steps back of the server's clock.
    pub steps: u8,
}

/// What must never happen, and shows in a step and not in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Broken {
    /// Somebody was declared dead who was able to beat all the time.
    Verdict,
    /// The end of one attempt took the record of another.
    Fence,
    /// An attempt was recorded once more whose job was given to others.
    Anew,
}

/// What became of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fate {
    pub runs: u8,
    /// Runs beyond the first that have a reason: a crash or a lost lease of the owner, an end without acknowledgement, a
    /// retry, a give-back.
    pub reasons: u8,
    pub done: bool,
    /// It lies in the Dead set.
    pub dead: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct World {
    pub redis: Redis,
    pub processes: [Process; INSTANCES],
    pub jobs: [Fate; JOBS],
    pub faults: Faults,
    /// `recovery_lock`: its holder. In a fine-grained model nobody asks for it.
    pub lock: Option<u8>,
    /// Redis is away.
    pub away: bool,
    /// Redis is back, and not everybody may have noticed: connections time out, back-off.
    pub just_back: bool,
    /// Instances that could not beat for a TTL, or for a grace with a closed connection.
    pub excused: Bits,
    /// Ticks since the last fault in which a dead instance had not been dealt with, while somebody could judge.
    pub overdue: u8,
    pub broken: Option<Broken>,
    /// Names of records of each instance that others have recovered, until it has a new one of that name.
    pub given: [Bits; INSTANCES],
}

impl World {
    /// Jobs are queued, and everybody beats.
    pub fn new(jobs: usize, instances: usize, faults: Faults) -> Self {
        let mut world = Self { faults, ..Self::default() };
        for job in 0..JOBS {
            world.redis.queue[job][0] = u8::from(job < jobs);
            world.jobs[job].done = job >= jobs;
        }
        for i in 0..INSTANCES {
            match i < instances {
                true => drop(world.redis.beat(i)),
                false => world.processes[i].status = Status::Retired,
            }
        }
        world
    }

    /// A name that nobody uses. Real ones contain the nonce of the process and a serial number.
    pub fn spare(&self, job: usize) -> Name {
        let processes = self.processes.iter().fold(0, |all, process| all | process.mentioned());
        let used = self.redis.sets.iter().fold(self.redis.payloads | processes, |all, set| all | set);
        let first = job as u8 * NAMES;
        (first + 1..first + NAMES).find(|name| used & (1 << name) == 0).expect("bounds that need fewer names")
    }

    pub fn up(&self, i: usize) -> bool {
        self.processes[i].status == Status::Up
    }

    /// `Watch::look`: who is registered and has shown nothing new for a TTL. Nobody asks about himself.
    pub fn without_news(&self, but: usize, mistake: Option<Mistake>) -> Bits {
        let Redis { beats, stuck, evicts, .. } = &self.redis;
        let silent = |i: u8| match mistake {
            Some(Mistake::KeyAlone) => *evicts || beats[usize::from(i)] == 0,
            Some(Mistake::KeyNeeded) => stuck & (1 << i) == 0 && beats[usize::from(i)] == 0,
            _ => beats[usize::from(i)] == 0,
        };
        each(self.redis.registry)
            .filter(|i| usize::from(*i) != but && silent(*i))
            .fold(0, |all, i| all | 1 << i)
    }

    /// `Store::look_at_connections`: whose heartbeat is there and whose connection is closed. Who is not among those
    /// shown himself sees nothing.
    pub fn silent(&self, but: usize) -> Bits {
        let Redis { closed, beats, .. } = &self.redis;
        if closed & (1 << but) != 0 {
            return 0;
        }
        each(*closed).filter(|i| beats[usize::from(*i)] > 0).fold(0, |all, i| all | 1 << i)
    }

    /// A change of its heartbeat or its connection ends what was seen of it: `lua/expire.lua` compares.
    pub fn show_change(&mut self, of: usize, mistake: Option<Mistake>) {
        if mistake != Some(Mistake::CondemnUnchecked) {
            for process in &mut self.processes {
                process.silences &= !(1 << of);
                process.ripe &= !(1 << of);
            }
        }
    }

    /// Instances that will never do anything again and are not dealt with.
    pub fn unburied(&self) -> bool {
        (0..INSTANCES).any(|i| {
            let gone = matches!(self.processes[i].status, Status::Crashed | Status::Retired);
            gone && (self.redis.registry & (1 << i) != 0 || self.redis.sets[i] != 0)
        })
    }

    /// Gives a reason for one more run of each of these records' jobs.
    pub fn excuse(&mut self, names: Bits) {
        each(names).for_each(|name| self.jobs[job_of(name)].reasons += 1);
    }

    /// A fault: whatever was overdue has a new term.
    pub fn disturb(&mut self) {
        self.overdue = 0;
    }
}
