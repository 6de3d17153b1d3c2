//! The protocol in all its interleavings, within bounds: jobs, claims, heartbeats, sweeps, crashes, pauses,
//! outages, lost replies, closed connections, jobs that are recovered too often. Beside it stands each mistake that
//! the checker must find, so that it is known to look.
//!
//! Not in the model: data that Redis itself loses, the middleware way, the choice of an id, a second Redis.

mod effects;
mod enabled;
mod mistakes;
mod process;
mod properties;
mod recovery;
mod redis;
mod steps;
mod symmetry;
mod world;

use mistakes::Mistake;
use stateright::{Checker, Model};
use steps::Protocol;
use world::Faults;

/// No faults.
const NONE: Faults = Faults {
    crashes: 0,
    pauses: 0,
    outages: 0,
    lost_replies: 0,
    exits: 0,
    ends: 0,
    failures: 0,
    cuts: 0,
    forgets: 0,
    evictions: 0,
    steps: 0,
};
/// What holds for a job at any time is best seen with replies that take time.
const FINE: Protocol = Protocol {
    jobs: 1,
    instances: 2,
    faults: NONE,
    fine: true,
    fast: false,
    poison: false,
    no_verdicts: false,
    mistake: None,
};
/// All numbers.
const FULL: Protocol = Protocol { jobs: 2, instances: 3, fine: false, ..FINE };

fn check(protocol: Protocol) -> impl Checker<Protocol> {
    protocol.checker().symmetry_fn(symmetry::representative).spawn_dfs().join()
}

fn holds(protocol: Protocol) {
    let checker = check(protocol);
    println!("{protocol:?}: {} states", checker.unique_state_count());
    checker.assert_properties();
}

/// The mistake breaks this property, and what is checked holds without it.
fn finds(mistake: Mistake, property: &'static str, protocol: Protocol) {
    check(protocol).assert_no_discovery(property);
    let found = check(Protocol { mistake: Some(mistake), ..protocol });
    let example = found.discovery(property).unwrap_or_else(|| panic!("{mistake:?} goes unnoticed"));
    println!("{mistake:?}: {:?}", example.into_actions());
}

#[test]
fn two_crashes_and_a_pause() {
    holds(Protocol { faults: Faults { crashes: 2, pauses: 1, ..NONE }, ..FULL });
}

#[test]
fn a_crash_and_a_pause_while_replies_take_time() {
    holds(Protocol { instances: 3, faults: Faults { crashes: 1, pauses: 1, ..NONE }, ..FINE });
    holds(Protocol { jobs: 2, faults: Faults { crashes: 1, pauses: 1, ..NONE }, ..FINE });
}

#[test]
fn commands_that_are_executed_and_not_answered() {
    holds(Protocol { faults: Faults { crashes: 1, pauses: 1, lost_replies: 1, ..NONE }, ..FINE });
    holds(Protocol { faults: Faults { crashes: 1, lost_replies: 2, failures: 1, ..NONE }, ..FINE });
}

#[test]
fn a_job_that_is_retried() {
    holds(Protocol { faults: Faults { crashes: 1, pauses: 1, failures: 1, ..NONE }, ..FINE });
}

#[test]
fn redis_is_away() {
    holds(Protocol { instances: 3, faults: Faults { crashes: 1, outages: 1, ..NONE }, ..FINE });
    holds(Protocol { faults: Faults { crashes: 1, pauses: 1, outages: 1, ..NONE }, ..FINE });
}

#[test]
fn a_clean_exit() {
    holds(Protocol { faults: Faults { crashes: 1, lost_replies: 1, exits: 1, failures: 1, ..NONE }, ..FINE });
    holds(Protocol { faults: Faults { crashes: 1, outages: 1, exits: 1, ..NONE }, ..FULL });
}

#[test]
fn recoveries_that_leave_no_verdict() {
    holds(Protocol { no_verdicts: true, faults: Faults { crashes: 1, pauses: 1, ..NONE }, ..FINE });
}

#[test]
fn connections_are_closed() {
    holds(Protocol { fast: true, faults: Faults { crashes: 1, pauses: 1, cuts: 1, ..NONE }, ..FINE });
    holds(Protocol {
        fast: true,
        jobs: 1,
        faults: Faults { crashes: 2, pauses: 1, cuts: 1, ..NONE },
        ..FULL
    });
}

#[test]
fn jobs_are_recovered_too_often() {
    holds(Protocol {
        poison: true,
        faults: Faults { crashes: 1, pauses: 1, lost_replies: 1, ..NONE },
        ..FINE
    });
    holds(Protocol { poison: true, faults: Faults { crashes: 2, pauses: 1, ..NONE }, ..FULL });
}

