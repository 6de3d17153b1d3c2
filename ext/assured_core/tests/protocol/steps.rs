//! What can happen. Each action is one command of Redis together with what its sender does when the reply
//! comes, or one step without Redis; a crash fits between any two of them.

use stateright::Model;

use crate::mistakes::Mistake;
use crate::process::{Attempt, Mirrored, Process, Stage, Status};
use crate::redis::{Bits, each, job_of};
use crate::world::{Broken, Faults, INSTANCES, JOBS, World};

/// The protocol within bounds.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    pub jobs: usize,
    pub instances: usize,
    pub faults: Faults,
    /// Replies take time, a recovery reads names and payloads in two steps, and there is no lock. Otherwise
    /// these are left out, so that larger numbers can be checked.
    pub fine: bool,
    pub mistake: Option<Mistake>,
}

/// The first number is that of the instance, the second that of a job or a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Time goes by, who can beat does, and who can look for dead instances does: `heartbeat.rs` `beat`,
    /// `lua/beat.lua`; `sweeper.rs` `sweep`, `verdict.rs`. The recovery lock is left out: correctness does not
    /// rest on it.
    Tick,
    /// `pipeline/round_trip.rs` `exchange`, `lua/fetch.lua`: releases, then pops and records a job.
    Fetch(usize, usize),
    /// `perform_pop_due`, `lua/due.lua`
    PopDue(usize, usize),
    /// The reply of either arrives (`admit`), and the job runs.
    Arrive(usize),
    /// It never arrives: `run_once` sends no second time.
    NeverArrive(usize),
    /// The job has run. `Pipeline::release`
    Finish(usize, usize),
    /// It raised, and Sidekiq has stored its retry. `Pipeline::release`
    Fail(usize, usize),
    /// `lua/release.lua`
    Release(usize),
    /// The same, unanswered: it is sent again.
    ReleaseUnanswered(usize),
    /// `perform_enqueue`, `lua/requeue.lua`
    Enqueue(usize, usize),
    EnqueueUnanswered(usize, usize),
    /// `heartbeat.rs` `restore`, `lua/track.lua`
    Track(usize, usize),
    /// `pipeline/returns.rs` `perform_strays`, `lua/requeue.lua`
    Settle(usize),
    /// `heartbeat.rs` `beat`, `lua/beat.lua`, where it comes late. Otherwise it is part of the tick.
    Beat(usize),
    /// The next command of a recovery (`recovery.rs`): names, `lua/payloads.lua`, `lua/forget.lua`,
    /// `lua/requeue.lua`, `lua/retire.lua`.
    Recover(usize),
    /// `lua/requeue.lua` unanswered: it is sent again.
    RequeueUnanswered(usize),
    /// TERM: Sidekiq fetches no more, and heartbeats go on.
    Drain(usize),
    /// `perform_give_back`, `lua/requeue.lua`
    GiveBack(usize, usize),
    /// `heartbeat.rs` `Farewell`, `lua/retire.lua`
    Retire(usize),
    Crash(usize),
    Pause(usize),
    Resume(usize),
    RedisAway,
    RedisBack,
}

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self.jobs, self.instances, self.faults)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        for i in 0..INSTANCES {
            self.faults_of(world, i, actions);
            if world.up(i) {
                self.actions_of(world, i, actions);
            }
        }
        if world.away {
            actions.push(Action::RedisBack);
        } else if world.faults.outages > 0 {
            actions.push(Action::RedisAway);
        }
        if self.time_may_pass(world) {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = *world;
        self.perform(&mut next, action);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        crate::properties::all()
    }
}

impl Protocol {
    fn faults_of(&self, world: &World, i: usize, actions: &mut Vec<Action>) {
        let status = world.processes[i].status;
        let alive = matches!(status, Status::Up | Status::Paused);
        if alive && world.faults.crashes > 0 {
            actions.push(Action::Crash(i));
        }
        match status {
            Status::Up if world.faults.pauses > 0 => actions.push(Action::Pause(i)),
            // A shorter pause is no more than a process that takes its time.
            Status::Paused if world.redis.beats[i] == 0 => actions.push(Action::Resume(i)),
            _ => {}
        }
    }

