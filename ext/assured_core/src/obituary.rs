//! What to tell people of dead instances.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::Bytes;
use crate::verdict::{Sighting, age};

/// What to tell people of the dead: when they were last heard of, and each death once. An instance with orphans that
/// cannot be recovered is found dead at every sweep.
#[derive(Debug, Default)]
pub struct Obituary {
    beats: HashMap<Bytes, f64>,
    told: HashSet<Bytes>,
}

impl Obituary {
    /// Takes in a look at all instances.
    pub fn look(&mut self, sightings: &[Sighting]) {
        let registered: HashSet<_> = sightings.iter().map(|seen| &seen.id).collect();
        self.beats.retain(|id, _| registered.contains(id));
        self.told.retain(|id| registered.contains(id));
        for seen in sightings.iter().filter(|seen| seen.is_alive()) {
            self.told.remove(&seen.id);
            if let Some(beat) = seen.last_beat() {
                self.beats.insert(seen.id.clone(), beat);
            }
        }
    }

    /// Whether nobody was told of this death yet; from now on somebody is.
    pub fn is_news(&mut self, id: &[u8]) -> bool {
        self.told.insert(id.to_vec())
    }

    /// How long ago its last heartbeat was, where one was seen. By two clocks: the dead instance's and this one's.
    pub fn silent(&self, id: &[u8]) -> Option<Duration> {
        self.beats.get(id).map(|beat| age(*beat))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_news_once_in_each_life() {
        let seen = |beat: Option<&str>| {
            [Sighting { id: b"a".to_vec(), heartbeat: beat.map(Into::into), beat: Some(b"expired".to_vec()) }]
        };
        let mut obituary = Obituary::default();
        obituary.look(&seen(Some("1700000000.5")));
        obituary.look(&seen(None));
        assert!(obituary.silent(b"a").unwrap() > Duration::from_secs(1000));
        assert!(obituary.is_news(b"a"));
        obituary.look(&seen(None));
        assert!(!obituary.is_news(b"a"), "an orphan of it is stuck");
        obituary.look(&seen(Some("odd")));
        obituary.look(&seen(None));
        assert!(obituary.is_news(b"a"), "it lived again");
        obituary.look(&[]);
        assert_eq!(obituary.silent(b"a"), None, "it is forgotten once it is buried");
    }
}
