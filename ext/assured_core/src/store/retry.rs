//! Records on their way into Sidekiq's set of retries: one atomic step, or two where queues and tracking keys lie in
//! two Redis servers.

use std::time::{Duration, SystemTime};

use redis::Value;

use super::link::parse;
use super::{Requeued, Store, cmd};
use crate::Bytes;
use crate::error::Result;
use crate::identity::Identity;
use crate::scripts;

impl Store {
    /// Moves the job of an attempt that ended without acknowledgement into the set of retries, where it is due after
    /// `wait`. [`Requeued::Refused`]: it cannot be put there, and stays recorded.
    pub fn retry(
        &mut self,
        identity: &Identity,
        name: &Bytes,
        payload: &Bytes,
        wait: Duration,
    ) -> Result<Requeued> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let due = format!("{:.6}", (now + wait).as_secs_f64()).into_bytes();
        if self.queues.is_some() {
            return self.retry_across(identity, name, payload, &due);
        }
        let keys = [
            self.keys.jobs(&identity.id),
            self.keys.instances(),
            self.keys.job(name),
            self.keys.sorted_set(b"retry"),
            self.keys.stats(),
        ];
        let args = [&identity.id, identity.entry.as_bytes(), name.as_slice(), &due, payload];
        self.one("retry", scripts::RETRY.call(&keys, &args)).map(Requeued::from_reply)
    }

    /// The set of retries first, the record then. A crash in between runs the job twice, and loses none.
    fn retry_across(
        &mut self,
        identity: &Identity,
        name: &Bytes,
        payload: &Bytes,
        due: &Bytes,
    ) -> Result<Requeued> {
        let id = &identity.id;
        if self.held(id, &[name], false)? != Some(vec![Requeued::Yes]) {
            return Ok(Requeued::Gone);
        }
        let add = cmd("ZADD", [&self.keys.sorted_set(b"retry"), due, payload]);
        let queues = self.queues.as_mut().expect("only called with a second Redis");
        let added = queues.run("retry", &[add])?.into_iter().next().map(|reply| parse::<i64>("retry", reply));
        if !matches!(added, Some(Ok(_))) {
            return Ok(Requeued::Refused);
        }
        let release = self.release_command(id, identity.entry.as_bytes(), std::slice::from_ref(name));
        self.one::<Value>("retry", release)?;
        // Best effort, as it is not the same step.
        self.count("unacknowledged", 1).or(Ok(()))?;
        Ok(Requeued::Yes)
    }
}