    fn actions_of(&self, world: &World, i: usize, actions: &mut Vec<Action>) {
        let process = &world.processes[i];
        let (there, unanswered) = (!world.away, !world.away && world.faults.lost_replies > 0);
        let mut may = |condition: bool, action: Action| {
            if condition {
                actions.push(action);
            }
        };
        let free = there && !process.pipeline_waits();
        for job in 0..JOBS {
            let asks = free && !process.draining && process.free_thread().is_some();
            may(asks && world.redis.queue[job] > 0, Action::Fetch(i, job));
            may(asks && process.releases == 0 && world.redis.retry[job] > 0, Action::PopDue(i, job));
        }
        may(there && process.arriving.is_some(), Action::Arrive(i));
        may(unanswered && process.arriving.is_some(), Action::NeverArrive(i));
        may(free && process.releases != 0, Action::Release(i));
        may(free && unanswered && process.releases != 0, Action::ReleaseUnanswered(i));
        may(free && process.releases == 0 && process.settle != 0, Action::Settle(i));
        for (thread, attempt) in process.attempts.iter().enumerate() {
            let Some(attempt) = attempt else { continue };
            may(!attempt.due, Action::Finish(i, thread));
            may(!attempt.due && there && world.faults.failures > 0, Action::Fail(i, thread));
            may(attempt.due && (free || there && attempt.again), Action::Enqueue(i, thread));
            may(attempt.due && free && unanswered, Action::EnqueueUnanswered(i, thread));
            let recorded = attempt.mirrored != Mirrored::Not;
            may(free && !recorded, Action::Track(i, thread));
            may(free && recorded && process.draining, Action::GiveBack(i, thread));
        }
        let idle = process.attempts == [None; 2] && process.arriving.is_none() && process.releases == 0;
        may(there && process.draining && idle && process.stage == Stage::Idle, Action::Retire(i));
        may(world.faults.exits > 0 && !process.draining, Action::Drain(i));
        may(there && process.silent > 0 && !self.mute(process), Action::Beat(i));
        may(there && process.stage != Stage::Idle, Action::Recover(i));
        may(unanswered && matches!(process.stage, Stage::Payloads(_, 0)), Action::RequeueUnanswered(i));
    }

    /// A recovery takes less than a tick. Who is slower than that is paused.
    fn time_may_pass(&self, world: &World) -> bool {
        world.away || (0..INSTANCES).all(|i| !world.up(i) || world.processes[i].stage == Stage::Idle)
    }

    fn mute(&self, process: &Process) -> bool {
        process.draining && self.mistake == Some(Mistake::BeatDroppedAtShutdown)
    }

