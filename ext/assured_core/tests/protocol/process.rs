//! What a process knows: its registry of attempts, its inbox, its pulse, its suspects and its sweep.

use crate::mistakes::Mistake;
use crate::redis::{Bits, Name};

/// Attempts that one process holds at once: an old one that was recovered behind its back, and a new one.
pub const THREADS: usize = 2;
/// A pause between two beats of more ticks than this is a gap (`pulse.rs`, half-way between interval and TTL).
const LONGEST_GAP: u8 = 1;
/// How many ticks a process does not judge after a gap (`pulse.rs`, one interval).
const SETTLING: u8 = 1;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    #[default]
    Up,
    /// Under SIGSTOP, or on a machine that is suspended, or cut off from Redis.
    Paused,
    Crashed,
    /// After a clean exit.
    Retired,
}

/// `registry::Mirrored`; what was sent is answered or lost within one step here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mirrored {
    Not,
    Yes,
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt {
    pub name: Name,
    pub mirrored: Mirrored,
    /// Popped from the retry set, and on its way to its queue.
    pub due: bool,
    /// The command that moves it there was not answered. It is sent again before anything else.
    pub again: bool,
    /// Its thread was killed, or its retry could not be stored.
    pub ended: bool,
    /// Its payload carries a count of recoveries.
    pub counted: bool,
    /// A verdict was found while it was on its way here (`Registry::doubt`).
    pub doubtful: bool,
}

/// Where a recovery stands (`recovery.rs`, `Recovery::run`): each stage is one command away from the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    #[default]
    Idle,
    /// A verdict was reached.
    Verdict,
    /// The names were read.
    Names(Bits),
    /// The payloads of some were read, those of others were not there.
    Payloads(Bits, Bits),
    /// Those that may go back are queued, others were recovered as often as they may be.
    Doomed(Bits),
    /// Only in a recovery that is not atomic: removed, not pushed yet.
    Removed(Bits),
    /// All was done.
    Through,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    pub status: Status,
    /// Sidekiq has got TERM and fetches no more.
    pub draining: bool,
    /// What a fetch has popped whose reply is on its way.
    pub arriving: Option<Attempt>,
    pub attempts: [Option<Attempt>; THREADS],
    /// Names to release.
    pub releases: Bits,
    /// Those that went with the fetch whose reply is on its way.
    pub sent: Bits,
    /// Records unknown at the last beat.
    pub strays: Bits,
    /// Records to settle.
    pub settle: Bits,
    /// Ticks since the last beat, 0 in the same.
    pub silent: u8,
    /// Ticks for which it does not judge.
    pub settling: u8,
    /// Whose heartbeat was gone at the last look.
    pub suspects: Bits,
    /// Whose connection was closed at a look, and who has given no sign since.
    pub silences: Bits,
    /// Those of them who had a grace for it.
    pub ripe: Bits,
    /// Whom it found dead and has not finished with.
    pub dead: Bits,
    pub stage: Stage,
}

impl Process {
    /// Names in the registry (`Registry::knows`).
    pub fn known(&self) -> Bits {
        self.attempts.iter().flatten().fold(0, |known, attempt| known | 1 << attempt.name)
    }

    /// Names that something in this process refers to.
    pub fn mentioned(&self) -> Bits {
        let arriving = self.arriving.map_or(0, |attempt| 1 << attempt.name);
        let recovery = match self.stage {
            Stage::Names(names) | Stage::Doomed(names) | Stage::Removed(names) => names,
            Stage::Payloads(there, gone) => there | gone,
            Stage::Idle | Stage::Verdict | Stage::Through => 0,
        };
        self.known() | arriving | recovery | self.releases | self.sent | self.strays | self.settle
    }

    /// `Pulse::steady_since`: whether it may judge others.
    pub fn steady(&self) -> bool {
        self.silent <= LONGEST_GAP && self.settling == 0
    }

    /// The pipeline's thread waits for one reply at a time.
    pub fn pipeline_waits(&self) -> bool {
        self.arriving.is_some() || self.attempts.iter().flatten().any(|attempt| attempt.again)
    }

    pub fn free_thread(&self) -> Option<usize> {
        self.attempts.iter().position(Option::is_none)
    }

    /// `Pipeline::admit`. Redis gave the name away only because the record of an older attempt of that name was
    /// gone: its lease is lost, or it is about to be recorded anew, under its spare name then (`Registry::send`).
    pub fn admit(&mut self, attempt: Attempt, spare: Name, mistake: Option<Mistake>) {
        let name = attempt.name;
        for older in self.attempts.iter_mut().flatten().filter(|a| a.name == name) {
            match older.mirrored {
                Mirrored::Yes if mistake != Some(Mistake::NameReused) => older.mirrored = Mirrored::Lost,
                Mirrored::Not if mistake != Some(Mistake::NoSpareName) => older.name = spare,
                _ => {}
            }
        }
        if mistake != Some(Mistake::StaleRelease) {
            self.releases &= !(1 << name);
        }
        let thread = self.free_thread().expect("asked for by a thread");
        self.attempts[thread] = Some(attempt);
        self.attempts.sort_unstable();
    }

    /// `Pipeline::release`
    pub fn end(&mut self, thread: usize) {
        if let Some(Attempt { name, mirrored: Mirrored::Yes, .. }) = self.attempts[thread] {
            self.releases |= 1 << name;
        }
        self.give_up(thread);
    }

    /// `Registry::give_up`
    pub fn give_up(&mut self, thread: usize) {
        self.attempts[thread] = None;
        self.attempts.sort_unstable();
    }

    /// `Pulse::silent_at`: whether the others may have had it for dead.
    pub fn was_silent(&self) -> bool {
        self.silent > LONGEST_GAP
    }

    /// `Pulse::beat`. Suspicions from before the gap end with it, as `Suspects::look` drops them.
    pub fn beat(&mut self) {
        if self.silent > LONGEST_GAP {
            self.settling = SETTLING;
            self.suspects = 0;
            self.disturb();
        }
        self.silent = 0;
    }

    /// `Pulse::connected`: a new connection may lead to another server, so it takes a while until it judges again.
    pub fn connect(&mut self) {
        self.settling = SETTLING;
        self.suspects = 0;
    }

    /// `Pulse::undisturbed_since`: what cut its own connection may have cut others'.
    pub fn disturb(&mut self) {
        self.silences = 0;
        self.ripe = 0;
    }

    /// Time goes by.
    pub fn tick(&mut self) {
        self.silent = (self.silent + 1).min(LONGEST_GAP + 1);
        self.settling = self.settling.saturating_sub(1);
    }

    /// `Suspects::look` with `Pulse::steady_since`: who is dead, given who has no heartbeat. Each tick has
    /// one look.
    pub fn look(&mut self, silent: Bits, mistake: Option<Mistake>) {
        if mistake == Some(Mistake::VerdictAfterOutage) {
            self.dead = silent;
        } else if self.steady() {
            self.dead = silent & self.suspects;
            self.suspects = silent;
        } else {
            self.suspects = 0;
        }
    }
}
