//! Which classes this process knows to be assured. Redis is told of them, so that whoever pops a job records it also
//! where its payload does not say that it is assured.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::Bytes;
use crate::error::Result;
use crate::store::Store;

/// Names of classes, and how often their jobs may be recovered, where a class says so.
#[derive(Debug, Default)]
pub struct AssuredClasses {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    limits: BTreeMap<Bytes, Option<u64>>,
    news: bool,
}

impl AssuredClasses {
    /// Those that are known at the start.
    pub fn new(limits: impl IntoIterator<Item = (Bytes, Option<u64>)>) -> Self {
        Self { state: Mutex::new(State { limits: limits.into_iter().collect(), news: true }) }
    }

    /// Adds a class.
    pub fn add(&self, name: Bytes, limit: Option<u64>) {
        let mut state = self.state.lock();
        state.news |= state.limits.insert(name, limit) != Some(limit);
    }

    /// How often the jobs of a class may be recovered, where it says so.
    pub fn limit(&self, name: &str) -> Option<u64> {
        self.state.lock().limits.get(name.as_bytes()).copied().flatten()
    }

    /// Tells Redis what it does not know, or has lost.
    ///
    /// # Errors
    /// When Redis fails.
    pub fn announce(&self, store: &mut Store) -> Result<()> {
        let (count, news) = {
            let state = self.state.lock();
            (state.limits.len() as u64, state.news)
        };
        if count == 0 || (!news && store.assured_classes()? >= count) {
            return Ok(());
        }
        let limits = self.state.lock().limits.clone();
        store.add_assured_classes(&limits)?;
        let mut state = self.state.lock();
        state.news = state.limits != limits;
        Ok(())
    }
}
