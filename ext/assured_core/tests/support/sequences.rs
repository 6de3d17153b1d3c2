//! Random sequences of steps on a real Redis, next to a model in memory: after each step the whole key space
//! must be the one that the model says.

use std::cell::RefCell;
use std::fmt::Debug;

use assured_core::store::Store;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{Redis, Space};

/// How many sequences are tried where `PROPTEST_CASES` does not say it.
const CASES: u32 = 200;

/// The real thing. All sequences of a test share it: databases and ports run out.
pub struct Real {
    pub redis: Redis,
    pub store: Store,
}

/// What should be.
pub trait World: Sized {
    /// Something that can happen.
    type Step: Debug;

    /// Begins on an empty database.
    fn new(real: &mut Real) -> Self;

    /// Does it, here and there, and compares what it returns.
    fn perform(&mut self, real: &mut Real, step: &Self::Step);

    fn expected(&self) -> Space;
}

/// Tries sequences of up to `length` steps.
pub fn try_sequences<W: World>(step: impl Strategy<Value = W::Step>, length: usize) {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let default = Config::default();
    let cases = if asked { default.cases } else { CASES };
    let redis = Redis::shared();
    let real = RefCell::new(Real { store: redis.store(), redis });
    TestRunner::new(Config { cases, failure_persistence: None, ..default })
        .run(&proptest::collection::vec(step, 1..length), |steps| {
            let real = &mut *real.borrow_mut();
            real.redis.run::<()>(&["FLUSHDB"]);
            // The store has seen the last sequence, and must not take this for lost data.
            real.redis.run::<()>(&["SET", "ns:epoch", "epoch"]);
            let mut world = W::new(real);
            for (done, step) in steps.iter().enumerate() {
                world.perform(real, step);
                prop_assert_eq!(real.redis.dump(), world.expected(), "after {:?}", &steps[..=done]);
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}