#[test]
fn runs_end_without_acknowledgement() {
    let faults = Faults { ends: 2, ..NONE };
    for poison in [false, true] {
        holds(Protocol { poison, faults: Faults { crashes: 1, pauses: 1, ..faults }, ..FINE });
        holds(Protocol { poison, faults: Faults { crashes: 1, lost_replies: 1, ..faults }, ..FINE });
    }
    holds(Protocol { faults: Faults { crashes: 1, exits: 1, failures: 1, ..faults }, ..FINE });
    holds(Protocol { faults: Faults { outages: 1, lost_replies: 1, ..faults }, ..FINE });
}

#[test]
fn finds_an_end_without_acknowledgement_that_does_not_count() {
    let faults = Faults { ends: 2, ..NONE };
    finds(Mistake::EndUncounted, "poison bound", Protocol { poison: true, faults, ..FINE });
}

#[test]
fn finds_an_end_of_a_lost_lease_that_stores_a_retry() {
    let faults = Faults { pauses: 1, ends: 1, ..NONE };
    finds(Mistake::EndUnchecked, "bounded duplication", Protocol { faults, ..FINE });
}

#[test]
fn nothing_is_left_of_a_verdict() {
    holds(Protocol { faults: Faults { pauses: 1, forgets: 1, failures: 1, ..NONE }, ..FINE });
    holds(Protocol { faults: Faults { crashes: 1, pauses: 1, forgets: 1, lost_replies: 1, ..NONE }, ..FINE });
}

#[test]
fn heartbeats_are_evicted_and_the_clock_of_the_server_is_set_back() {
    holds(Protocol { faults: Faults { crashes: 1, pauses: 1, evictions: 1, steps: 1, ..NONE }, ..FINE });
    holds(Protocol { faults: Faults { crashes: 2, evictions: 1, steps: 1, ..NONE }, ..FULL });
}

#[test]
fn finds_a_verdict_on_a_heartbeat_that_is_gone() {
    finds(Mistake::KeyAlone, "right verdicts", Protocol { faults: Faults { evictions: 1, ..NONE }, ..FINE });
}

#[test]
fn finds_a_heartbeat_that_is_waited_for_while_it_does_not_expire() {
    let faults = Faults { crashes: 1, steps: 1, ..NONE };
    finds(Mistake::KeyNeeded, "bounded recovery", Protocol { faults, ..FINE });
}

#[test]
fn finds_a_zombie_that_records_anew_what_others_have() {
    let faults = Faults { pauses: 1, forgets: 1, ..NONE };
    finds(Mistake::Forgetful, "nothing anew", Protocol { faults, ..FINE });
}

#[test]
fn finds_a_verdict_on_what_was_seen_long_ago() {
    let faults = Faults { cuts: 1, ..NONE };
    finds(Mistake::CondemnUnchecked, "right verdicts", Protocol { fast: true, faults, ..FINE });
}

#[test]
fn finds_a_verdict_that_spares_what_is_on_its_way() {
    let faults = Faults { crashes: 1, pauses: 1, ..NONE };
    finds(Mistake::NoDoubt, "poison bound", Protocol { poison: true, faults, ..FINE });
}

#[test]
fn finds_a_count_that_a_recovery_loses() {
    let faults = Faults { crashes: 2, ..NONE };
    let protocol = Protocol { instances: 3, poison: true, faults, ..FINE };
    finds(Mistake::CountLost, "poison bound", protocol);
}

#[test]
fn finds_a_delete_before_the_push() {
    finds(Mistake::DeleteBeforePush, "no loss", Protocol { faults: Faults { crashes: 1, ..NONE }, ..FINE });
}

#[test]
fn finds_a_release_without_a_look_at_the_claim() {
    finds(Mistake::ReleaseUnchecked, "fencing", Protocol { faults: Faults { pauses: 1, ..NONE }, ..FINE });
}

#[test]
fn finds_a_payload_that_one_holder_deletes_for_the_other() {
    finds(Mistake::SharedPayload, "no loss", Protocol { faults: Faults { failures: 1, ..NONE }, ..FINE });
}

#[test]
fn finds_a_heartbeat_that_ends_when_the_shutdown_begins() {
    let faults = Faults { exits: 1, ..NONE };
    finds(Mistake::BeatDroppedAtShutdown, "right verdicts", Protocol { faults, ..FINE });
}

#[test]
fn finds_a_verdict_after_an_outage() {
    let faults = Faults { outages: 1, ..NONE };
    finds(Mistake::VerdictAfterOutage, "right verdicts", Protocol { faults, ..FINE });
}

#[test]
fn finds_a_late_release_of_a_name_that_the_process_has_taken_again() {
    let faults = Faults { crashes: 1, pauses: 1, ..NONE };
    for mistake in [Mistake::NameReused, Mistake::StaleRelease] {
        finds(mistake, "fencing", Protocol { faults, ..FINE });
    }
    finds(Mistake::NoSpareName, "fencing", Protocol { no_verdicts: true, faults, ..FINE });
}
