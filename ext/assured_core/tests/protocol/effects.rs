//! What an action does.

use crate::mistakes::Mistake;
use crate::process::{Attempt, Mirrored, Process, Stage, Status};
use crate::redis::{Bits, each, job_of};
use crate::steps::{Action, Protocol};
use crate::world::{Broken, INSTANCES, TTL, World};

impl Protocol {
    pub fn perform(&self, world: &mut World, action: Action) {
        match action {
            Action::Tick => self.tick(world),
            Action::Fetch(i, job, counted) => {
                self.release(world, i, world.processes[i].releases);
                world.redis.queue[job][usize::from(counted)] -= 1;
                world.processes[i].sent = std::mem::take(&mut world.processes[i].releases);
                self.pop(world, i, job, counted, false);
            }
            Action::PopDue(i, job, counted) => {
                world.redis.retry[job][usize::from(counted)] -= 1;
                self.pop(world, i, job, counted, true);
            }
            Action::Arrive(i) => self.arrive(world, i),
            Action::NeverArrive(i) => {
                world.faults.lost_replies -= 1;
                let process = &mut world.processes[i];
                process.arriving = None;
                // What was released may be recorded again by now: it is looked after before it is released again.
                process.settle |= std::mem::take(&mut process.sent);
            }
            Action::Finish(i, thread) => {
                let name = attempt(world, i, thread).name;
                world.jobs[job_of(name)].done = true;
                world.processes[i].end(thread);
            }
            Action::Fail(i, thread) => {
                let name = attempt(world, i, thread).name;
                world.faults.failures -= 1;
                world.jobs[job_of(name)].reasons += 1;
                world.redis.retry[job_of(name)][0] += 1;
                world.processes[i].end(thread);
            }
            Action::End(i, thread) => {
                world.faults.ends -= 1;
                let ended = Attempt { ended: true, ..attempt(world, i, thread) };
                world.processes[i].attempts[thread] = Some(ended);
                world.processes[i].attempts.sort_unstable();
            }
            Action::PutOff(i, thread) => {
                self.put_off(world, i, thread);
                world.processes[i].give_up(thread);
            }
            Action::PutOffUnanswered(i, thread) => {
                world.faults.lost_replies -= 1;
                self.put_off(world, i, thread);
                let sent = Attempt { again: true, ..attempt(world, i, thread) };
                world.processes[i].attempts[thread] = Some(sent);
                world.processes[i].attempts.sort_unstable();
            }
            Action::Release(i) => {
                let names = std::mem::take(&mut world.processes[i].releases);
                self.release(world, i, names);
            }
            Action::ReleaseUnanswered(i) => {
                world.faults.lost_replies -= 1;
                self.release(world, i, world.processes[i].releases);
            }
            Action::Enqueue(i, thread) => {
                self.put_back(world, i, thread);
                world.processes[i].give_up(thread);
            }
            Action::EnqueueUnanswered(i, thread) => {
                world.faults.lost_replies -= 1;
                self.put_back(world, i, thread);
                let sent = Attempt { again: true, ..attempt(world, i, thread) };
                world.processes[i].attempts[thread] = Some(sent);
                world.processes[i].attempts.sort_unstable();
            }
            Action::GiveBack(i, thread) => {
                if attempt(world, i, thread).mirrored == Mirrored::Yes {
                    let moved = self.put_back(world, i, thread);
                    world.excuse(moved);
                }
                world.processes[i].give_up(thread);
            }
            Action::Track(i, thread) => {
                let Attempt { name, counted, .. } = attempt(world, i, thread);
                let spare = world.spare(job_of(name));
                let name = world.redis.track(i, name, counted, spare);
                world.given[i] &= !(1 << name);
                let recorded = Attempt { name, mirrored: Mirrored::Yes, ..attempt(world, i, thread) };
                world.processes[i].attempts[thread] = Some(recorded);
                world.processes[i].attempts.sort_unstable();
            }
            Action::Settle(i) => {
                let strays = std::mem::take(&mut world.processes[i].settle) & !world.processes[i].known();
                world.redis.give_back(i, strays);
            }
            Action::Beat(i) => self.beat(world, i),
            Action::Recover(i) => self.recover(world, i),
            Action::RecoverUnanswered(i) => {
                world.faults.lost_replies -= 1;
                let stage = world.processes[i].stage;
                self.recover(world, i);
                world.processes[i].stage = stage;
            }
            Action::Look(i) => world.processes[i].silences |= world.silent(i),
            Action::Condemn(i) => self.condemn(world, i),
            Action::Drain(i) => {
                world.faults.exits -= 1;
                world.processes[i].draining = true;
            }
            Action::Retire(i) => {
                world.redis.retire(i, true);
                world.show_change(i, self.mistake);
                world.processes[i] = Process { status: Status::Retired, ..Process::default() };
                world.given[i] = 0;
                world.disturb();
            }
            Action::Crash(i) => {
                world.faults.crashes -= 1;
                world.excuse(world.redis.sets[i]);
                world.processes[i] = Process { status: Status::Crashed, ..Process::default() };
                world.given[i] = 0;
                world.excused |= 1 << i;
                self.close(world, i);
                world.disturb();
            }
            Action::Cut(i) => {
                world.faults.cuts -= 1;
                world.processes[i].disturb();
                self.close(world, i);
                world.disturb();
            }
            Action::Pause(i) => {
                world.faults.pauses -= 1;
                world.processes[i].status = Status::Paused;
                world.disturb();
            }
            Action::Resume(i) => {
                world.processes[i].status = Status::Up;
                world.disturb();
            }
            Action::Forget(i) => {
                world.faults.forgets -= 1;
                world.redis.verdicts &= !(1 << i);
            }
            Action::Evict => {
                world.faults.evictions -= 1;
                world.redis.evicts = true;
                world.disturb();
            }
            Action::StepBack => {
                world.faults.steps -= 1;
                world.redis.stuck = world.redis.registry;
                world.disturb();
            }
            Action::RedisAway => {
                world.faults.outages -= 1;
                world.away = true;
                world.processes.iter_mut().for_each(Process::disturb);
            }
            Action::RedisBack => {
                world.away = false;
                world.just_back = true;
                world.disturb();
            }
        }
    }

