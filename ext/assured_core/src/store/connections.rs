//! Which instances still have the connection on which they beat: a killed process's is closed at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Cmd, Value};

use super::link::{Lenders, Peer, client_id, parse, refused};
use super::{Store, cmd, millis};
use crate::Bytes;
use crate::error::{Error, Remedy, Result};

/// An instance whose connection is closed, and what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Silence {
    /// The instance id.
    pub id: Bytes,
    /// The last beat, which names the connection that is closed.
    pub beat: Bytes,
}

/// What a look at the connections showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Instances whose connection is closed, and since when the connection is open through which that was seen.
    Of(Vec<Silence>, Instant),
    /// Nothing that means anything: the connection changed meanwhile, or the own one is not among those shown.
    Blurred,
    /// The server does not tell: an ACL forbids it, or it is too old.
    Refused,
}

impl Store {
    /// Has new connections ask what the server calls them. Without that, nothing here works.
    pub fn introduce(&mut self) {
        self.tracking.introduce();
    }

    /// Whether the connection is still there, as far as can be seen without a command. What something in between does with
    /// the rest of the way does not show.
    pub fn seems_connected(&self) -> bool {
        self.tracking.is_quiet()
    }

    /// From now on neither opening a connection nor a batch takes longer than this.
    pub fn limit(&mut self, limit: Duration) {
        self.tracking.limit(limit);
    }

    /// Whether the connection is the one that the last beat went through. Where the server did not say how it is
    /// called, nobody watches it, and nothing is asked.
    pub fn keeps_connection(&mut self) -> bool {
        if !self.tracking.is_open() {
            return false;
        }
        let Ok(Some(peer)) = self.tracking.peer("look after the connection") else { return true };
        let replies = self.tracking.send("look after the connection", &[client_id()]);
        let same = match replies.as_deref() {
            Ok([Value::Int(client)]) => u64::try_from(*client) == Ok(peer.client),
            // Busy at the moment, and there.
            Ok([Value::ServerError(_)]) => true,
            _ => false,
        };
        // Something in between may have put another connection in its place.
        if !same {
            self.tracking.close();
        }
        same
    }

    /// Since when the connection is open, where the server said how it is called.
    pub fn connected_since(&mut self) -> Option<Instant> {
        self.tracking.peer("look after the connection").ok().flatten().map(|peer| peer.since)
    }

    /// The same, where it is open at all.
    pub fn open_since(&mut self) -> Option<Instant> {
        self.tracking.is_open().then(|| self.connected_since()).flatten()
    }

    /// From now on this process's heartbeat may use the connection while it is idle.
    #[must_use]
    pub fn lending(self, lenders: &Lenders) -> Self {
        self.tracking.lend(lenders);
        self
    }

    /// From now on what finds no connection of its own uses one of those.
    #[must_use]
    pub fn borrowing(mut self, lenders: &Arc<Lenders>) -> Self {
        self.tracking.borrow(Arc::clone(lenders));
        self
    }

    /// Takes the turn to look at the connections; false while somebody else has it.
    pub fn take_look_turn(&mut self, ttl: Duration) -> Result<bool> {
        let turn = self.keys.look_turn();
        let mut set = cmd("SET", [&turn, &b"1".to_vec()]);
        set.arg("NX").arg("PX").arg(millis(ttl));
        let replies = self.tracking.run("look", &[set, cmd("PTTL", [&turn])])?;
        let [taken, left] =
            replies.try_into().map_err(|_| Error::reply("look", "two commands, other replies"))?;
        let taken = parse::<Option<String>>("look", taken)?.is_some();
        // The server's clock was set back: it would be nobody's for as long.
        if u128::try_from(parse::<i64>("look", left)?).is_ok_and(|left| left > ttl.as_millis()) {
            self.one::<bool>("look", cmd("PEXPIRE", [&turn, &millis(ttl)]))?;
        }
        Ok(taken)
    }

