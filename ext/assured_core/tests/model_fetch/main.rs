//! Random sequences of what pops jobs and of what becomes of them, against a model in memory: `fetch.lua`,
//! `due.lua`, `release_if_unchanged.lua`, the poller's way through `requeue.lua`, and the plain push back.

mod steps;
mod world;

#[path = "../support/mod.rs"]
mod support;

#[test]
fn every_sequence_of_pops_and_returns_leaves_the_keys_that_the_model_says() {
    support::try_sequences::<world::World>(steps::step(), 40);
}