    fn tick(&self, world: &mut World) {
        for i in 0..INSTANCES {
            world.redis.beats[i] = world.redis.beats[i].saturating_sub(1);
            let process = &mut world.processes[i];
            if matches!(process.status, Status::Up | Status::Paused) {
                process.tick();
            }
            let mute = world.redis.beats[i] == 0 || world.redis.closed & (1 << i) != 0;
            if process.status == Status::Paused && mute {
                world.excused |= 1 << i;
            }
            if world.redis.beats[i] == 0 {
                world.show_change(i, None);
            }
        }
        if world.away {
            return;
        }
        let late = std::mem::take(&mut world.just_back);
        for i in 0..INSTANCES {
            // Who has not noticed yet that Redis is back takes one tick more.
            let stuck = late && world.processes[i].silent > 1;
            if world.up(i) && !stuck && !self.mute(&world.processes[i]) {
                self.beat(world, i);
            }
        }
        for i in 0..INSTANCES {
            world.processes[i].ripe = world.processes[i].silences;
            if world.up(i) {
                self.look(world, i);
            }
        }
        let somebody = (0..INSTANCES).any(|i| world.up(i) && world.processes[i].steady());
        world.overdue = if somebody && world.unburied() { (world.overdue + 1).min(TTL + 2) } else { 0 };
    }

    fn look(&self, world: &mut World, i: usize) {
        let silent = world.without_news(i, self.mistake);
        let process = &mut world.processes[i];
        process.look(silent, self.mistake);
        let dead = process.dead;
        if self.mistake == Some(Mistake::KeyAlone) {
            each(dead).for_each(|of| world.redis.condemn(usize::from(of)));
        }
        if dead != 0 {
            self.begin_recovery(world, i);
        }
    }

    fn condemn(&self, world: &mut World, i: usize) {
        let of = each(world.processes[i].ripe).next().expect("enabled");
        world.redis.condemn(usize::from(of));
        world.show_change(usize::from(of), None);
        world.processes[i].dead |= 1 << of;
        self.begin_recovery(world, i);
    }

    fn begin_recovery(&self, world: &mut World, i: usize) {
        let process = &mut world.processes[i];
        if self.fine || world.lock.is_none_or(|holder| world.redis.beats[usize::from(holder)] == 0) {
            process.stage = Stage::Verdict;
            world.lock = if self.fine { None } else { Some(i as u8) };
        } else {
            process.dead = 0;
        }
    }

    fn close(&self, world: &mut World, i: usize) {
        if self.fast && world.redis.beats[i] > 0 {
            world.redis.closed |= 1 << i;
        }
    }