    /// Looks at the connections of all instances. It must show that of the instance `own`, the looking process's.
    pub fn look_at_connections(&mut self, own: &[u8]) -> Result<Sight> {
        let Some(peer) = self.tracking.peer("look")? else { return Ok(Sight::Refused) };
        let beats: HashMap<Bytes, Bytes> = self.one("look", cmd("HGETALL", [&self.keys.beats()]))?;
        let here: Vec<(Silence, u64)> = beats
            .into_iter()
            .filter_map(|(id, beat)| {
                let client = client_of(&beat, &peer.run)?;
                Some((Silence { id, beat }, client))
            })
            .collect();
        let Some(own_client) = here.iter().find(|(seen, _)| seen.id == own).map(|(_, client)| *client) else {
            return Ok(Sight::Blurred);
        };
        // Nobody else is there: an idle process that is alone asks for no more.
        if here.len() == 1 {
            return Ok(Sight::Of(Vec::new(), peer.since));
        }
        let mut list = redis::cmd("CLIENT");
        list.arg("LIST").arg("ID");
        list.arg(here.iter().map(|(_, client)| *client).collect::<Vec<_>>());
        let list = self.tracking.run("look", &[list])?.pop().unwrap_or(Value::Nil);
        if refused("look", &list)? {
            return Ok(Sight::Refused);
        }
        let list: String = parse("look", list)?;
        let open: HashSet<u64> = list.lines().filter_map(client_in).collect();
        // All of it must come from one run of one server.
        if !open.contains(&own_client) || self.tracking.peer("look")?.as_ref() != Some(&peer) {
            return Ok(Sight::Blurred);
        }
        let closed = here.into_iter().filter(|(_, client)| !open.contains(client));
        Ok(Sight::Of(closed.map(|(seen, _)| seen).collect(), peer.since))
    }

    /// The verdict on an instance whose connection is closed; false where it has beaten since it was seen.
    pub fn expire_silent(&mut self, seen: &Silence) -> Result<bool> {
        self.expire_unless(&seen.id, &seen.beat, None)
    }

    /// Runs a batch that may run twice and that names the very connection which it goes through. `build` gets that
    /// name, or nothing, and is asked anew for another connection.
    pub(super) fn run_named(
        &mut self,
        doing: &'static str,
        build: impl Fn(Bytes) -> Vec<Cmd>,
    ) -> Result<Vec<Value>> {
        let reused = self.tracking.is_open();
        match self.run_named_once(doing, &build) {
            Err(error) if reused && error.remedy == Remedy::Reconnect => self.run_named_once(doing, &build),
            outcome => outcome,
        }
    }

    fn run_named_once(
        &mut self,
        doing: &'static str,
        build: &impl Fn(Bytes) -> Vec<Cmd>,
    ) -> Result<Vec<Value>> {
        let peer = self.tracking.peer_of_next(doing)?;
        let name = peer.as_ref().map(Peer::describe).unwrap_or_default();
        self.tracking.attempt(doing, &build(name.into_bytes()))
    }
}

/// The client id in a beat that went through a connection to this run of the server.
fn client_of(beat: &[u8], run: &str) -> Option<u64> {
    let mut words = std::str::from_utf8(beat).ok()?.split(' ').skip(2);
    words.next().filter(|noted| *noted == run).and_then(|_| words.next()?.parse().ok())
}

/// The client id in a line of `CLIENT LIST`.
fn client_in(line: &str) -> Option<u64> {
    line.strip_prefix("id=")?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_of_another_run_of_the_server_says_nothing() {
        assert_eq!(client_of(b"1 1700000000.5 abc 17", "abc"), Some(17));
        assert_eq!(client_of(b"1 1700000000.5 abd 17", "abc"), None);
        assert_eq!(client_of(b"1 1700000000.5", "abc"), None);
        assert_eq!(client_of(b"expired", "abc"), None);
        assert_eq!(client_in("id=17 addr=127.0.0.1:1 laddr=127.0.0.1:2"), Some(17));
        assert_eq!(client_in(""), None);
    }
}