    fn perform(&self, world: &mut World, action: Action) {
        match action {
            Action::Tick => self.tick(world),
            Action::Fetch(i, job) => {
                self.release(world, i, world.processes[i].releases);
                world.redis.queue[job] -= 1;
                world.processes[i].sent = std::mem::take(&mut world.processes[i].releases);
                self.pop(world, i, job, false);
            }
            Action::PopDue(i, job) => {
                world.redis.retry[job] -= 1;
                self.pop(world, i, job, true);
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
                world.redis.retry[job_of(name)] += 1;
                world.processes[i].end(thread);
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
                let name = attempt(world, i, thread).name;
                let spare = world.spare(job_of(name));
                let name = world.redis.track(i, name, spare);
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
            Action::RequeueUnanswered(i) => {
                world.faults.lost_replies -= 1;
                let stage = world.processes[i].stage;
                self.recover(world, i);
                world.processes[i].stage = stage;
            }
            Action::Drain(i) => {
                world.faults.exits -= 1;
                world.processes[i].draining = true;
            }
            Action::Retire(i) => {
                world.redis.retire(i, true);
                world.processes[i] = Process { status: Status::Retired, ..Process::default() };
                world.disturb();
            }
            Action::Crash(i) => {
                world.faults.crashes -= 1;
                world.excuse(world.redis.sets[i]);
                world.processes[i] = Process { status: Status::Crashed, ..Process::default() };
                world.excused |= 1 << i;
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
            Action::RedisAway => {
                world.faults.outages -= 1;
                world.away = true;
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
            if process.status == Status::Paused && world.redis.beats[i] == 0 {
                world.excused |= 1 << i;
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
            if world.up(i) {
                self.look(world, i);
            }
        }
        let somebody = (0..INSTANCES).any(|i| world.up(i) && world.processes[i].steady());
        world.overdue = if somebody && world.unburied() { world.overdue + 1 } else { 0 };
    }

    fn look(&self, world: &mut World, i: usize) {
        let silent = world.without_heartbeat(i);
        let process = &mut world.processes[i];
        process.look(silent, self.mistake);
        if process.dead == 0 {
            return;
        }
        if self.fine || world.lock.is_none_or(|holder| world.redis.beats[usize::from(holder)] == 0) {
            process.stage = Stage::Verdict;
            world.lock = if self.fine { None } else { Some(i as u8) };
        } else {
            process.dead = 0;
        }
    }

    fn beat(&self, world: &mut World, i: usize) {
        let verdict = world.redis.beat(i);
        let (records, payloads) = (world.redis.sets[i], world.redis.payloads);
        let process = &mut world.processes[i];
        process.beat();
        for attempt in process.attempts.iter_mut().flatten() {
            let there = records & payloads & (1 << attempt.name) != 0;
            if attempt.mirrored == Mirrored::Yes && !there {
                attempt.mirrored = if verdict { Mirrored::Lost } else { Mirrored::Not };
            }
        }
        process.attempts.sort_unstable();
        let unknown = records & !process.known();
        process.settle |= unknown & process.strays;
        process.strays = unknown;
        world.redis.verdicts &= !(1 << i);
    }

    fn pop(&self, world: &mut World, i: usize, job: usize, due: bool) {
        let spare = world.spare(job);
        let name = world.redis.record(i, job, spare, self.mistake);
        world.processes[i].arriving = Some((name, due));
        if !self.fine {
            self.arrive(world, i);
        }
    }

    fn arrive(&self, world: &mut World, i: usize) {
        let (name, due) = world.processes[i].arriving.take().expect("enabled");
        world.processes[i].sent = 0;
        let spare = world.spare(job_of(name));
        world.processes[i].admit(name, due, spare, self.mistake);
        world.jobs[job_of(name)].runs += u8::from(!due);
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

    /// Moves the record of an attempt into its queue.
    fn put_back(&self, world: &mut World, i: usize, thread: usize) -> Bits {
        let name = attempt(world, i, thread).name;
        world.redis.give_back(i, 1 << name)
    }

    fn recover(&self, world: &mut World, i: usize) {
        let Process { stage, dead, .. } = world.processes[i];
        let of = usize::from(each(dead).next().expect("somebody is dead"));
        let alive = world.redis.beats[of] > 0;
        let next = match stage {
            Stage::Idle => unreachable!("no recovery goes on"),
            Stage::Verdict => match world.redis.sets[of] {
                0 => Stage::Through,
                names if self.fine => Stage::Names(names),
                names => Stage::Payloads(names & world.redis.payloads, names & !world.redis.payloads),
            },
            Stage::Names(names) => {
                Stage::Payloads(names & world.redis.payloads, names & !world.redis.payloads)
            }
            Stage::Payloads(there, gone) if gone != 0 => {
                world.redis.forget(of, gone);
                Stage::Payloads(there, 0)
            }
            Stage::Payloads(names, _) if self.mistake == Some(Mistake::DeleteBeforePush) && !alive => {
                Stage::Removed(world.redis.take(of, names))
            }
            Stage::Payloads(names, _) => {
                let moved = world.redis.requeue(of, names).unwrap_or_default();
                judge(world, of, moved);
                Stage::Through
            }
            Stage::Removed(names) => {
                world.redis.push(names);
                judge(world, of, names);
                Stage::Through
            }
            Stage::Through => {
                world.redis.retire(of, false);
                let process = &mut world.processes[i];
                process.dead &= !(1 << of);
                process.suspects &= !(1 << of);
                if process.dead != 0 {
                    Stage::Verdict
                } else {
                    world.lock = world.lock.filter(|holder| usize::from(*holder) != i);
                    Stage::Idle
                }
            }
        };
        world.processes[i].stage = next;
    }
}

fn attempt(world: &World, i: usize, thread: usize) -> Attempt {
    world.processes[i].attempts[thread].expect("enabled")
}

/// A lost lease is a reason for another run, if there was a reason for the verdict.
fn judge(world: &mut World, of: usize, moved: Bits) {
    match world.processes[of].status {
        // Its records had their reason when it ended.
        Status::Crashed | Status::Retired => {}
        _ if moved == 0 => {}
        _ if world.excused & (1 << of) != 0 => world.excuse(moved),
        _ => world.broken = Some(Broken::Verdict),
    }
}
