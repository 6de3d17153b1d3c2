//! Connections and servers that fail between two calls, and queues that lie on another server.

#[path = "support/lossy_proxy.rs"]
mod lossy_proxy;
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use assured_core::error::Remedy;
use assured_core::password::Password;
use assured_core::settings::{Address, DeadSet};
use assured_core::store::{Death, Requeued, Return, Store};
use lossy_proxy::LossyProxy;
use support::{
    Redis, RedisServer, expiring, identity, list, names, ranked, record, set, space, text, to_queue,
};

const TTL: Duration = Duration::from_secs(30);

#[test]
fn scripts_that_the_server_forgot_are_loaded_again() {
    let mut redis = Redis::own();
    let mut store = redis.store();
    store.claim(&identity("a"), TTL).unwrap();
    redis.run::<()>(&["SCRIPT", "FLUSH"]);
    let recorded = store.record(&identity("a"), &names(&["x"]), &[record("j", "s", "{}")]);
    assert_eq!(recorded.unwrap(), [false]);
    assert_eq!(redis.dump().get("ns:jobs:a"), Some(&set(&["j"])));
}

#[test]
fn scripts_that_the_server_forgets_all_the_time_run_all_the_same() {
    let mut redis = Redis::own();
    let mut store = redis.store();
    store.claim(&identity("a"), TTL).unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                redis.run::<()>(&["SCRIPT", "FLUSH"]);
            }
        });
        let beats: Vec<_> = (0..500).map(|_| store.beat(&identity("a"), TTL, &[])).collect();
        done.store(true, Ordering::Relaxed);
        assert!(beats.iter().all(Result::is_ok), "{:?}", beats.iter().find(|beat| beat.is_err()));
    });
}

#[test]
fn a_connection_that_was_killed_is_replaced() {
    let mut redis = Redis::own();
    let mut store = redis.store();
    store.claim(&identity("a"), TTL).unwrap();
    let killed: i64 = redis.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    assert_eq!(killed, 1);
    store.record(&identity("a"), &[], &[record("j", "s", "{}")]).unwrap();
    assert_eq!(redis.dump().get("ns:job:j"), Some(&text("{}")));
}

#[test]
fn connections_have_a_name() {
    let mut redis = Redis::own();
    redis.store().claim(&identity("a"), TTL).unwrap();
    let mut store = redis.store();
    store.claim(&identity("a"), TTL).unwrap();
    let clients: String = redis.run(&["CLIENT", "LIST"]);
    assert!(clients.contains("name=sidekiq-assured-jobs:test"), "{clients}");
}

#[test]
fn a_wrong_password_is_for_the_user_to_mend() {
    let server = RedisServer::start(&["--requirepass", "right"]);
    let settings = |password: Option<&str>| {
        let mut settings = Redis::shared().settings();
        settings.tracking.address = Address::Tcp("127.0.0.1".into(), server.port());
        settings.tracking.db = 0;
        settings.tracking.password = password.map(|password| Password::Fixed(password.into()));
        settings
    };
    let claim = |password| Store::new(&settings(password), "test").claim(&identity("a"), TTL);
    assert!(claim(Some("right")).unwrap());
    for password in [Some("wrong"), None] {
        let error = claim(password).unwrap_err();
        assert_eq!(error.remedy, Remedy::TellUser, "{error}");
        assert!(!error.to_string().contains("wrong\""), "{error}");
    }
}

