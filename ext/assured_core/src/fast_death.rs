//! The fast way to a verdict. A killed process's sockets are closed at once, those of a live one, or of one that is
//! stopped, paused or cut off, are not. So an instance counts as dead before its heartbeat expires when the connection
//! on which it beat is closed and it has not beaten since, over the grace. A live process whose connection is cut
//! notices it well within the grace and beats on a new one.

use std::time::{Duration, Instant};

use crate::backoff::jittered;
use crate::error::Result;
use crate::printable;
use crate::pulse::Pulse;
use crate::settings::Settings;
use crate::store::{Sight, Silence, Store};
use crate::verdict::Suspects;

/// How often within one grace a process asks whether its own connection is still there.
pub const CHECKS: u32 = 3;
/// How often it looks without asking, for each time that it asks.
pub const GLANCES: u32 = 4;

/// What one process knows of the others' connections.
#[derive(Debug)]
pub struct FastDeath {
    grace: Duration,
    suspects: Suspects<Silence>,
    next: Instant,
    /// Since when the connection is open on which nothing can be seen: asking again would change nothing.
    blind: Option<Instant>,
}

impl FastDeath {
    /// Nothing where it is switched off.
    pub fn new(settings: &Settings) -> Option<Self> {
        let grace = settings.grace()?;
        Some(Self { grace, suspects: Suspects::new(grace), next: Instant::now(), blind: None })
    }

    /// When to look again.
    pub fn next_look(&self) -> Instant {
        self.suspects.next_look().map_or(self.next, |second| second.min(self.next))
    }

    /// Looks, when it is time, and returns those who are dead as far as can be seen; [`Store::expire_silent`] has the last
    /// word. Of many processes one at a time looks; who has seen something looks a second time in any case.
    ///
    /// # Errors
    /// When Redis fails.
    pub fn look(&mut self, store: &mut Store, own: &[u8], pulse: &Pulse) -> Result<Vec<Silence>> {
        let second = self.suspects.next_look().is_some_and(|at| at <= Instant::now());
        if !second && self.next > Instant::now() {
            return Ok(Vec::new());
        }
        self.next = Instant::now() + jittered(self.grace.mul_f64(0.6));
        let since = store.connected_since();
        if since.is_none() || since == self.blind {
            self.suspects.clear();
            return Ok(Vec::new());
        }
        // Shorter than the time to the next look: a process that is alone always has its turn.
        if !second && !store.take_look_turn(self.grace.mul_f64(0.45))? {
            // Whoever has it may be the one that has just died.
            self.next = Instant::now() + jittered(self.grace / 5);
            return Ok(Vec::new());
        }
        let (silent, since) = match store.look_at_connections(own)? {
            Sight::Of(silent, since) => (silent, since),
            nothing => {
                self.blind = since.filter(|_| nothing == Sight::Refused);
                self.suspects.clear();
                return Ok(Vec::new());
            }
        };
        let now = Instant::now();
        let undisturbed_since = pulse.undisturbed_since(now).map(|pulse| pulse.max(since));
        let dead = self.suspects.look(&silent, undisturbed_since, now);
        dead.iter().for_each(|silence| self.suspects.acquit(silence));
        Ok(dead)
    }

    /// The verdict, for the log.
    pub fn describe(&self, silence: &Silence) -> String {
        format!(
            "instance {} is dead: its connection is closed, and it has not beaten for {:.1} s since",
            printable::name(&silence.id),
            self.grace.as_secs_f64()
        )
    }
}
