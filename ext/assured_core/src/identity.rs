//! Who this process is to the others.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};

use crate::Bytes;
use crate::settings::Settings;

/// A claimed id and the registry entry that proves whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The instance id.
    pub id: Bytes,
    /// JSON for the registry: host, pid, nonce, version, `started_at` (unix time, seconds).
    pub entry: String,
}

/// The ids to try, best one first: the name asked for, then that name with a nonce. A name that is not
/// free still hides in-flight jobs of its last owner, or belongs to a process that lives.
#[derive(Debug)]
pub struct Candidates {
    name: String,
    nonce: String,
    entry: String,
    refused: u32,
}

impl Candidates {
    /// The candidates of one process.
    pub fn new(settings: &Settings) -> Self {
        let name = settings
            .instance_name
            .clone()
            .unwrap_or_else(|| format!("{}:{}:{}", settings.hostname, settings.pid, settings.nonce));
        let started_at =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let entry = serde_json::json!({
            "host": settings.hostname,
            "pid": settings.pid,
            "nonce": settings.nonce,
            "version": settings.version,
            "started_at": started_at,
        });
        Self { name, nonce: settings.nonce.clone(), entry: entry.to_string(), refused: 0 }
    }

    /// The id to try now.
    pub fn current(&self) -> Identity {
        let id = match self.refused {
            0 => self.name.clone(),
            1 => format!("{}:{}", self.name, self.nonce),
            n => format!("{}:{}.{n}", self.name, self.nonce),
        };
        Identity { id: id.into_bytes(), entry: self.entry.clone() }
    }

    /// Says that the current id is not to be had.
    pub fn refuse(&mut self) {
        self.refused += 1;
    }
}

/// The identity that all threads of an engine share, once the heartbeat thread has claimed it.
#[derive(Debug, Default)]
pub struct SharedIdentity {
    current: Mutex<Option<Arc<Identity>>>,
    claimed: Condvar,
}

impl SharedIdentity {
    /// The identity, if it is claimed already.
    pub fn get(&self) -> Option<Arc<Identity>> {
        self.current.lock().clone()
    }

    /// Sets the identity.
    pub fn set(&self, identity: Identity) {
        *self.current.lock() = Some(Arc::new(identity));
        self.claimed.notify_all();
    }

    /// Waits until there is one, at most for `limit`.
    pub fn wait(&self, limit: Duration) -> Option<Arc<Identity>> {
        let mut current = self.current.lock();
        if current.is_none() {
            self.claimed.wait_for(&mut current, limit);
        }
        current.clone()
    }
}