    fn beat(&self, world: &mut World, i: usize) {
        let reconnects = world.redis.closed & (1 << i) != 0;
        let verdict = world.redis.beat(i);
        world.show_change(i, self.mistake);
        let (records, payloads) = (world.redis.sets[i], world.redis.payloads);
        let process = &mut world.processes[i];
        // The middleware's records can be lost without their jobs: what makes way for a fetch then is looked at, too.
        let forgetful = [Some(Mistake::Forgetful), Some(Mistake::NoSpareName)].contains(&self.mistake);
        let judged = verdict || process.was_silent() && !forgetful;
        let (mut anew, given) = (false, world.given[i]);
        process.beat();
        if reconnects {
            process.connect();
        }
        for attempt in process.attempts.iter_mut().flatten() {
            let there = records & payloads & (1 << attempt.name) != 0;
            if attempt.mirrored == Mirrored::Yes && !there {
                attempt.mirrored = if judged || attempt.doubtful { Mirrored::Lost } else { Mirrored::Not };
                anew |= attempt.mirrored == Mirrored::Not && given & (1 << attempt.name) != 0;
            }
            attempt.doubtful = false;
        }
        if let Some(arriving) = process.arriving.as_mut().filter(|_| self.mistake != Some(Mistake::NoDoubt)) {
            arriving.doubtful |= judged;
        }
        process.attempts.sort_unstable();
        let unknown = records & !process.known();
        process.settle |= unknown & process.strays;
        process.strays = unknown;
        world.redis.verdicts &= !(1 << i);
        if anew {
            world.broken = Some(Broken::Anew);
        }
    }

    fn pop(&self, world: &mut World, i: usize, job: usize, counted: bool, due: bool) {
        let spare = world.spare(job);
        let name = world.redis.record(i, job, counted, spare, self.mistake);
        world.given[i] &= !(1 << name);
        let popped = Attempt {
            name,
            mirrored: Mirrored::Yes,
            due,
            again: false,
            ended: false,
            counted,
            doubtful: false,
        };
        world.processes[i].arriving = Some(popped);
        if !self.fine {
            self.arrive(world, i);
        }
    }

    fn arrive(&self, world: &mut World, i: usize) {
        let popped = world.processes[i].arriving.take().expect("enabled");
        let job = job_of(popped.name);
        world.processes[i].sent = 0;
        let spare = world.spare(job);
        world.processes[i].admit(popped, spare, self.mistake);
        world.jobs[job].runs += u8::from(!popped.due);
    }

    fn release(&self, world: &mut World, i: usize, names: Bits) {
        let before = world.redis;
        world.redis.release(i, names, self.mistake);
        let removed = (before.sets[i] & !world.redis.sets[i]) | (before.payloads & !world.redis.payloads);
        let needed = world.processes[i].attempts.iter().flatten().filter(|a| a.mirrored == Mirrored::Yes);
        let own = needed.fold(0, |all, attempt| all | 1 << attempt.name);
        let others = world.redis.sets.iter().fold(own, |all, set| all | set);
        if removed & others != 0 {
            world.broken = Some(Broken::Fence);
        }
    }

    /// Moves the record of an attempt that ended among the retries, or its job into the Dead set. Its end is a reason for
    /// another run, or for its death.
    fn put_off(&self, world: &mut World, i: usize, thread: usize) {
        let Attempt { name, mirrored, counted, .. } = attempt(world, i, thread);
        let unchecked = self.mistake == Some(Mistake::EndUnchecked);
        if mirrored != Mirrored::Yes && !unchecked {
            return;
        }
        if self.poison && counted {
            let killed = world.redis.take(i, 1 << name);
            each(killed).for_each(|name| world.jobs[job_of(name)].dead = true);
            return world.excuse(killed);
        }
        let counts = self.poison && self.mistake != Some(Mistake::EndUncounted);
        let moved = world.redis.put_off(i, name, counts);
        world.excuse(moved);
        if moved == 0 && unchecked {
            world.redis.retry[job_of(name)][usize::from(counts)] += 1;
        }
    }

    /// Moves the record of an attempt into its queue.
    fn put_back(&self, world: &mut World, i: usize, thread: usize) -> Bits {
        let name = attempt(world, i, thread).name;
        world.redis.give_back(i, 1 << name)
    }
}

fn attempt(world: &World, i: usize, thread: usize) -> Attempt {
    world.processes[i].attempts[thread].expect("enabled")
}
