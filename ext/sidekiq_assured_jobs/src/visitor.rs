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

/// `Native.instances(settings) → [[id, beat or nil, in_flight], …]`; beat is unix time.
pub fn instances(ruby: &Ruby, hash: RHash) -> Result<RArray, Error> {
    let found = visit(ruby, hash, |store, settings| inspection::instances(store, settings.heartbeat_ttl))?;
    let array = ruby.ary_new_capa(found.len());
    for InstanceStatus { id, beat, in_flight } in found {
        array.push((text(ruby, &id), beat, in_flight))?;
    }
    Ok(array)
}

/// `Native.records(settings, dead_only) → [[instance id, record name, payload or nil], …]`
pub fn records(ruby: &Ruby, hash: RHash, dead_only: bool) -> Result<RArray, Error> {
    let found =
        visit(ruby, hash, |store, settings| inspection::records(store, settings.heartbeat_ttl, dead_only))?;
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

/// `Native.stats(settings) → {counter => Integer}`
pub fn stats(ruby: &Ruby, hash: RHash) -> Result<RHash, Error> {
    let found = visit(ruby, hash, |store, _| store.stats())?;
    let counters = ruby.hash_new();
    for (name, count) in found {
        counters.aset(text(ruby, &name), count)?;
    }
    Ok(counters)
}

/// `Native.count(settings, counter, by) → nil`
pub fn count(ruby: &Ruby, hash: RHash, counter: String, by: u64) -> Result<(), Error> {
    visit(ruby, hash, |store, _| store.count(&counter, by))
}

fn visit<T>(
    ruby: &Ruby,
    hash: RHash,
    look: impl Fn(&mut Store, &Settings) -> CoreResult<T>,
) -> Result<T, Error> {
    guarded(ruby, || {
        let settings: Settings = settings(ruby, hash)?;
        // Asked a moment ago; nobody answers questions here.
        settings.passwords.close();
        // Bounded by the timeouts of the connection, so it needs no interrupt.
        wait(ruby, || Wait::Over(look(&mut Store::new(&settings, "visit"), &settings)), || {})?
            .map_err(|cause| error(ruby, "ConnectionError", cause.to_string()))
    })
}
