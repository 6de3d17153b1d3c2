//! Each verb of the store: seed keys, run it, compare the whole key space.

mod support;

use std::time::Duration;

use assured_core::Bytes;
use assured_core::error::Remedy;
use assured_core::settings::DeadSet;
use assured_core::store::{Beat, Death, Requeued, Store};
use support::{
    ENTRY, Redis, Space, expiring, hash, identity, list, names, ranked, record, set, space, text, to_queue,
};

const TTL: Duration = Duration::from_secs(30);
const OTHER: &str = r#"{"nonce":"other"}"#;

fn seeded(keys: &Space) -> (Redis, Store) {
    let mut redis = Redis::shared();
    redis.seed(keys);
    let store = redis.store();
    (redis, store)
}

/// Instance `a`, as it stands after its claim.
fn registered() -> Space {
    space([("ns:instances", hash(&[("a", ENTRY)]))]).beating("a")
}

/// Instance `dead` without a heartbeat, with two orphans.
fn orphans() -> Space {
    space([
        ("ns:instances", hash(&[("dead", OTHER)])),
        ("ns:jobs:dead", set(&["j1", "j2"])),
        ("ns:job:j1", text("{1}")),
        ("ns:job:j2", text("{2}")),
    ])
}

#[test]
fn claim_takes_a_free_name() {
    let (mut redis, mut store) = seeded(&space([]));
    assert!(store.claim(&identity("a"), TTL).unwrap());
    assert_eq!(redis.dump(), registered());
}

#[test]
fn claim_refuses_a_name_with_a_heartbeat() {
    let before = space([("ns:instance:a", expiring("5"))]);
    let (mut redis, mut store) = seeded(&before);
    assert!(!store.claim(&identity("a"), TTL).unwrap());
    assert_eq!(redis.dump(), before);
}

#[test]
fn claim_refuses_a_name_that_still_has_jobs() {
    let before =
        space([("ns:jobs:a", set(&["j"])), ("ns:job:j", text("{}")), ("ns:verdict:a", expiring("judge"))]);
    let (mut redis, mut store) = seeded(&before);
    assert!(!store.claim(&identity("a"), TTL).unwrap());
    assert_eq!(redis.dump(), before);
}

#[test]
fn claim_again_with_the_same_entry_succeeds_whatever_the_instance_holds() {
    let before = registered().with("ns:jobs:a", set(&["j"]));
    let (mut redis, mut store) = seeded(&before);
    assert!(store.claim(&identity("a"), TTL).unwrap());
    assert_eq!(redis.dump(), before);
}

#[test]
fn claim_removes_a_verdict_that_was_meant_for_the_last_owner() {
    let (mut redis, mut store) =
        seeded(&space([("ns:instances", hash(&[("a", OTHER)])), ("ns:verdict:a", expiring("judge"))]));
    assert!(store.claim(&identity("a"), TTL).unwrap());
    assert_eq!(redis.dump(), registered());
}

#[test]
fn the_heartbeat_lives_for_its_ttl() {
    let (mut redis, mut store) = seeded(&space([]));
    store.claim(&identity("a"), TTL).unwrap();
    let left: i64 = redis.run(&["PTTL", "ns:instance:a"]);
    assert!((25_000..=30_000).contains(&left), "{left}");
    store.beat(&identity("a"), 2 * TTL, &[]).unwrap();
    let left: i64 = redis.run(&["PTTL", "ns:instance:a"]);
    assert!((55_000..=60_000).contains(&left), "{left}");
}

/// Beats as `a` and asks about no payload.
fn beat(store: &mut Store) -> Beat {
    store.beat(&identity("a"), TTL, &[]).unwrap()
}

#[test]
fn beat_tells_when_redis_has_lost_its_data() {
    let (mut redis, mut store) = seeded(&space([]));
    assert!(store.claim(&identity("a"), TTL).unwrap());
    let mut lost = || matches!(beat(&mut store), Beat::Ours { verdict: None, data_lost: true, .. });
    assert!(!lost());
    redis.run::<()>(&["FLUSHDB"]);
    redis.store().claim(&identity("b"), TTL).unwrap();
    assert!(lost(), "whoever came back first");
    assert!(!lost(), "once");
}

/// Whatever became of what was left to tell of it, and however long ago that was.
#[test]
fn beat_tells_of_a_verdict_that_has_fallen() {
    for left in [false, true] {
        let (mut redis, mut store) = seeded(&space([]));
        assert!(store.claim(&identity("a"), TTL).unwrap());
        let judged = |redis: &mut Redis, store: &mut Store| {
            let judge = &mut redis.store();
            let seen = judge.look().unwrap().remove(0);
            assert!(judge.expire(&seen).unwrap());
            if left {
                assert_eq!(judge.bury(b"a").unwrap(), 0);
            }
            matches!(beat(store), Beat::Ours { verdict: Some(_), data_lost: false, .. })
        };
        assert!(judged(&mut redis, &mut store), "it has left the registry: {left}");
        assert!(matches!(beat(&mut store), Beat::Ours { verdict: Some(_), .. }), "until it is cleared");
    }
}

