//! What can happen. Each action is one command of Redis together with what its sender does when the reply
//! comes, or one step without Redis; a crash fits between any two of them.

use stateright::Model;

use crate::mistakes::Mistake;
use crate::world::{Faults, World};

/// The protocol within bounds.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    pub jobs: usize,
    pub instances: usize,
    pub faults: Faults,
    /// Replies take time, a recovery reads names and payloads in two steps, and there is no lock. Otherwise
    /// these are left out, so that larger numbers can be checked.
    pub fine: bool,
    /// Instances note their connections, so there are fast verdicts. `death_grace` is a tick.
    pub fast: bool,
    /// Recoveries are counted, and a job may be recovered once (`max_recoveries`).
    pub poison: bool,
    /// Recoveries leave no verdict, as those of the 1.x gem.
    pub no_verdicts: bool,
    pub mistake: Option<Mistake>,
}

/// The first number is that of the instance, the second that of a job or a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Time goes by, who can beat does, and who can look for dead instances does: `heartbeat.rs` `beat`,
    /// `lua/beat.lua`; `sweeper.rs` `sweep`, `verdict.rs`. The recovery lock is left out: correctness does not
    /// rest on it.
    Tick,
    /// `pipeline/fetch.rs` `pop`, `lua/fetch.lua`: releases, then pops and records a job, with or without a count of
    /// recoveries.
    Fetch(usize, usize, bool),
    /// `perform_pop_due`, `lua/due.lua`, with or without a count.
    PopDue(usize, usize, bool),
    /// The reply of either arrives (`admit`), and the job runs.
    Arrive(usize),
    /// It never arrives: `run_once` sends no second time.
    NeverArrive(usize),
    /// The job has run. `Pipeline::release`
    Finish(usize, usize),
    /// It raised, and Sidekiq has stored its retry. `Pipeline::release`
    Fail(usize, usize),
    /// The run ends without acknowledgement, and the process lives. `Pipeline::end_unacknowledged`
    End(usize, usize),
    /// `pipeline/ends.rs` `perform_end`, `lua/retry.lua` or `lua/kill.lua`
    PutOff(usize, usize),
    /// The same, unanswered: it is sent again.
    PutOffUnanswered(usize, usize),
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
    /// `lua/requeue.lua`, `lua/kill.lua`, `lua/retire.lua`.
    Recover(usize),
    /// The first look at the connections: `fast_death.rs` `look`.
    Look(usize),
    /// The verdict after the second, `lua/expire.lua`, and with it the recovery begins.
    Condemn(usize),
    /// `lua/requeue.lua` or `lua/kill.lua` unanswered: it is sent again.
    RecoverUnanswered(usize),
    /// TERM: Sidekiq fetches no more, and heartbeats go on.
    Drain(usize),
    /// `perform_give_back`, `lua/requeue.lua`
    GiveBack(usize, usize),
    /// `heartbeat.rs` `Farewell`, `lua/retire.lua`
    Retire(usize),
    Crash(usize),
    Pause(usize),
    Resume(usize),
    /// The connection of its heartbeat is closed.
    Cut(usize),
    /// Whatever told of a verdict is gone when the instance goes on that it was about.
    Forget(usize),
    /// Redis is full, and evicts what expires.
    Evict,
    /// The server's clock is set back: what expires does not for long.
    StepBack,
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
        self.enabled(world, actions);
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
