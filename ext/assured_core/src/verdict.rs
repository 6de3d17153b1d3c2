//! When an instance counts as dead. The proof is that its beats have not changed for the TTL, by the clock of whoever
//! looks; that a heartbeat is gone is a hint. Whoever looks must have beaten without a gap all the time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant, SystemTime};

use crate::Bytes;

/// What stands in place of the last beat once a verdict has fallen; `lua/beats.lua` writes it.
const EXPIRED: &[u8] = b"expired";

/// What one look saw of one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The instance id.
    pub id: Bytes,
    /// The heartbeat (unix time, seconds), while it is there.
    pub heartbeat: Option<Bytes>,
    /// The last beat as `lua/beats.lua` has it. Instances of the 1.x gem have none.
    pub beat: Option<Bytes>,
}

impl Sighting {
    /// Whether there is any sign of life, however old: `is_alive` in `lua/beats.lua`.
    pub fn is_alive(&self) -> bool {
        self.heartbeat.is_some() || self.beat.as_ref().is_some_and(|beat| beat != EXPIRED)
    }

    /// Whether a verdict has fallen, and nothing was heard since.
    fn is_expired(&self) -> bool {
        self.heartbeat.is_none() && self.beat.as_deref() == Some(EXPIRED)
    }

    /// Whether the heartbeat is gone and nothing says that it should be there: not the last beat, by the clocks of that
    /// instance and of this process. Redis itself, its clock and whoever deletes keys can take a heartbeat away.
    pub fn is_silent(&self, ttl: Duration) -> bool {
        self.heartbeat.is_none() && !self.is_young(ttl)
    }

    fn is_young(&self, ttl: Duration) -> bool {
        self.last_beat().is_some_and(|beat| age(beat) < ttl)
    }

    /// When it beat last (unix time, seconds).
    pub fn last_beat(&self) -> Option<f64> {
        let noted = self.beat.as_deref().and_then(|beat| beat.split(|byte| *byte == b' ').nth(1));
        let time = |text| std::str::from_utf8(text).ok()?.parse().ok();
        noted.and_then(time).or_else(|| self.heartbeat.as_deref().and_then(time))
    }

    /// Whether it shows a beat that `earlier` does not. What is missing shows none.
    fn shows_more_than(&self, earlier: &Self) -> bool {
        let new = |now: &Option<Bytes>, then: &Option<Bytes>| {
            now.as_ref().is_some_and(|now| now != EXPIRED && then.as_ref() != Some(now))
        };
        new(&self.beat, &earlier.beat) || new(&self.heartbeat, &earlier.heartbeat)
    }

    /// Keeps of `earlier` what has gone since.
    fn after(self, earlier: Self) -> Self {
        Self { beat: self.beat.or(earlier.beat), heartbeat: self.heartbeat.or(earlier.heartbeat), ..self }
    }
}

/// How long ago that was (unix time, seconds), by this process's clock.
pub fn age(time: f64) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    Duration::try_from_secs_f64((now - time).max(0.0)).unwrap_or_default()
}

/// What the looking process knows of its own beats.
#[derive(Clone, Copy, Debug)]
pub struct Judge {
    /// Since when it has beaten without a gap.
    pub steady_since: Option<Instant>,
    /// Since when, besides, it may take a missing heartbeat for one that has expired.
    pub may_judge_since: Option<Instant>,
}

/// What was seen of the others at earlier looks.
#[derive(Debug)]
pub struct Watch {
    ttl: Duration,
    apart: Duration,
    known: HashMap<Bytes, Known>,
}

/// The last sign of life of an instance.
#[derive(Debug)]
struct Known {
    sighting: Sighting,
    since: Instant,
    /// Whether it was seen to beat, and not only to have beaten.
    moves: bool,
    silent_since: Option<Instant>,
}

impl Watch {
    /// `apart` is the least time between two looks that make a verdict.
    pub fn new(ttl: Duration, apart: Duration) -> Self {
        Self { ttl, apart, known: HashMap::new() }
    }

    /// Takes in a look and returns the verdicts: what was seen of those who are dead. That is whoever has shown nothing new
    /// over the TTL; and, where this process has never seen it beat, whoever is silent at two looks.
    pub fn look(&mut self, sightings: &[Sighting], judge: Judge, now: Instant) -> Vec<Sighting> {
        let Some(steady_since) = judge.steady_since.filter(|since| *since <= now) else {
            self.known.clear();
            return Vec::new();
        };
        let mut known = std::mem::take(&mut self.known);
        let mut dead = Vec::new();
        for seen in sightings {
            let old = known.remove(&seen.id).filter(|old| old.since >= steady_since);
            let mut new = match old {
                Some(old) if !seen.shows_more_than(&old.sighting) => {
                    Known { sighting: seen.clone().after(old.sighting), ..old }
                }
                old => Known { sighting: seen.clone(), since: now, moves: old.is_some(), silent_since: None },
            };
            let never_heard = !new.moves && seen.heartbeat.is_none() && !new.sighting.is_young(self.ttl);
            let silent = seen.is_expired() || never_heard;
            new.silent_since = match judge.may_judge_since.filter(|since| silent && *since <= now) {
                Some(since) => new.silent_since.filter(|first| *first >= since).or(Some(now)),
                None => None,
            };
            if new.silent_since.is_some_and(|first| now - first >= self.apart)
                || now >= self.patience_ends(&new)
            {
                dead.push(seen.clone());
            }
            self.known.insert(seen.id.clone(), new);
        }
        dead
    }

