//! All key names, built in one place. Names are public: users look at them, and the 1.x gem shares them.
//! No id is ever parsed out of the middle of a key, so ids may contain any character.

use crate::Bytes;

/// Builds key names for one namespace.
#[derive(Clone, Debug)]
pub struct Keys {
    tracking: Bytes,
    sidekiq: Bytes,
}

impl Keys {
    /// `namespace` has no trailing colon; the prefixes are those of redis-namespace, colon included,
    /// of the Redis with the tracking keys and of the Redis with the queues.
    pub fn new(namespace: &str, tracking_prefix: &str, sidekiq_prefix: &str) -> Self {
        Self {
            tracking: format!("{tracking_prefix}{namespace}:").into_bytes(),
            sidekiq: sidekiq_prefix.as_bytes().to_vec(),
        }
    }

    /// String with TTL: heartbeat of an instance; its value is unix time in seconds.
    pub fn instance(&self, id: &[u8]) -> Bytes {
        self.tracked(b"instance:", id)
    }

    /// Set: names of the in-flight records that an instance holds.
    pub fn jobs(&self, id: &[u8]) -> Bytes {
        self.tracked(b"jobs:", id)
    }

    /// String: payload of an in-flight record, named after its jid (or a spare name).
    pub fn job(&self, name: &[u8]) -> Bytes {
        self.tracked(b"job:", name)
    }

    /// What all payload keys begin with, for the script that pops: a job's name is known only then.
    pub fn job_prefix(&self) -> Bytes {
        self.job(b"")
    }

    /// String with TTL: tells an instance that still lives that it was declared dead.
    pub fn verdict(&self, id: &[u8]) -> Bytes {
        self.tracked(b"verdict:", id)
    }

    /// Hash id → JSON: the registry of instances.
    pub fn instances(&self) -> Bytes {
        self.tracked(b"instances", b"")
    }

    /// Hash id → the last beat of an instance: `lua/beats.lua` says what stands there.
    pub fn beats(&self) -> Bytes {
        self.tracked(b"beats", b"")
    }

    /// String: names the data in this Redis, so that an instance notices when all of it was lost.
    pub fn epoch(&self) -> Bytes {
        self.tracked(b"epoch", b"")
    }

    /// String with TTL: somebody has looked at the connections just now.
    pub fn look_turn(&self) -> Bytes {
        self.tracked(b"look_turn", b"")
    }

    /// String with TTL: owner token of the sweep.
    pub fn recovery_lock(&self) -> Bytes {
        self.tracked(b"recovery_lock", b"")
    }

    /// Hash: counters since ever.
    pub fn stats(&self) -> Bytes {
        self.tracked(b"stats", b"")
    }

    /// Hash: names of assured classes → how often their jobs may be recovered, or nothing.
    pub fn assured_classes(&self) -> Bytes {
        self.tracked(b"assured_classes", b"")
    }

    /// List: payloads of jobs that died and whose handlers have not begun.
    pub fn deaths(&self) -> Bytes {
        self.tracked(b"deaths", b"")
    }

    /// List: a queue of Sidekiq.
    pub fn queue(&self, name: &[u8]) -> Bytes {
        [&self.sidekiq, b"queue:".as_slice(), name].concat()
    }

    /// Sorted set of Sidekiq: `retry`, `schedule` or `dead`.
    pub fn sorted_set(&self, name: &[u8]) -> Bytes {
        [&self.sidekiq, name].concat()
    }

    /// Set: names of Sidekiq's queues.
    pub fn queues(&self) -> Bytes {
        [&self.sidekiq, b"queues".as_slice()].concat()
    }

    /// Glob pattern that matches every tracking key.
    pub fn tracking_pattern(&self) -> Bytes {
        let mut pattern = Bytes::new();
        for &byte in &self.tracking {
            if b"*?[]^\\-".contains(&byte) {
                pattern.push(b'\\');
            }
            pattern.push(byte);
        }
        pattern.push(b'*');
        pattern
    }

    /// The instance id in a key that [`Keys::jobs`] or [`Keys::instance`] built.
    pub fn instance_of<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        let prefixes = [self.jobs(b""), self.instance(b"")];
        prefixes.iter().find_map(|prefix| key.strip_prefix(prefix.as_slice()))
    }

    fn tracked(&self, kind: &[u8], rest: &[u8]) -> Bytes {
        [&self.tracking, kind, rest].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_1x_gem() {
        let keys = Keys::new("sidekiq_assured_jobs", "", "");
        assert_eq!(keys.instance(b"a:1"), b"sidekiq_assured_jobs:instance:a:1");
        assert_eq!(keys.jobs(b"a:1"), b"sidekiq_assured_jobs:jobs:a:1");
        assert_eq!(keys.job(b"jid"), b"sidekiq_assured_jobs:job:jid");
        assert_eq!(keys.recovery_lock(), b"sidekiq_assured_jobs:recovery_lock");
        assert_eq!(keys.queue(b"low"), b"queue:low");
    }

    #[test]
    fn redis_namespace_prefixes_every_key() {
        let keys = Keys::new("ns", "app:", "app:");
        assert_eq!(keys.instances(), b"app:ns:instances");
        assert_eq!(keys.queues(), b"app:queues");
    }

    #[test]
    fn an_id_with_colons_comes_back_whole() {
        let keys = Keys::new("ns", "", "");
        for key in [keys.jobs(b"host:12:ab"), keys.instance(b"host:12:ab")] {
            assert_eq!(keys.instance_of(&key), Some(b"host:12:ab".as_slice()));
        }
        assert_eq!(keys.instance_of(b"ns:job:host"), None);
    }

    #[test]
    fn a_namespace_with_glob_characters_matches_itself_only() {
        let keys = Keys::new("a*[b]", "", "");
        assert_eq!(keys.tracking_pattern(), b"a\\*\\[b\\]:*");
    }
}