#[test]
fn a_verdict_falls_on_what_was_seen_and_takes_all_signs_of_life_away() {
    let (mut redis, mut store) = seeded(&space([]));
    let mut judge = redis.store();
    assert!(store.claim(&identity("a"), TTL).unwrap());
    let seen = judge.look().unwrap().remove(0);
    beat(&mut store);
    assert!(!judge.expire(&seen).unwrap(), "it has beaten since");
    redis.run::<()>(&["DEL", "ns:instance:a"]);
    assert!(!judge.expire(&seen).unwrap(), "its heartbeat was evicted, its last beat tells");
    let seen = judge.look().unwrap().remove(0);
    assert!(judge.expire(&seen).unwrap());
    assert!(!judge.expire(&seen).unwrap(), "one judge says it");
    let seen = judge.look().unwrap().remove(0);
    assert!(!seen.is_alive() && seen.is_silent(TTL), "{seen:?}");
    assert!(judge.expire(&seen).unwrap(), "who finds it so goes on with it");
    beat(&mut store);
    assert!(judge.look().unwrap()[0].is_alive());
    assert!(!judge.expire(&seen).unwrap(), "it lives again");
    redis.run::<()>(&["HDEL", "ns:beats", "a"]);
    assert!(!judge.expire(&seen).unwrap(), "its heartbeat tells, as that of the 1.x gem");
}

#[test]
fn a_heartbeat_that_is_gone_says_nothing_while_the_last_beat_is_young() {
    let (mut redis, mut store) = seeded(&space([]));
    assert!(store.claim(&identity("a"), TTL).unwrap());
    redis.run::<()>(&["DEL", "ns:instance:a"]);
    let seen = redis.store().look().unwrap().remove(0);
    assert!(!seen.is_silent(TTL) && seen.is_silent(Duration::ZERO), "{seen:?}");
    assert_eq!(redis.store().requeue(b"a", b"judge", &[to_queue("j", "{}")]).unwrap(), None);
    redis.run::<()>(&["HDEL", "ns:beats", "a"]);
    assert!(redis.store().look().unwrap()[0].is_silent(TTL), "nothing is known of it");
}

fn ours(verdict: Option<&str>, records: &[&str], payloads: &[bool]) -> Beat {
    Beat::Ours {
        verdict: verdict.map(Bytes::from),
        records: names(records).into_iter().collect(),
        payloads: payloads.to_vec(),
        data_lost: false,
    }
}

#[test]
fn beat_as_expected() {
    let (mut redis, mut store) = seeded(&registered());
    assert_eq!(beat(&mut store), ours(None, &[], &[]));
    assert_eq!(redis.dump(), registered());
}

#[test]
fn beat_after_the_heartbeat_lapsed_unnoticed() {
    let (mut redis, mut store) = seeded(&registered().without(&["ns:instance:a"]));
    assert_eq!(beat(&mut store), ours(None, &[], &[]));
    assert_eq!(redis.dump(), registered());
}

#[test]
fn beat_tells_of_records_and_payloads() {
    let (_redis, mut store) = seeded(
        &registered()
            .with("ns:jobs:a", set(&["both", "claim"]))
            .with("ns:job:both", text("{}"))
            .with("ns:job:payload", text("{}")),
    );
    let asked = names(&["both", "claim", "payload", "none"]);
    assert_eq!(
        store.beat(&identity("a"), TTL, &asked).unwrap(),
        ours(None, &["both", "claim"], &[true, false, true, false])
    );
}

/// A reply may be lost, and an error may come between: the verdict stays until it was acted on.
#[test]
fn beat_tells_of_a_verdict_until_it_is_cleared() {
    let (mut redis, mut store) = seeded(&registered().with("ns:verdict:a", expiring("judge")));
    for _ in 0..2 {
        assert_eq!(beat(&mut store), ours(Some("judge"), &[], &[]));
    }
    assert!(!store.clear_verdict(b"a", b"an older one").unwrap());
    assert!(store.clear_verdict(b"a", b"judge").unwrap());
    assert_eq!(beat(&mut store), ours(None, &[], &[]));
    assert_eq!(redis.dump(), registered());
}

