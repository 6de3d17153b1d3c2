//! What to tell people of dead instances.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use crate::Bytes;
use crate::verdict::Sighting;

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
        for seen in sightings.iter().filter(|seen| seen.alive) {
            self.told.remove(&seen.id);
            if let Some(beat) = &seen.beat {
                self.note_beat(&seen.id, beat);
            }
        }
    }

    /// Takes in one heartbeat.
    pub fn note_beat(&mut self, id: &[u8], beat: &[u8]) {
        if let Some(beat) = std::str::from_utf8(beat).ok().and_then(|beat| beat.parse().ok()) {
            self.beats.insert(id.to_vec(), beat);
        }
    }

    /// Whether nobody was told of this death yet; from now on somebody is.
    pub fn is_news(&mut self, id: &[u8]) -> bool {
        self.told.insert(id.to_vec())
    }

    /// How long ago its last heartbeat was, where one was seen. By two clocks: the dead instance's and this one's.
    pub fn silent(&self, id: &[u8]) -> Option<Duration> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.beats.get(id).and_then(|beat| Duration::try_from_secs_f64((now - beat).max(0.0)).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_is_news_once_in_each_life() {
        let seen = |beat: Option<&str>| {
            [Sighting { id: b"a".to_vec(), alive: beat.is_some(), beat: beat.map(Into::into) }]
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
