//! Looks at what is in Redis, for consoles and web pages. Each call opens a connection of its own and
//! closes it: such processes keep nothing open.

use assured_core::error::Result as CoreResult;
use assured_core::inspection::{self, InFlight};
use assured_core::settings::Settings;
use assured_core::store::{InstanceStatus, Store};
use magnus::{Error, RArray, RHash, Ruby};

use crate::error::{error, guarded};
use crate::gvl::{Wait, wait};
use crate::settings::settings;
use crate::strings::text;

/// `Native.instances(settings) → [[id, beat or nil, in_flight], …]`; beat is the heartbeat's value.
pub fn instances(ruby: &Ruby, hash: RHash) -> Result<RArray, Error> {
    let found = visit(ruby, hash, inspection::instances)?;
    let array = ruby.ary_new_capa(found.len());
    for InstanceStatus { id, beat, in_flight } in found {
        array.push((text(ruby, &id), beat.map(|beat| text(ruby, &beat)), in_flight))?;
    }
    Ok(array)
}

/// `Native.records(settings, dead_only) → [[instance id, record name, payload or nil], …]`
pub fn records(ruby: &Ruby, hash: RHash, dead_only: bool) -> Result<RArray, Error> {
    let found = visit(ruby, hash, |store| inspection::records(store, dead_only))?;
    let array = ruby.ary_new_capa(found.len());
    for InFlight { instance, name, payload } in found {
        array.push((
            text(ruby, &instance),
            text(ruby, &name),
            payload.map(|payload| text(ruby, &payload)),
        ))?;
    }
    Ok(array)
}

fn visit<T>(ruby: &Ruby, hash: RHash, look: impl Fn(&mut Store) -> CoreResult<T>) -> Result<T, Error> {
    guarded(ruby, || {
        let settings: Settings = settings(ruby, hash)?;
        // Asked a moment ago; nobody answers questions here.
        settings.passwords.close();
        // Bounded by the timeouts of the connection, so it needs no interrupt.
        wait(ruby, || Wait::Over(look(&mut Store::new(&settings, "visit"))), || {})?
            .map_err(|cause| error(ruby, "ConnectionError", cause.to_string()))
    })
}