#[test]
fn beat_registers_again_what_redis_lost_or_somebody_adopted() {
    for entry in [None, Some(r#"{"version":"1.x"}"#)] {
        let before = entry.map_or(space([]), |entry| space([("ns:instances", hash(&[("a", entry)]))]));
        let (mut redis, mut store) = seeded(&before);
        assert_eq!(beat(&mut store), ours(None, &[], &[]));
        assert_eq!(redis.dump(), registered());
    }
}

/// What another process owns under the name `a`.
fn taken() -> Space {
    space([
        ("ns:instances", hash(&[("a", OTHER)])),
        ("ns:jobs:a", set(&["j"])),
        ("ns:job:j", text("{theirs}")),
        ("ns:verdict:a", expiring("judge")),
    ])
}

#[test]
fn nothing_is_done_under_a_name_that_another_process_has_taken() {
    let (mut redis, mut store) = seeded(&taken());
    let me = identity("a");
    assert_eq!(beat(&mut store), Beat::Taken);
    for records in [&[record("k", "s", "{}")][..], &[]] {
        let error = store.record(&me, &names(&["j"]), records).unwrap_err();
        assert_eq!(error.remedy, Remedy::Reclaim);
    }
    let error = store.give_back(&me, &[to_queue("j", "{}")]).unwrap_err();
    assert_eq!(error.remedy, Remedy::Reclaim);
    assert_eq!(store.retire(&me).unwrap(), 0);
    assert_eq!(redis.dump(), taken());
}

/// A record of an instance that is not registered would be found by no sweep.
#[test]
fn commit_registers_an_instance_that_is_not() {
    let (mut redis, mut store) = seeded(&space([]));
    store.record(&identity("a"), &[], &[record("j", "s", "{}")]).unwrap();
    assert_eq!(
        redis.dump(),
        space([
            ("ns:instances", hash(&[("a", ENTRY)])),
            ("ns:jobs:a", set(&["j"])),
            ("ns:job:j", text("{}")),
        ])
    );
}

#[test]
fn commit_records_an_attempt() {
    let (mut redis, mut store) = seeded(&registered());
    let spares = store.record(&identity("a"), &[], &[record("j", "s", "{}")]);
    assert_eq!(spares.unwrap(), [false]);
    assert_eq!(redis.dump(), registered().with("ns:jobs:a", set(&["j"])).with("ns:job:j", text("{}")));
}

#[test]
fn commit_leaves_the_payload_of_another_holder_alone() {
    let before = registered().with("ns:jobs:b", set(&["j"])).with("ns:job:j", text("{theirs}"));
    let (mut redis, mut store) = seeded(&before);
    let spares = store.record(&identity("a"), &[], &[record("j", "s", "{ours}")]);
    assert_eq!(spares.unwrap(), [true]);
    assert_eq!(redis.dump(), before.with("ns:jobs:a", set(&["s"])).with("ns:job:s", text("{ours}")));
}

#[test]
fn commit_sent_again_changes_nothing() {
    let (mut redis, mut store) =
        seeded(&registered().with("ns:jobs:b", set(&["theirs"])).with("ns:job:theirs", text("{b}")));
    let records = [record("j", "s1", "{1}"), record("theirs", "s2", "{2}"), record("own", "own", "{3}")];
    let first = store.record(&identity("a"), &[], &records).unwrap();
    let after = redis.dump();
    let second = store.record(&identity("a"), &[], &records).unwrap();
    assert_eq!((first, redis.dump()), (second, after));
}

#[test]
fn commit_releases_ours_and_nothing_of_another_holder() {
    let before = registered()
        .with("ns:jobs:a", set(&["mine", "stays"]))
        .with("ns:jobs:b", set(&["theirs"]))
        .with("ns:job:mine", text("{}"))
        .with("ns:job:stays", text("{}"))
        .with("ns:job:theirs", text("{b}"));
    let (mut redis, mut store) = seeded(&before);
    let releases = names(&["mine", "theirs", "unknown"]);
    store.record(&identity("a"), &releases, &[]).unwrap();
    assert_eq!(redis.dump(), before.without(&["ns:job:mine"]).with("ns:jobs:a", set(&["stays"])));
}

#[test]
fn a_release_in_doubt_spares_another_payload() {
    let before = registered()
        .with("ns:jobs:a", set(&["changed", "same"]))
        .with("ns:job:changed", text("{new}"))
        .with("ns:job:same", text("{}"))
        .with("ns:job:theirs", text("{}"));
    let (mut redis, mut store) = seeded(&before);
    let records = ["changed", "same", "theirs", "unknown"].map(|name| (name.into(), b"{}"[..].into()));
    store.release_if_unchanged(&identity("a"), &records).unwrap();
    assert_eq!(redis.dump(), before.without(&["ns:job:same"]).with("ns:jobs:a", set(&["changed"])));
}

#[test]
fn commit_releases_before_it_records() {
    let (mut redis, mut store) =
        seeded(&registered().with("ns:jobs:a", set(&["j"])).with("ns:job:j", text("{old}")));
    let recorded = store.record(&identity("a"), &names(&["j"]), &[record("j", "s", "{new}")]);
    assert_eq!(recorded.unwrap(), [false]);
    assert_eq!(redis.dump(), registered().with("ns:jobs:a", set(&["j"])).with("ns:job:j", text("{new}")));
}

#[test]
fn payloads_and_names_may_hold_any_byte() {
    let (mut redis, mut store) = seeded(&registered());
    let odd = assured_core::store::Record {
        name: b"\xff\0 *{}\r\n".to_vec(),
        spare: b"s".to_vec(),
        text: b"\xfe\0".to_vec(),
    };
    let name = odd.name.clone();
    store.record(&identity("a"), &[], std::slice::from_ref(&odd)).unwrap();
    assert_eq!(store.payloads(std::slice::from_ref(&name), 100).unwrap(), [Some(b"\xfe\0".to_vec())]);
    store.record(&identity("a"), &[name], &[]).unwrap();
    assert_eq!(redis.dump(), registered());
}

#[test]
fn requeue_moves_orphans_to_where_they_are_popped_next() {
    let (mut redis, mut store) = seeded(&orphans().with("queue:q", list(&["waiting"])));
    let outcome = store
        .requeue(b"dead", b"judge", &[to_queue("j1", "{1+}"), to_queue("gone", "{}"), to_queue("j2", "{2+}")])
        .unwrap();
    assert_eq!(outcome, Some(vec![Requeued::Yes, Requeued::Gone, Requeued::Yes]));
    assert_eq!(
        redis.dump(),
        space([
            ("ns:instances", hash(&[("dead", OTHER)])),
            ("ns:verdict:dead", expiring("judge")),
            ("queue:q", list(&["waiting", "{1+}", "{2+}"])),
            ("queues", set(&["q"])),
        ])
    );
    assert_eq!(redis.run::<String>(&["RPOP", "queue:q"]), "{2+}");
}

#[test]
fn requeue_a_second_time_queues_nothing() {
    let (mut redis, mut store) = seeded(&orphans());
    let returns = [to_queue("j1", "{1}"), to_queue("j2", "{2}")];
    store.requeue(b"dead", b"judge", &returns).unwrap();
    let after = redis.dump();
    let outcome = store.requeue(b"dead", b"judge2", &returns).unwrap();
    assert_eq!(outcome, Some(vec![Requeued::Gone, Requeued::Gone]));
    assert_eq!(redis.dump(), after, "no second verdict either");
}

#[test]
fn requeue_leaves_an_instance_that_beats_alone() {
    let before = orphans().beating("dead");
    let (mut redis, mut store) = seeded(&orphans().with("ns:instance:dead", expiring("2000000000")));
    let outcome = store.requeue(b"dead", b"judge", &[to_queue("j1", "{1}")]).unwrap();
    assert_eq!(outcome, None);
    assert_eq!(redis.dump(), before);
}

#[test]
fn requeue_leaves_the_payload_of_another_holder_alone() {
    let before = orphans().with("ns:jobs:b", set(&["j3"])).with("ns:job:j3", text("{3}"));
    let (mut redis, mut store) = seeded(&before);
    let outcome = store.requeue(b"dead", b"judge", &[to_queue("j3", "{3}")]).unwrap();
    assert_eq!(outcome, Some(vec![Requeued::Gone]));
    assert_eq!(redis.dump(), before);
}

/// A script is not rolled back: what it did before an error stays done.
#[test]
fn requeue_into_a_key_that_is_no_queue_loses_nothing_and_stops_nobody() {
    let before = orphans().with("queue:odd", text("no list"));
    let (mut redis, mut store) = seeded(&before);
    let mut odd = to_queue("j1", "{1}");
    odd.queue = b"odd".to_vec();
    let outcome = store.requeue(b"dead", b"judge", &[odd, to_queue("j2", "{2}")]).unwrap();
    assert_eq!(outcome, Some(vec![Requeued::Refused, Requeued::Yes]));
    assert_eq!(
        redis.dump(),
        before
            .without(&["ns:job:j2"])
            .with("ns:jobs:dead", set(&["j1"]))
            .with("ns:verdict:dead", expiring("judge"))
            .with("queue:q", list(&["{2}"]))
            .with("queues", set(&["q"]))
    );
}

#[test]
fn give_back_works_while_the_owner_beats_and_leaves_no_verdict() {
    let before = registered()
        .with("ns:jobs:a", set(&["j", "stays"]))
        .with("ns:job:j", text("{}"))
        .with("ns:job:stays", text("{}"));
    let (mut redis, mut store) = seeded(&before.clone().with("ns:instance:a", expiring("2000000000")));
    let outcome = store.give_back(&identity("a"), &[to_queue("j", "{}"), to_queue("gone", "{}")]).unwrap();
    assert_eq!(outcome, [Requeued::Yes, Requeued::Gone]);
    assert_eq!(
        redis.dump(),
        before
            .without(&["ns:job:j"])
            .with("ns:jobs:a", set(&["stays"]))
            .with("queue:q", list(&["{}"]))
            .with("queues", set(&["q"]))
    );
}

#[test]
fn forget_drops_a_record_only_while_its_payload_is_gone() {
    let before = orphans().without(&["ns:job:j1"]);
    let (mut redis, mut store) = seeded(&before);
    assert!(store.forget(b"dead", b"j1").unwrap());
    assert!(!store.forget(b"dead", b"j2").unwrap());
    assert_eq!(redis.dump(), before.with("ns:jobs:dead", set(&["j2"])));
}

#[test]
fn retire_leaves_nothing_of_an_idle_instance() {
    let (mut redis, mut store) = seeded(&registered());
    assert_eq!(store.retire(&identity("a")).unwrap(), 0);
    assert_eq!(redis.dump(), space([]));
}

#[test]
fn a_release_after_retire_leaves_no_key() {
    let (mut redis, mut store) = seeded(&registered());
    store.retire(&identity("a")).unwrap();
    store.record(&identity("a"), &names(&["j"]), &[]).unwrap();
    assert_eq!(redis.dump(), space([]));
}

#[test]
fn retire_keeps_the_registry_entry_of_what_is_left_and_marks_it() {
    let before = registered().with("ns:jobs:a", set(&["j"])).with("ns:job:j", text("{}"));
    let (mut redis, mut store) = seeded(&before);
    assert!(!store.has_retired(b"a").unwrap());
    let marked = before.without(&["ns:instance:a"]).with("ns:instances", hash(&[("a", RETIRED)]));
    for _ in 0..2 {
        assert_eq!(store.retire(&identity("a")).unwrap(), 1, "also after a lost reply");
        assert_eq!(redis.dump(), marked);
    }
    assert!(store.has_retired(b"a").unwrap());
    assert!(!store.has_retired(b"b").unwrap());
}

#[test]
fn what_a_retired_instance_left_it_may_still_release_and_nobody_tracks_under_its_id() {
    let before = registered().with("ns:jobs:a", set(&["j"])).with("ns:job:j", text("{}"));
    let (mut redis, mut store) = seeded(&before);
    store.retire(&identity("a")).unwrap();
    assert_eq!(
        store.record(&identity("a"), &[], &[record("k", "k~1", "{}")]).unwrap_err().remedy,
        Remedy::Reclaim
    );
    assert!(!store.claim(&identity("a"), TTL).unwrap(), "also not by claiming it again");
    store.record(&identity("a"), &names(&["j"]), &[]).unwrap();
    assert_eq!(redis.dump(), space([]).with("ns:instances", hash(&[("a", RETIRED)])));
    assert_eq!((store.bury(b"a").unwrap(), redis.counter("instances_died")), (0, 0), "it has not died");
    assert_eq!(redis.dump(), space([]));
}

/// Registry entry of the instance under test when it has retired and left records.
const RETIRED: &str = r#"{"nonce":"mine","retired":true}"#;

#[test]
fn bury_ends_the_dead_and_only_when_nothing_is_left() {
    let (mut redis, mut store) = seeded(&orphans());
    assert_eq!(store.bury(b"dead").unwrap(), 2);
    assert_eq!(redis.dump(), orphans());

    let (mut redis, mut store) = seeded(&space([("ns:instances", hash(&[("dead", OTHER)]))]));
    assert_eq!(store.bury(b"dead").unwrap(), 0);
    assert_eq!(redis.dump(), space([]));

    let (mut redis, mut store) = seeded(&registered().with("ns:instance:a", expiring("2000000000")));
    store.bury(b"a").unwrap();
    assert_eq!(redis.dump(), registered(), "it beats");
}

#[test]
fn the_recovery_lock_has_one_owner() {
    let (mut redis, mut store) = seeded(&space([]));
    assert_eq!(store.lock(b"one", TTL).unwrap(), None);
    assert_eq!(store.lock(b"two", TTL).unwrap(), Some(b"one".to_vec()));
    assert!(!store.renew_lock(b"two", TTL).unwrap());
    assert!(!store.free_lock(b"two").unwrap());
    assert!(!store.take_over_lock(b"three", b"two", TTL).unwrap());
    assert_eq!(
        redis.dump(),
        space([("ns:recovery_lock", expiring("one"))]),
        "nobody but its owner changed it"
    );

    assert!(store.take_over_lock(b"one", b"two", TTL).unwrap());
    assert!(store.renew_lock(b"two", 2 * TTL).unwrap());
    let left: i64 = redis.run(&["PTTL", "ns:recovery_lock"]);
    assert!(left > 30_000, "renewed: {left}");
    assert!(!store.free_lock(b"one").unwrap());
    assert!(store.free_lock(b"two").unwrap());
    assert_eq!(redis.dump(), space([]));
}

#[test]
fn payloads_stop_at_the_budget_and_always_return_one() {
    let (_redis, mut store) = seeded(&space([
        ("ns:job:a", text("12345")),
        ("ns:job:b", text("12345")),
        ("ns:job:c", text("12345")),
    ]));
    let mut count = |names_: &[&str], budget| store.payloads(&names(names_), budget).unwrap().len();
    assert_eq!(count(&["a", "b", "c"], 15), 3);
    assert_eq!(count(&["a", "b", "c"], 14), 2);
    assert_eq!(count(&["a", "b", "c"], 1), 1);
    assert_eq!(count(&["none", "a", "b"], 5), 2, "what is gone weighs nothing");
    assert_eq!(store.payloads(&names(&["none", "a"]), 5).unwrap(), [None, Some(b"12345".to_vec())]);
}

#[test]
fn strangers_are_adopted_whatever_their_ids() {
    let strangers = space([
        ("ns:jobs:host:12:ab", set(&["j"])),
        ("ns:jobs:*?[x]", set(&["j"])),
        ("ns:jobs:known", set(&["j"])),
        ("ns:instances", hash(&[("known", OTHER)])),
        ("other:jobs:x", set(&["j"])),
        ("nsx:jobs:x", set(&["j"])),
    ]);
    let (mut redis, mut store) = seeded(&strangers);
    store.adopt_strangers(|| true).unwrap();
    let adopted = r#"{"version":"1.x"}"#;
    assert_eq!(
        redis.dump(),
        strangers
            .with("ns:instances", hash(&[("known", OTHER), ("host:12:ab", adopted), ("*?[x]", adopted)]))
    );
}

#[test]
fn a_namespace_with_glob_characters_adopts_its_own_only() {
    let mut redis = Redis::shared();
    redis.seed(&space([("n[a-z]*:jobs:mine", set(&["j"])), ("nb1:jobs:theirs", set(&["j"]))]));
    let mut settings = redis.settings();
    settings.namespace = "n[a-z]*".into();
    let mut store = Store::new(&settings, "test");
    store.adopt_strangers(|| true).unwrap();
    let ids: Vec<_> = store.statuses(TTL).unwrap().into_iter().map(|s| s.id).collect();
    assert_eq!(ids, names(&["mine"]));
}

#[test]
fn redis_namespace_prefixes_tracking_keys_and_queues() {
    let mut redis = Redis::shared();
    redis.seed(&space([("app:ns:jobs:dead", set(&["j"])), ("app:ns:job:j", text("{}"))]));
    let mut settings = redis.settings();
    settings.tracking.key_prefix = "app:".into();
    let mut store = Store::new(&settings, "test");
    store.adopt_strangers(|| true).unwrap();
    assert_eq!(store.look().unwrap()[0].id, b"dead");
    store.requeue(b"dead", b"judge", &[to_queue("j", "{}")]).unwrap();
    store.bury(b"dead").unwrap();
    assert_eq!(
        redis.dump(),
        space([
            ("app:ns:verdict:dead", expiring("judge")),
            ("app:queue:q", list(&["{}"])),
            ("app:queues", set(&["q"])),
        ])
    );
}

#[test]
fn statuses_and_looks_tell_the_living_from_the_dead() {
    let (_redis, mut store) = seeded(&space([
        ("ns:instances", hash(&[("a", ENTRY), ("b:1", OTHER)])),
        ("ns:instance:a", expiring("17.5")),
        ("ns:jobs:a", set(&["j1", "j2"])),
    ]));
    let mut statuses = store.statuses(TTL).unwrap();
    statuses.sort_by(|x, y| x.id.cmp(&y.id));
    let seen: Vec<_> = statuses.iter().map(|s| (s.id.as_slice(), s.beat, s.in_flight)).collect();
    assert_eq!(seen, [(b"a".as_slice(), Some(17.5), 2), (b"b:1", None, 0)]);
    let mut sightings = store.look().unwrap();
    sightings.sort_by(|x, y| x.id.cmp(&y.id));
    assert_eq!(sightings.iter().map(|s| s.is_alive()).collect::<Vec<_>>(), [true, false]);
}

fn death(name: &str, payload: &str, keep: bool) -> Death {
    Death { name: name.into(), payload: payload.into(), keep, notify: true }
}

const BOUNDS: DeadSet = DeadSet { max_jobs: 3, timeout: Duration::from_secs(1000) };

#[test]
fn kill_moves_orphans_into_the_dead_set_and_tells_of_them() {
    let (mut redis, mut store) = seeded(&orphans());
    let mut unreadable = death("j2", "{2!}", true);
    unreadable.notify = false;
    let deaths = [death("j1", "{1!}", true), death("gone", "{}", true), unreadable];
    let outcome = store.kill(b"dead", b"judge", &deaths, BOUNDS).unwrap();
    assert_eq!(outcome, Some(vec![Requeued::Yes, Requeued::Gone, Requeued::Yes]));
    assert_eq!(
        redis.dump(),
        space([
            ("dead", ranked(&["{1!}", "{2!}"])),
            ("ns:deaths", list(&["{1!}"])),
            ("ns:instances", hash(&[("dead", OTHER)])),
            ("ns:verdict:dead", expiring("judge")),
        ])
    );
    assert_eq!(redis.counter("poisoned"), 2);
    let after = redis.dump();
    let again = store.kill(b"dead", b"judge2", &deaths, BOUNDS).unwrap();
    assert_eq!(again, Some(vec![Requeued::Gone; 3]));
    assert_eq!((redis.dump(), redis.counter("poisoned")), (after, 2));
}

#[test]
fn kill_drops_what_may_not_lie_in_the_dead_set_but_tells_of_it() {
    let (mut redis, mut store) = seeded(&orphans());
    store.kill(b"dead", b"judge", &[death("j1", "{1!}", false)], BOUNDS).unwrap();
    assert_eq!(redis.dump().get("dead"), None);
    assert_eq!(redis.dump().get("ns:deaths"), Some(&list(&["{1!}"])));
    assert_eq!(redis.dump().get("ns:jobs:dead"), Some(&set(&["j2"])));
}

#[test]
fn kill_leaves_an_instance_that_beats_alone() {
    let (mut redis, mut store) = seeded(&orphans().beating("dead"));
    redis.seed(&space([("ns:instance:dead", expiring("2000000000"))]));
    let before = redis.dump();
    assert_eq!(store.kill(b"dead", b"judge", &[death("j1", "{}", true)], BOUNDS).unwrap(), None);
    assert_eq!((redis.dump(), redis.counter("poisoned")), (before, 0));
}

#[test]
fn kill_keeps_the_bounds_of_the_dead_set_and_what_just_died() {
    let (mut redis, mut store) = seeded(&orphans().with("dead", ranked(&["old 1", "old 2"])));
    let recent = |n: u32| (n, format!("recent {n}"));
    for (n, name) in [recent(1), recent(2)] {
        redis.run::<()>(&["ZADD", "dead", &format!("{}", 4_000_000_000_u32 - n), &name]);
    }
    store.kill(b"dead", b"judge", &[death("j1", "{1!}", true)], BOUNDS).unwrap();
    assert_eq!(redis.dump().get("dead"), Some(&ranked(&["{1!}", "recent 2", "recent 1"])));
    let tiny = DeadSet { max_jobs: 0, timeout: Duration::ZERO };
    redis.run::<()>(&["DEL", "dead"]);
    store.kill(b"dead", b"judge", &[death("j2", "{2!}", true)], tiny).unwrap();
    assert_eq!(redis.dump().get("dead"), Some(&ranked(&["{2!}"])));
}

#[test]
fn kill_into_keys_of_another_type_loses_nothing() {
    for odd in ["dead", "ns:deaths"] {
        let before = orphans().with(odd, text("no such thing"));
        let (mut redis, mut store) = seeded(&before);
        let outcome = store.kill(b"dead", b"judge", &[death("j1", "{1!}", true)], BOUNDS).unwrap();
        assert_eq!(outcome, Some(vec![Requeued::Refused]), "{odd}");
        assert_eq!(redis.dump(), before);
    }
}

/// Instance `a` with a job in flight.
fn in_flight() -> Space {
    registered().with("ns:jobs:a", set(&["j"])).with("ns:job:j", text("{}"))
}

fn due(redis: &mut Redis) -> f64 {
    let [_, due]: [String; 2] = redis.run(&["ZRANGE", "retry", "0", "-1", "WITHSCORES"]);
    due.parse::<f64>().unwrap() - std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}

#[test]
fn retry_moves_a_record_among_the_retries_when_it_is_due() {
    let (mut redis, mut store) = seeded(&in_flight());
    let mut retry =
        || store.retry(&identity("a"), &b"j".to_vec(), &b"{1}".to_vec(), Duration::from_secs(60)).unwrap();
    assert_eq!(retry(), Requeued::Yes);
    assert_eq!(redis.dump(), registered().with("retry", ranked(&["{1}"])));
    assert!((50.0..=60.0).contains(&due(&mut redis)));
    assert_eq!(retry(), Requeued::Gone, "a second time it does nothing");
    assert_eq!(
        (redis.dump(), redis.counter("unacknowledged")),
        (registered().with("retry", ranked(&["{1}"])), 1)
    );
}

#[test]
fn retry_of_a_job_that_others_have_stores_nothing() {
    let (mut redis, mut store) = seeded(&registered().with("ns:job:j", text("{theirs}")));
    let before = redis.dump();
    let wait = Duration::from_secs(60);
    let outcome = store.retry(&identity("a"), &b"j".to_vec(), &b"{1}".to_vec(), wait).unwrap();
    assert_eq!((outcome, redis.dump()), (Requeued::Gone, before));
    redis.seed(&in_flight().with("ns:instances", hash(&[("a", OTHER)])));
    let taken = store.retry(&identity("a"), &b"j".to_vec(), &b"{1}".to_vec(), wait).unwrap_err();
    assert_eq!(taken.remedy, Remedy::Reclaim);
}

#[test]
fn what_cannot_be_a_retry_stays_recorded() {
    let before = in_flight().with("retry", text("no sorted set"));
    let (mut redis, mut store) = seeded(&before);
    let wait = Duration::from_secs(60);
    let outcome = store.retry(&identity("a"), &b"j".to_vec(), &b"{1}".to_vec(), wait).unwrap();
    assert_eq!((outcome, redis.dump()), (Requeued::Refused, before));
}

#[test]
fn a_redis_that_is_full_takes_retries_and_deaths_of_an_owner() {
    let mut redis = Redis::own();
    redis.seed(&in_flight().with("ns:jobs:a", set(&["j", "k"])).with("ns:job:k", text("{}")));
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let mut store = redis.store();
    let wait = Duration::from_secs(60);
    assert_eq!(store.retry(&identity("a"), &b"j".to_vec(), &b"{1}".to_vec(), wait).unwrap(), Requeued::Yes);
    assert_eq!(store.kill_own(&identity("a"), death("k", "{2}", true), BOUNDS).unwrap(), Requeued::Yes);
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "0"]);
    let dead =
        space([("dead", ranked(&["{2}"])), ("retry", ranked(&["{1}"])), ("ns:deaths", list(&["{2}"]))]);
    for key in ["dead", "retry", "ns:deaths", "ns:verdict:a", "ns:jobs:a"] {
        assert_eq!(redis.dump().get(key), dead.get(key), "{key}");
    }
    assert_eq!(redis.counter("poisoned"), 1);
}

