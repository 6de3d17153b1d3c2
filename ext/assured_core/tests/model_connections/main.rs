//! Random sequences of what happens to heartbeats and to the connections that they go through, against a model in
//! memory: `beat.lua`, `claim.lua`, `expire.lua`, `retire.lua`, and `adopt.lua` on ids that nobody has registered. Scripts are called as such, since the model chooses the connections.

mod steps;
mod world;

#[path = "../support/mod.rs"]
mod support;

#[test]
fn every_sequence_of_connections_and_verdicts_leaves_the_keys_that_the_model_says() {
    support::try_sequences::<world::World>(steps::step(), 40);
}