    /// The second look at which nothing has changed.
    fn patience_ends(&self, known: &Known) -> Instant {
        known.since + self.ttl + self.apart
    }

    /// When the next look may lead to a verdict. One that could not be carried out, because another instance held the
    /// lock, lies in the past.
    pub fn next_look(&self, now: Instant) -> Option<Instant> {
        let second = |known: &Known| known.silent_since.map(|first| first + self.apart);
        let looks = self.known.values().flat_map(|known| [second(known), Some(self.patience_ends(known))]);
        looks.flatten().map(|look| if look > now { look } else { now + self.apart }).min()
    }

    /// Forgets what belongs to a closed case.
    pub fn forget(&mut self, id: &[u8]) {
        self.known.remove(id);
    }
}

/// What was silent at an earlier look: instances with a closed connection. `T` is what was seen, so that any change of it
/// is a sign of life.
#[derive(Debug)]
pub struct Suspects<T> {
    apart: Duration,
    first_look: HashMap<T, Instant>,
}

impl<T: Clone + Eq + Hash> Suspects<T> {
    /// `apart` is the least time between the two looks.
    pub fn new(apart: Duration) -> Self {
        Self { apart, first_look: HashMap::new() }
    }

    /// Takes in a look and returns the verdicts: who is dead. `steady_since` says since when the looking
    /// process has beaten without a gap.
    pub fn look(&mut self, silent: &[T], steady_since: Option<Instant>, now: Instant) -> Vec<T> {
        let Some(steady_since) = steady_since.filter(|since| *since <= now) else {
            self.first_look.clear();
            return Vec::new();
        };
        self.first_look.retain(|seen, first| *first >= steady_since && silent.contains(seen));
        let mut dead = Vec::new();
        for seen in silent {
            let first = *self.first_look.entry(seen.clone()).or_insert(now);
            if now - first >= self.apart {
                dead.push(seen.clone());
            }
        }
        dead
    }

    /// Forgets everything: nothing can be seen at present.
    pub fn clear(&mut self) {
        self.first_look.clear();
    }

    /// When the next look may lead to a verdict, if anybody is under suspicion.
    pub fn next_look(&self) -> Option<Instant> {
        self.first_look.values().min().map(|first| *first + self.apart)
    }