#[test]
fn counters_count_each_orphan_and_each_death_once() {
    let (mut redis, mut store) = seeded(&orphans().with("queue:odd", text("no list")));
    let mut odd = to_queue("j1", "{1}");
    odd.queue = b"odd".to_vec();
    for _ in 0..2 {
        store.requeue(b"dead", b"judge", &[odd.clone(), to_queue("j2", "{2}")]).unwrap();
        store.bury(b"dead").unwrap();
    }
    assert_eq!((redis.counter("recovered"), redis.counter("instances_died")), (1, 0));
    store.requeue(b"dead", b"judge", &[to_queue("j1", "{1}")]).unwrap();
    store.bury(b"dead").unwrap();
    store.bury(b"dead").unwrap();
    assert_eq!((redis.counter("recovered"), redis.counter("instances_died")), (2, 1));
    assert_eq!(store.stats().unwrap().len(), 2);
}

#[test]
fn what_an_owner_gives_back_or_ends_is_not_counted() {
    let before = registered().with("ns:jobs:a", set(&["j"])).with("ns:job:j", text("{}"));
    let (mut redis, mut store) = seeded(&before.clone().with("ns:instance:a", expiring("2000000000")));
    store.give_back(&identity("a"), &[to_queue("j", "{}")]).unwrap();
    store.retire(&identity("a")).unwrap();
    assert_eq!(store.stats().unwrap(), []);
    assert_eq!(redis.queued("q"), 1);
}

#[test]
fn counters_of_another_type_stop_no_recovery() {
    let (mut redis, mut store) = seeded(&orphans());
    redis.run::<()>(&["SET", "ns:stats", "odd"]);
    store.requeue(b"dead", b"judge", &[to_queue("j1", "{1}")]).unwrap();
    store.kill(b"dead", b"judge", &[death("j2", "{2!}", true)], BOUNDS).unwrap();
    assert_eq!(store.bury(b"dead").unwrap(), 0);
    assert_eq!(redis.dump().get("ns:instances"), None);
}
