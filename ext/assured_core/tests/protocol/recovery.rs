//! What a sweep does with an instance that it has found dead, command by command.

use crate::mistakes::Mistake;
use crate::process::{Process, Stage, Status};
use crate::redis::{Bits, each, job_of};
use crate::steps::Protocol;
use crate::world::{Broken, World};

impl Protocol {
    pub fn recover(&self, world: &mut World, i: usize) {
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
                let doomed = if self.poison { names & world.redis.counted } else { 0 };
                let counts = self.poison && self.mistake != Some(Mistake::CountLost);
                let counted = if counts { names } else { world.redis.counted };
                let moved = world.redis.requeue(of, names & !doomed, counted);
                judge(world, of, moved.unwrap_or_default());
                if moved.is_some() && doomed != 0 { Stage::Doomed(doomed) } else { Stage::Through }
            }
            Stage::Doomed(names) => {
                let moved = world.redis.kill(of, names).unwrap_or_default();
                each(moved).for_each(|name| world.jobs[job_of(name)].dead = true);
                judge(world, of, moved);
                Stage::Through
            }
            Stage::Removed(names) => {
                world.redis.push(names, 0);
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
        if self.no_verdicts {
            world.redis.verdicts = 0;
        }
        world.processes[i].stage = next;
    }
}

/// A lost lease is a reason for another run, if there was a reason for the verdict.
fn judge(world: &mut World, of: usize, moved: Bits) {
    world.given[of] |= moved;
    match world.processes[of].status {
        // Its records had their reason when it ended.
        Status::Crashed | Status::Retired => world.given[of] = 0,
        _ if moved == 0 => {}
        _ if world.excused & (1 << of) != 0 => world.excuse(moved),
        _ => world.broken = Some(Broken::Verdict),
    }
}
