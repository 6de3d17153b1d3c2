//! Records on their way into Sidekiq's set of retries.

use std::time::{Duration, SystemTime};

use super::{Requeued, Store};
use crate::Bytes;
use crate::error::Result;
use crate::identity::Identity;
use crate::scripts;

impl Store {
    /// Moves the job of an attempt that ended without acknowledgement into the set of retries, where it is due after
    /// `wait`. [`Requeued::Refused`]: it cannot be put there, where queues and records lie in two Redis servers above all,
    /// and stays recorded.
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
            return Ok(Requeued::Refused);
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
}