#[test]
fn an_address_where_nobody_listens_is_named() {
    let mut settings = Redis::shared().settings();
    settings.tracking.address = Address::Tcp("127.0.0.1".into(), 1);
    let error = Store::new(&settings, "test").claim(&identity("a"), TTL).unwrap_err();
    assert_eq!(error.remedy, Remedy::Reconnect);
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

/// A frozen server keeps its connections open: only the timeout ends the wait.
#[test]
fn a_server_that_does_not_answer_ends_the_wait_by_timeout() {
    let redis = Redis::own();
    let mut settings = redis.settings();
    settings.tracking.read_timeout = Duration::from_millis(500);
    settings.tracking.connect_timeout = Duration::from_millis(500);
    let mut store = Store::new(&settings, "test");
    store.claim(&identity("a"), TTL).unwrap();
    redis.freeze();
    let began = std::time::Instant::now();
    let outcome = store.beat(&identity("a"), TTL, &[]);
    redis.thaw();
    assert_eq!(outcome.unwrap_err().remedy, Remedy::Reconnect);
    assert!(began.elapsed() < Duration::from_secs(2));
    store.beat(&identity("a"), TTL, &[]).unwrap();
}

#[test]
fn a_full_redis_takes_heartbeats_and_records_all_the_same() {
    let mut redis = Redis::own();
    let mut store = redis.store();
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(store.claim(&identity("a"), TTL).unwrap());
    store.beat(&identity("a"), TTL, &[]).unwrap();
    store.record(&identity("a"), &[], &[record("j", "s", "{}")]).unwrap();
    assert_eq!(redis.dump().get("ns:job:j"), Some(&text("{}")));
    let back = Return { name: b"j".to_vec(), queue: b"q".to_vec(), payload: b"{}".to_vec() };
    assert_eq!(store.give_back(&identity("a"), &[back]).unwrap(), [Requeued::Yes]);
}

/// What a user may do is not the same for each queue.
#[test]
fn an_orphan_for_a_forbidden_queue_stays_recorded_and_stops_no_other_one() {
    let mut redis = Redis::own();
    redis.run::<()>(&["ACL", "SETUSER", "u", "on", ">p", "+@all", "&*", "~ns:*", "~queue:q", "~queues"]);
    redis.seed(&space([
        ("ns:jobs:dead", set(&["j1", "j2"])),
        ("ns:job:j1", text("{1}")),
        ("ns:job:j2", text("{2}")),
    ]));
    let mut settings = redis.settings();
    settings.tracking.username = Some("u".into());
    settings.tracking.password = Some(Password::Fixed("p".into()));
    let mut theirs = to_queue("j1", "{1}");
    theirs.queue = b"theirs".to_vec();
    let outcome = Store::new(&settings, "test").requeue(b"dead", b"judge", &[theirs, to_queue("j2", "{2}")]);
    assert_eq!(outcome.unwrap(), Some(vec![Requeued::Forbidden, Requeued::Yes]));
    assert_eq!(redis.dump().get("ns:jobs:dead"), Some(&set(&["j1"])));
    assert_eq!(redis.queued("q"), 1);
}

/// Tracking keys on one server, queues on another.
fn two_servers() -> (Redis, Redis, Store) {
    let mut tracking = Redis::shared();
    let queues = Redis::shared();
    tracking.seed(&space([
        ("ns:jobs:dead", set(&["j1", "j2"])),
        ("ns:job:j1", text("{1}")),
        ("ns:job:j2", text("{2}")),
    ]));
    let mut settings = tracking.settings();
    settings.queues = Some(queues.details());
    let store = Store::new(&settings, "test");
    (tracking, queues, store)
}

#[test]
fn requeue_across_two_servers_pushes_there_and_releases_here() {
    let (mut tracking, mut queues, mut store) = two_servers();
    let returns = [to_queue("j1", "{1+}"), to_queue("gone", "{}"), to_queue("j2", "{2+}")];
    let outcome = store.requeue(b"dead", b"judge", &returns).unwrap();
    assert_eq!(outcome, Some(vec![Requeued::Yes, Requeued::Gone, Requeued::Yes]));
    assert_eq!(tracking.dump(), space([("ns:verdict:dead", expiring("judge"))]));
    assert_eq!(queues.dump(), space([("queue:q", list(&["{1+}", "{2+}"])), ("queues", set(&["q"]))]));
}

#[test]
fn requeue_across_two_servers_leaves_an_instance_that_beats_alone() {
    let (mut tracking, mut queues, mut store) = two_servers();
    tracking.seed(&space([("ns:instance:dead", expiring("17"))]));
    let before = tracking.dump();
    let returns = [to_queue("j1", "{1}")];
    assert_eq!(store.requeue(b"dead", b"judge", &returns).unwrap(), None);
    assert_eq!((tracking.dump(), queues.dump()), (before, space([])));
    assert_eq!(store.give_back(&identity("dead"), &returns).unwrap(), [Requeued::Yes], "its owner may");
    assert_eq!(queues.queued("q"), 1);
}

#[test]
fn requeue_across_two_servers_is_not_repeated_for_the_good_because_of_a_bad_one() {
    let (mut tracking, mut queues, mut store) = two_servers();
    queues.seed(&space([("queue:odd", text("no list"))]));
    let mut odd = to_queue("j2", "{2}");
    odd.queue = b"odd".to_vec();
    for _ in 0..3 {
        let _ = store.requeue(b"dead", b"judge", &[to_queue("j1", "{1}"), odd.clone()]);
    }
    assert_eq!(queues.queued("q"), 1);
    assert_eq!(tracking.dump().get("ns:jobs:dead"), Some(&set(&["j2"])));
}

#[test]
fn requeue_across_two_servers_loses_nothing_while_the_queues_are_away() {
    let mut tracking = Redis::shared();
    let mut queues = Redis::own();
    tracking.seed(&space([("ns:jobs:dead", set(&["j"])), ("ns:job:j", text("{}"))]));
    let before = tracking.dump();
    let mut settings = tracking.settings();
    settings.queues = Some(queues.details());
    let mut store = Store::new(&settings, "test");
    queues.away();
    store.requeue(b"dead", b"judge", &[to_queue("j", "{}")]).unwrap_err();
    assert_eq!(tracking.dump(), before);
    queues.back();
    store.requeue(b"dead", b"judge", &[to_queue("j", "{}")]).unwrap();
    assert_eq!(queues.queued("q"), 1);
}

#[test]
fn kill_across_two_servers_buries_there_and_counts_here() {
    let (mut tracking, mut queues, mut store) = two_servers();
    let death = |name: &str, keep| Death {
        name: name.into(),
        payload: format!("{name}!").into(),
        keep,
        notify: true,
    };
    let deaths = [death("j1", true), death("gone", true), death("j2", false)];
    let bounds = DeadSet { max_jobs: 10, timeout: Duration::from_secs(10) };
    for (outcome, queued) in [([Requeued::Yes, Requeued::Gone, Requeued::Yes], 2), ([Requeued::Gone; 3], 2)] {
        assert_eq!(store.kill(b"dead", b"judge", &deaths, bounds).unwrap(), Some(outcome.to_vec()));
        assert_eq!(tracking.run::<usize>(&["LLEN", "ns:deaths"]), queued);
    }
    assert_eq!(queues.dump(), space([("dead", ranked(&["j1!"]))]));
    assert_eq!(tracking.dump().keys().collect::<Vec<_>>(), ["ns:deaths", "ns:verdict:dead"]);
    assert_eq!(tracking.counter("poisoned"), 2);
}

/// Executed, and nobody heard of it: the store asks again.
#[test]
fn a_death_whose_reply_was_lost_is_told_and_counted_once() {
    for across in [false, true] {
        let (mut tracking, mut queues, _) = two_servers();
        let mut settings = tracking.settings();
        let Address::Tcp(_, port) = &mut settings.tracking.address else { panic!("no port") };
        let proxy = LossyProxy::to(*port);
        *port = proxy.port;
        settings.queues = across.then(|| queues.details());
        let mut store = Store::new(&settings, "test");
        // The server knows the scripts from here on.
        store.bury(b"nobody").unwrap();

        proxy.lose_next_fetch();
        let payload = br#"{"jid":"j1","assured_jobs":true}"#.to_vec();
        let death = Death { name: b"j1".to_vec(), payload, keep: true, notify: true };
        let bounds = DeadSet { max_jobs: 10, timeout: Duration::from_secs(10) };
        store.kill(b"dead", b"judge", &[death], bounds).unwrap();
        assert!(proxy.has_lost());
        assert_eq!(tracking.run::<usize>(&["LLEN", "ns:deaths"]), 1);
        assert_eq!(tracking.counter("poisoned"), 1);
        let dead = if across { &mut queues } else { &mut tracking };
        assert_eq!(dead.run::<usize>(&["ZCARD", "dead"]), 1);
    }
}

#[test]
fn requeue_across_two_servers_is_counted() {
    let (mut tracking, _queues, mut store) = two_servers();
    let returns = [to_queue("j1", "{1+}"), to_queue("gone", "{}"), to_queue("j2", "{2+}")];
    store.requeue(b"dead", b"judge", &returns).unwrap();
    store.requeue(b"dead", b"judge", &returns).unwrap();
    assert_eq!(tracking.counter("recovered"), 2);
}

/// The owner puts nothing back when all its jobs have just ended.
#[test]
fn nothing_to_put_back_is_no_error() {
    let (mut tracking, mut queues, mut across) = two_servers();
    let (before, dead) = (tracking.dump(), identity("dead"));
    assert_eq!(across.give_back(&dead, &[]).unwrap(), []);
    assert_eq!(across.requeue(b"dead", b"judge", &[]).unwrap(), Some(vec![]));
    assert_eq!(tracking.store().requeue(b"dead", b"judge", &[]).unwrap(), Some(vec![]));
    assert_eq!((tracking.dump(), queues.dump()), (before, space([])));
}

/// A push whose release must fail would be repeated at every sweep.
#[test]
fn requeue_across_two_servers_pushes_nothing_that_it_cannot_release() {
    let mut tracking = Redis::own();
    let mut queues = Redis::shared();
    tracking.seed(&space([("ns:jobs:dead", set(&["j"])), ("ns:job:j", text("{}"))]));
    tracking.run::<()>(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let mut settings = tracking.settings();
    settings.queues = Some(queues.details());
    let mut store = Store::new(&settings, "test");
    for _ in 0..2 {
        store.requeue(b"dead", b"judge", &[to_queue("j", "{}")]).unwrap_err();
    }
    assert_eq!(queues.queued("q"), 0);
    tracking.run::<()>(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    store.requeue(b"dead", b"judge", &[to_queue("j", "{}")]).unwrap();
    assert_eq!(queues.queued("q"), 1);
}