    /// Forgets what belongs to a closed case.
    pub fn acquit(&mut self, seen: &T) {
        self.first_look.remove(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seen(alive: bool) -> Vec<Bytes> {
        if alive { Vec::new() } else { vec![b"a".to_vec()] }
    }

    const TTL: Duration = Duration::from_secs(45);

    /// `beat` and `heartbeat` with how many seconds ago they were written.
    fn sighting(beat: Option<(u32, f64)>, heartbeat: Option<f64>) -> [Sighting; 1] {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        let beat = beat.map(|(number, ago)| format!("{number} {} run 17", now - ago).into_bytes());
        let heartbeat = heartbeat.map(|ago| format!("{:.0}", now - ago).into_bytes());
        [Sighting { id: b"a".to_vec(), heartbeat, beat }]
    }

    fn always(t: Instant) -> Judge {
        Judge { steady_since: Some(t), may_judge_since: Some(t) }
    }

    /// The first of these seconds at which a look every second makes a verdict.
    fn verdict_at(seconds: std::ops::Range<u32>, see: impl Fn(u32) -> ([Sighting; 1], bool)) -> Option<u32> {
        let (mut watch, t) = (Watch::new(TTL, 5 * SECOND), Instant::now());
        seconds.into_iter().find(|second| {
            let (seen, steady) = see(*second);
            let judge = if steady { always(t) } else { Judge { steady_since: None, ..always(t) } };
            !watch.look(&seen, judge, t + *second * SECOND).is_empty()
        })
    }

    #[test]
    fn whoever_shows_nothing_new_over_the_ttl_is_dead_whatever_becomes_of_the_heartbeat() {
        let there: [fn(u32) -> bool; 3] = [|_| false, |_| true, |second| second < 70];
        for there in there {
            let [seen] = sighting(Some((0, 0.0)), Some(0.0));
            let dead = verdict_at(0..200, |second| {
                let number = second.min(30) / 15;
                let beat = seen.beat.clone().map(|beat| [number.to_string().as_bytes(), &beat[1..]].concat());
                let heartbeat = seen.heartbeat.clone().filter(|_| there(second));
                ([Sighting { beat, heartbeat, ..seen.clone() }], true)
            });
            assert_eq!(dead, Some(30 + 45 + 5));
        }
    }

    #[test]
    fn whoever_is_not_heard_by_a_new_judge_is_dead_at_two_looks_where_nothing_speaks_for_it() {
        let dead = |seen: [Sighting; 1]| verdict_at(0..200, |_| (seen.clone(), true));
        assert_eq!(dead(sighting(None, None)), Some(5), "an instance of the 1.x gem");
        assert_eq!(dead(sighting(Some((7, 46.0)), None)), Some(5));
        assert_eq!(dead(sighting(Some((7, 3.0)), None)), Some(50), "its heartbeat was evicted");
        assert_eq!(dead(sighting(Some((7, 46.0)), Some(46.0))), Some(50), "its heartbeat is there");
        assert_eq!(dead(sighting(Some((7, -3600.0)), None)), Some(50), "a clock is wrong");
        let expired = Sighting { beat: Some(EXPIRED.to_vec()), ..sighting(None, None)[0].clone() };
        assert_eq!(dead([expired]), Some(5), "another one has given the verdict");
    }

    /// Its heartbeat comes and goes, as one of the 1.x gem that is evicted again and again.
    #[test]
    fn whoever_beats_is_alive_whatever_becomes_of_the_heartbeat() {
        let evicted = verdict_at(0..500, |second| {
            let beat = f64::from(second / 15) * 15.0;
            (sighting(None, (second % 15 < 3).then_some(-beat)), true)
        });
        assert_eq!(evicted, None);
    }

    #[test]
    fn a_gap_of_the_judge_starts_the_watch_anew() {
        let seen = sighting(Some((7, 0.0)), None);
        let silent = |gap: u32| verdict_at(0..300, |second| (seen.clone(), second != gap));
        assert_eq!(silent(300), Some(50));
        assert_eq!(silent(40), Some(41 + 50));
    }

    #[test]
    fn a_verdict_is_due_where_the_next_look_is_said_to_be() {
        let (mut watch, t) = (Watch::new(TTL, 5 * SECOND), Instant::now());
        watch.look(&sighting(Some((7, 3.0)), None), always(t), t);
        assert_eq!(watch.next_look(t), Some(t + 50 * SECOND));
        assert_eq!(watch.next_look(t + 60 * SECOND), Some(t + 65 * SECOND), "it could not be carried out");
        watch.forget(b"a");
        assert_eq!(watch.next_look(t), None);
    }

    #[test]
    fn two_looks_apart_make_a_verdict() {
        let (mut suspects, t) = (Suspects::new(5 * SECOND), Instant::now());
        assert!(suspects.look(&seen(false), Some(t), t).is_empty(), "one look");
        assert!(suspects.look(&seen(false), Some(t), t + 4 * SECOND).is_empty(), "too close");
        assert_eq!(suspects.look(&seen(false), Some(t), t + 5 * SECOND), vec![b"a".to_vec()]);
    }

    #[test]
    fn a_sign_of_life_ends_the_suspicion() {
        let (mut suspects, t) = (Suspects::new(5 * SECOND), Instant::now());
        suspects.look(&seen(false), Some(t), t);
        suspects.look(&seen(true), Some(t), t + 4 * SECOND);
        assert!(suspects.look(&seen(false), Some(t), t + 6 * SECOND).is_empty());
    }

    #[test]
    fn any_change_of_what_is_seen_is_a_sign_of_life() {
        let (mut suspects, t) = (Suspects::new(5 * SECOND), Instant::now());
        suspects.look(&[("a", 1)], Some(t), t);
        assert!(suspects.look(&[("a", 2)], Some(t), t + 6 * SECOND).is_empty());
        assert_eq!(suspects.look(&[("a", 2)], Some(t), t + 11 * SECOND), [("a", 2)]);
    }

    #[test]
    fn who_was_not_heard_himself_judges_nobody() {
        let (mut suspects, t) = (Suspects::new(5 * SECOND), Instant::now());
        suspects.look(&seen(false), Some(t), t);
        assert!(suspects.look(&seen(false), None, t + 6 * SECOND).is_empty(), "silent now");
        assert!(
            suspects.look(&seen(false), Some(t + 5 * SECOND), t + 7 * SECOND).is_empty(),
            "gap since the first look"
        );
        assert!(suspects.look(&seen(false), Some(t + 99 * SECOND), t + 20 * SECOND).is_empty(), "settling");
    }
}
