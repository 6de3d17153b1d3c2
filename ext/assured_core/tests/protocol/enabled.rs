//! When an action can happen.

use crate::mistakes::Mistake;
use crate::process::{Mirrored, Process, Stage, Status};
use crate::steps::{Action, Protocol};
use crate::world::{Broken, INSTANCES, JOBS, World};

impl Protocol {
    pub fn enabled(&self, world: &World, actions: &mut Vec<Action>) {
        // Found already, and a mistake may go on for ever.
        if world.broken == Some(Broken::Verdict) {
            return;
        }
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
        if world.faults.evictions > 0 {
            actions.push(Action::Evict);
        }
        if world.faults.steps > 0 {
            actions.push(Action::StepBack);
        }
    }

    fn faults_of(&self, world: &World, i: usize, actions: &mut Vec<Action>) {
        let status = world.processes[i].status;
        let alive = matches!(status, Status::Up | Status::Paused);
        if alive && world.faults.crashes > 0 {
            actions.push(Action::Crash(i));
        }
        match status {
            Status::Up if world.faults.pauses > 0 => actions.push(Action::Pause(i)),
            // A shorter pause is no more than a process that takes its time.
            Status::Paused if world.redis.beats[i] == 0 || world.redis.closed & (1 << i) != 0 => {
                actions.push(Action::Resume(i));
            }
            _ => {}
        }
        let told = world.redis.verdicts & (1 << i) != 0;
        if status == Status::Paused && told && world.faults.forgets > 0 {
            actions.push(Action::Forget(i));
        }
        if alive && world.faults.cuts > 0 && world.redis.beats[i] > 0 {
            actions.push(Action::Cut(i));
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
            for counted in [false, true] {
                may(asks && world.redis.queue[job][usize::from(counted)] > 0, Action::Fetch(i, job, counted));
            }
            for counted in [false, true] {
                let due = world.redis.retry[job][usize::from(counted)] > 0;
                may(asks && process.releases == 0 && due, Action::PopDue(i, job, counted));
            }
        }
        may(there && process.arriving.is_some(), Action::Arrive(i));
        may(unanswered && process.arriving.is_some(), Action::NeverArrive(i));
        may(free && process.releases != 0, Action::Release(i));
        may(free && unanswered && process.releases != 0, Action::ReleaseUnanswered(i));
        may(free && process.releases == 0 && process.settle != 0, Action::Settle(i));
        for (thread, attempt) in process.attempts.iter().enumerate() {
            let Some(attempt) = attempt else { continue };
            let runs = !attempt.due && !attempt.ended;
            may(runs, Action::Finish(i, thread));
            may(runs && there && world.faults.failures > 0, Action::Fail(i, thread));
            may(runs && world.faults.ends > 0, Action::End(i, thread));
            may(attempt.due && (free || there && attempt.again), Action::Enqueue(i, thread));
            may(attempt.due && free && unanswered, Action::EnqueueUnanswered(i, thread));
            let recorded = attempt.mirrored != Mirrored::Not;
            may(free && !recorded, Action::Track(i, thread));
            let goes = attempt.ended && recorded;
            may(goes && (free || there && attempt.again), Action::PutOff(i, thread));
            may(goes && free && unanswered, Action::PutOffUnanswered(i, thread));
            // What waits for anything else goes first.
            may(free && recorded && process.draining && !attempt.ended, Action::GiveBack(i, thread));
        }
        let idle = process.attempts == [None; 2] && process.arriving.is_none() && process.releases == 0;
        may(there && process.draining && idle && process.stage == Stage::Idle, Action::Retire(i));
        may(world.faults.exits > 0 && !process.draining, Action::Drain(i));
        let late = process.silent > 0 || world.redis.closed & (1 << i) != 0;
        may(there && late && !self.mute(process), Action::Beat(i));
        let judges = there && process.stage == Stage::Idle && process.steady();
        may(judges && world.silent(i) & !process.silences != 0, Action::Look(i));
        may(judges && process.ripe != 0, Action::Condemn(i));
        may(there && process.stage != Stage::Idle, Action::Recover(i));
        let moves = matches!(process.stage, Stage::Payloads(_, 0) | Stage::Doomed(_));
        may(unanswered && moves, Action::RecoverUnanswered(i));
    }

    /// A recovery takes less than a tick. Who is slower than that is paused.
    fn time_may_pass(&self, world: &World) -> bool {
        world.away || (0..INSTANCES).all(|i| !world.up(i) || world.processes[i].stage == Stage::Idle)
    }

    pub fn mute(&self, process: &Process) -> bool {
        process.draining && self.mistake == Some(Mistake::BeatDroppedAtShutdown)
    }
}
