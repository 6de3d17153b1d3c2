//! What people want to see: who lives, and what the dead left behind.

use std::time::Duration;

use crate::Bytes;
use crate::error::Result;
use crate::record;
use crate::store::{InstanceStatus, Store};

/// Records read in one step, and the bytes of payload that one step may carry.
const STEP: usize = 200;
const BUDGET: usize = 1 << 20;

/// An in-flight record, as it stands in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// The instance that holds it.
    pub instance: Bytes,
    /// Name of the record.
    pub name: Bytes,
    /// Payload, unless it is gone.
    pub payload: Option<Bytes>,
}

/// All instances, those of the 1.x gem included. `ttl` is what a heartbeat lives for.
///
/// # Errors
/// When Redis fails.
pub fn instances(store: &mut Store, ttl: Duration) -> Result<Vec<InstanceStatus>> {
    store.adopt_strangers(|| true)?;
    store.statuses(ttl)
}

/// All in-flight records, of all instances or only of those that are dead.
///
/// # Errors
/// When Redis fails.
pub fn records(store: &mut Store, ttl: Duration, dead_only: bool) -> Result<Vec<InFlight>> {
    let mut found = Vec::new();
    for status in instances(store, ttl)?.into_iter().filter(|status| !dead_only || status.beat.is_none()) {
        each_batch(store, &status.id, STEP, BUDGET, |_, batch| {
            found.extend(batch.into_iter().map(|(name, record)| InFlight {
                instance: status.id.clone(),
                name,
                payload: record.map(|record| record::read(&record).1.to_vec()),
            }));
            Ok(true)
        })?;
    }
    Ok(found)
}

/// Hands the records of an instance to `visit`, in batches of at most `step` records and about `budget`
/// bytes, until it says no or all were seen.
///
/// # Errors
/// When Redis fails, or `visit` does.
pub fn each_batch(
    store: &mut Store,
    id: &[u8],
    step: usize,
    budget: usize,
    mut visit: impl FnMut(&mut Store, Vec<(Bytes, Option<Bytes>)>) -> Result<bool>,
) -> Result<()> {
    let mut cursor = 0;
    loop {
        let (next, mut names) = store.records(id, cursor, step)?;
        // A set small enough to be kept compactly is returned whole, whatever COUNT says.
        while !names.is_empty() {
            let wanted = names.len().min(step);
            let payloads = store.payloads(&names[..wanted], budget)?;
            let rest = names.split_off(payloads.len().min(wanted));
            let batch = std::mem::replace(&mut names, rest).into_iter().zip(payloads).collect();
            if !visit(store, batch)? {
                return Ok(());
            }
        }
        cursor = next;
        if cursor == 0 {
            return Ok(());
        }
    }
}
