//! Tells people of outages: what the server said, once, and when it is over for everybody.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{CONNECTING, Error, Remedy};
use crate::events::{Events, Level};

/// What a thread does, and which one of those that do it.
pub type Who = (&'static str, usize);

/// What Redis refuses to one thread it refuses to all that do the same, unless it is a connection of its own.
const ALL: usize = usize::MAX;

/// How long nobody may fail before an outage is over: what comes and goes is one outage.
const QUIET: Duration = Duration::from_secs(1);

/// Whether Redis fails, as all threads of an engine see it together. One that succeeds does not end what lasts for
/// another: at the limit of its connections a server serves those that are open, and refuses others.
#[derive(Debug, Default)]
pub struct Outage {
    state: Mutex<State>,
    /// Whether there is anybody to be taken off the list: successes are many.
    troubled: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    failing: HashSet<Who>,
    /// What is to be logged of a connection that broke, as long as the server may yet say why.
    unexplained: Option<String>,
}

impl Outage {
    /// Notes a failure.
    pub fn failed(&self, events: &Events, who: Who, error: &Error) {
        let mut state = self.state.lock();
        let goes_on = !state.failing.is_empty() || events.take_back();
        state.failing.insert(if error.doing == CONNECTING { who } else { (who.0, ALL) });
        self.troubled.store(true, Ordering::Relaxed);
        if goes_on && state.unexplained.is_none() {
            return;
        }
        if !goes_on {
            state.since = Some(Instant::now());
        }
        let line = format!("Redis fails ({error}); trying again, and jobs go on meanwhile");
        if error.remedy != Remedy::Reconnect || error.doing == CONNECTING {
            // Why there is no other connection says more than that one broke.
            events.take_back();
            state.unexplained = None;
            events.log(Level::Error, line);
        } else if !goes_on {
            events.log_later(Level::Error, &line, QUIET);
            state.unexplained = Some(line);
        }
    }

    /// Notes a success.
    pub fn over(&self, events: &Events, who: Who) {
        self.strike(events, &[who, (who.0, ALL)]);
    }

    /// Notes that there is a connection, on which nothing was done yet.
    pub fn connected(&self, events: &Events, who: Who) {
        self.strike(events, &[who]);
    }

    fn strike(&self, events: &Events, whom: &[Who]) {
        if !self.troubled.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.lock();
        let before = state.failing.len();
        state.failing.retain(|who| !whom.contains(who));
        if before > 0 && state.failing.is_empty() {
            self.troubled.store(false, Ordering::Relaxed);
            if let Some(line) = state.unexplained.take()
                && events.take_back()
            {
                events.log(Level::Error, line);
            }
            let seconds = state.since.map_or(0.0, |since| since.elapsed().as_secs_f64());
            events.log_later(Level::Info, &format!("Redis is back after {seconds:.1} s"), QUIET);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Remedy;
    use crate::events::Event;
    use crate::waiter::Woken;

    fn lines(events: &Events, within: Duration) -> Vec<String> {
        let end = Instant::now() + within;
        let mut lines = Vec::new();
        while let Woken::Answered(batch) = events.next_batch(Some(end)) {
            lines.extend(batch.into_iter().map(|event| match event {
                Event::Log(_, line) => line,
                other => panic!("{other:?}"),
            }));
        }
        lines
    }

    #[test]
    fn an_outage_lasts_until_it_is_over_for_everybody() {
        let (outage, events) = (Outage::default(), Events::default());
        let error = Error { doing: "connect", remedy: Remedy::Reconnect, message: "no room".to_owned() };
        outage.failed(&events, ("watch", 1), &error);
        outage.failed(&events, ("watch", 2), &error);
        outage.over(&events, ("heartbeat", 0));
        outage.over(&events, ("watch", 1));
        let said = lines(&events, QUIET * 2);
        assert_eq!(said, ["Redis fails (connect: no room); trying again, and jobs go on meanwhile"]);
        outage.over(&events, ("watch", 2));
        outage.failed(&events, ("watch", 2), &error);
        outage.over(&events, ("watch", 2));
        let said = lines(&events, QUIET * 2);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with("Redis is back after 2."), "{said:?}");
        outage.failed(&events, ("watch", 1), &error);
        assert_eq!(lines(&events, Duration::ZERO).len(), 1, "another one");
    }

    fn broken() -> Error {
        Error { doing: "beat", remedy: Remedy::Reconnect, message: "end of file".to_owned() }
    }

    #[test]
    fn what_the_server_says_is_told_in_place_of_a_connection_that_broke() {
        let (outage, events) = (Outage::default(), Events::default());
        let told = Error { doing: "connect", remedy: Remedy::TellUser, message: "WRONGPASS".to_owned() };
        outage.failed(&events, ("heartbeat", 1), &broken());
        outage.failed(&events, ("fetch", 1), &told);
        outage.failed(&events, ("fetch", 2), &told);
        let said = lines(&events, QUIET * 2);
        assert_eq!(said, ["Redis fails (connect: WRONGPASS); trying again, and jobs go on meanwhile"]);
    }

    #[test]
    fn a_connection_that_broke_for_a_moment_is_told_all_the_same() {
        let (outage, events) = (Outage::default(), Events::default());
        outage.failed(&events, ("heartbeat", 1), &broken());
        outage.over(&events, ("heartbeat", 1));
        assert_eq!(lines(&events, QUIET * 2).len(), 2, "the failure, and its end");
    }

    #[test]
    fn what_the_server_refuses_it_refuses_to_all_that_do_the_same() {
        let (outage, events) = (Outage::default(), Events::default());
        let error = Error { doing: "fetch", remedy: Remedy::Wait, message: "OOM".to_owned() };
        outage.failed(&events, ("fetch", 1), &error);
        outage.failed(&events, ("fetch", 2), &error);
        outage.over(&events, ("fetch", 1));
        assert_eq!(lines(&events, QUIET * 2).len(), 2);
    }
}
