//! Random sequences of what happens to ids that have records and to records whose payload is gone, against a
//! model in memory: `claim.lua`, `beat.lua`, `retire.lua`, `payloads.lua`, `forget.lua`, and what makes and
//! takes records in between.

mod steps;
mod world;

#[path = "../support/mod.rs"]
mod support;

#[test]
fn every_sequence_on_ids_with_records_leaves_the_keys_that_the_model_says() {
    support::try_sequences::<world::World>(steps::step(), 40);
}
