//! Jobs on their way into Sidekiq's Dead set: one atomic step, or two where queues and tracking keys lie in two
//! Redis servers.

use std::time::{Duration, SystemTime};

use super::link::parse;
use super::put_back::{Mover, VERDICT_LIFETIME};
use super::{Requeued, Store, cmd, millis};
use crate::Bytes;
use crate::error::{Error, Result};
use crate::identity::Identity;
use crate::scripts;
use crate::settings::DeadSet;

/// A job that will not run again by itself.
#[derive(Clone, Debug)]
pub struct Death {
    /// Name of the record.
    pub name: Bytes,
    /// Payload for the Dead set.
    pub payload: Bytes,
    /// Whether it may lie there.
    pub keep: bool,
    /// Whether death handlers can be told.
    pub notify: bool,
}

impl Store {
    /// Moves orphans of a dead instance into the Dead set. `None`: the instance beats, nothing was done.
    pub fn kill(
        &mut self,
        id: &[u8],
        by: &[u8],
        deaths: &[Death],
        dead_set: DeadSet,
    ) -> Result<Option<Vec<Requeued>>> {
        self.kill_as(Mover::Judge(by), id, deaths, dead_set)
    }

    /// Moves the job of an attempt of this instance itself into the Dead set.
    pub fn kill_own(&mut self, identity: &Identity, death: Death, dead_set: DeadSet) -> Result<Requeued> {
        let outcomes = self.kill_as(Mover::Owner(&identity.entry), &identity.id, &[death], dead_set)?;
        outcomes
            .and_then(|outcomes| outcomes.first().copied())
            .ok_or_else(|| Error::reply("kill", "no outcome"))
    }

    fn kill_as(
        &mut self,
        mover: Mover<'_>,
        id: &[u8],
        deaths: &[Death],
        dead_set: DeadSet,
    ) -> Result<Option<Vec<Requeued>>> {
        if deaths.is_empty() {
            return Ok(Some(Vec::new()));
        }
        if self.queues.is_some() {
            return self.kill_across(mover, id, deaths, dead_set);
        }
        let mut keys = vec![
            self.keys.jobs(id),
            self.keys.instance(id),
            self.keys.verdict(id),
            self.keys.sorted_set(b"dead"),
            self.keys.stats(),
            self.keys.deaths(),
            self.keys.beats(),
            self.keys.instances(),
        ];
        let (lifetime, [now, oldest]) = (millis(VERDICT_LIFETIME), span(dead_set));
        let limit = dead_set.max_jobs.to_string();
        let mut args: Vec<&[u8]> = vec![
            mover.token(),
            &lifetime,
            now.as_bytes(),
            oldest.as_bytes(),
            limit.as_bytes(),
            id,
            mover.entry(),
        ];
        let flag = |set| if set { b"1".as_slice() } else { b"0".as_slice() };
        for death in deaths {
            keys.push(self.keys.job(&death.name));
            args.extend([death.name.as_slice(), &death.payload, flag(death.keep), flag(death.notify)]);
        }
        let reply: Option<Vec<i64>> = self.one("kill", scripts::KILL.call(&keys, &args))?;
        Ok(reply.map(|killed| killed.into_iter().map(Requeued::from_reply).collect()))
    }

    /// Dead set first, records then. A crash in between leaves a job in the Dead set twice, and loses none.
    fn kill_across(
        &mut self,
        mover: Mover<'_>,
        id: &[u8],
        deaths: &[Death],
        dead_set: DeadSet,
    ) -> Result<Option<Vec<Requeued>>> {
        let names: Vec<_> = deaths.iter().map(|death| &death.name).collect();
        let Some(mut outcomes) = self.held(id, &names, matches!(mover, Mover::Judge(_)))? else {
            return Ok(None);
        };
        let held: Vec<_> = (0..deaths.len()).filter(|i| outcomes[*i] == Requeued::Yes).collect();
        let (kept, dropped): (Vec<_>, Vec<_>) = held.into_iter().partition(|i| deaths[*i].keep);

        let dead = self.keys.sorted_set(b"dead");
        let [now, oldest] = span(dead_set).map(String::into_bytes);
        let mut by_age = cmd("ZREMRANGEBYSCORE", [&dead]);
        by_age.arg("-inf").arg([b"(".as_slice(), &oldest].concat());
        let mut by_rank = cmd("ZREMRANGEBYRANK", [&dead]);
        let room = dead_set.max_jobs.saturating_sub(kept.len() as u64);
        by_rank.arg(0).arg(format!("-{}", room.saturating_add(1)));
        // Bounds first, see kill.lua. Those that cannot be kept now are kept at the next death.
        let mut cmds = vec![by_age, by_rank];
        cmds.extend(kept.iter().map(|i| cmd("ZADD", [&dead, &now, &deaths[*i].payload])));
        let queues = self.queues.as_mut().expect("only called with a second Redis");
        let mut dead_now = dropped;
        for (i, reply) in kept.into_iter().zip(queues.run("kill", &cmds)?.into_iter().skip(2)) {
            match parse::<i64>("kill", reply) {
                Ok(_) => dead_now.push(i),
                Err(_) => outcomes[i] = Requeued::Refused,
            }
        }
        if dead_now.is_empty() {
            return Ok(Some(outcomes));
        }

        let records: Vec<_> = dead_now
            .iter()
            .map(|i| &deaths[*i])
            .map(|death| (death.name.as_slice(), if death.notify { death.payload.as_slice() } else { b"" }))
            .collect();
        let settle = self.settle(id, mover.token(), "poisoned", &records);
        self.one::<i64>("kill", settle)?;
        Ok(Some(outcomes))
    }
}

/// Now, and when the oldest jobs died that the Dead set still keeps; unix time in seconds.
fn span(dead_set: DeadSet) -> [String; 2] {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    [now, now.saturating_sub(dead_set.timeout)].map(|at: Duration| format!("{:.6}", at.as_secs_f64()))
}
