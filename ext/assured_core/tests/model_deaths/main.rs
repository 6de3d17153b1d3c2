//! Random sequences of what ends the records of a dead instance, against a model in memory: `kill.lua`, `settle.lua`
//! and `requeue.lua`, with the Dead set, the list of deaths, the verdicts and the counters that they leave.

mod steps;
mod world;

#[path = "../support/mod.rs"]
mod support;

#[test]
fn every_sequence_of_recoveries_and_deaths_leaves_the_keys_that_the_model_says() {
    support::try_sequences::<world::World>(steps::step(), 40);
}
