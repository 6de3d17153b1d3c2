//! Assured fetch: what one round trip does to the key space, and what becomes of jobs whose fetch goes wrong.

mod support;

#[path = "support/lossy_proxy.rs"]
mod lossy_proxy;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assured_core::engine::Engine;
use assured_core::error::{Remedy, Result};
use assured_core::events::{Event, Kind};
use assured_core::fetch::{Job, Queues};
use assured_core::password::Password;
use assured_core::settings::{Address, Settings};
use assured_core::store::{Order, Popped, Store};
use assured_core::waiter::{Waiter, Woken};
use lossy_proxy::LossyProxy;
use support::{
    DEADLINE, ENTRY, Redis, Space, eventually, hash, identity, list, names, record_of, set, space, text,
    to_queue,
};

const OTHER: &str = r#"{"nonce":"other"}"#;

/// Longer than any test: the engine beats once, at its start.
const NEVER: Duration = Duration::from_secs(600);

fn assured(jid: &str) -> String {
    format!(r#"{{"queue":"q","args":[],"jid":"{jid}","assured_jobs":true}}"#)
}

fn plain(jid: &str) -> String {
    format!(r#"{{"queue":"q","args":[],"jid":"{jid}"}}"#)
}

/// Instance `a`, registered.
fn registered() -> Space {
    space([("ns:instances", hash(&[("a", ENTRY)]))])
}

/// Instance `a`, registered, and queues. The next job of a queue is its last.
fn queues<const N: usize>(queues: [(&str, &[&str]); N]) -> Space {
    queues
        .into_iter()
        .fold(registered(), |space, (name, jobs)| space.with(&format!("queue:{name}"), list(jobs)))
}

fn order(suffix: &str, positions: &[usize]) -> Order {
    Order { suffix: suffix.into(), positions: positions.to_vec() }
}

fn popped(order: usize, queue: usize, payload: &str, name: Option<&str>) -> Popped {
    Popped { order, queue, payload: payload.into(), name: name.map(Into::into) }
}

fn fetch_from(
    store: &mut Store,
    queues: &[&str],
    orders: &[Order],
    releases: &[&str],
) -> Result<Vec<Popped>> {
    store.fetch(&identity("a"), &names(releases), &names(queues), orders)
}

/// What each of `orders` gets from `seeded`, and the key space afterwards.
fn fetch(seeded: &Space, names: &[&str], orders: &[Order]) -> (Vec<Popped>, Space) {
    let mut redis = Redis::shared();
    redis.seed(seeded);
    let jobs = fetch_from(&mut redis.store(), names, orders, &[]).unwrap();
    (jobs, redis.dump())
}

/// What one thread gets from the queue `q`, under which name it is recorded, and the key space afterwards.
fn fetch_one(payload: &str) -> (Option<String>, Space) {
    let (jobs, after) = fetch(&queues([("q", &[payload])]), &["q"], &[order("~s", &[0])]);
    let [job] = jobs.try_into().expect("one job");
    assert_eq!(String::from_utf8(job.payload).unwrap(), payload);
    (job.name.map(|name| String::from_utf8(name).unwrap()), after)
}

/// Instance `a` with one record, and no queue.
fn recorded(name: &str, payload: &str) -> Space {
    registered().with("ns:jobs:a", set(&[name])).with(&format!("ns:job:{name}"), record_of(payload))
}

#[test]
fn an_assured_job_is_popped_and_recorded() {
    let (name, after) = fetch_one(&assured("j"));
    assert_eq!(name.as_deref(), Some("j"));
    assert_eq!(after, recorded("j", &assured("j")));
}

#[test]
fn another_job_is_popped_and_leaves_nothing() {
    let (name, after) = fetch_one(&plain("j"));
    assert_eq!((name, after), (None, registered()));
}

#[test]
fn a_record_holds_the_payload_byte_for_byte() {
    let odd = r#"{"args":[[],{},12345678901234567890,1.50,"é\u00e9"],"jid":"j" ,"assured_jobs":true,"enqueued_at":1.250}"#;
    assert_eq!(fetch_one(odd), (Some("j".into()), recorded("j", odd)));
}

#[test]
fn a_record_is_named_after_the_jid_of_the_payload_itself() {
    for payload in [
        r#"{"args":[{"jid":"inner"}],"jid":"j","assured_jobs":true}"#,
        r#"{"jid":"j","args":[{"jid":"inner"}],"assured_jobs":true}"#,
        r#"{"args":["\"jid\":\"inner\""],"jid":"j","assured_jobs":true}"#,
        r#"{"jid" : "j","assured_jobs":true}"#,
        r#"{"jid":"\u006a","assured_jobs":true}"#,
    ] {
        assert_eq!(fetch_one(payload), (Some("j".into()), recorded("j", payload)), "{payload}");
    }
}

/// Whoever pushed it may have said nothing: another application, another language, an older version of this one.
#[test]
fn a_job_of_an_assured_class_is_recorded_without_the_flag() {
    let classes = |space: Space| space.with("ns:assured_classes", hash(&[("My::Job", "")]));
    for (payload, recorded) in [
        (r#"{"class":"My::Job","jid":"j","queue":"q"}"#, true),
        (r#"{"class": "My::Job", "jid": "j", "queue": "q", "args": []}"#, true),
        (r#"{"class":"Wrapper","wrapped":"My::Job","jid":"j","queue":"q"}"#, true),
        (r#"{"class":"My::Job","args":[{"class":"Other"},{"class":"Other"}],"jid":"j","queue":"q"}"#, true),
        (r#"{"class":"My::Job","jid":"j","queue":"q"}"#, true),
        (r#"{"class":"Other","jid":"j","queue":"q"}"#, false),
        (r#"{"class":"Other","args":[{"class":"My::Job"}],"jid":"j","queue":"q"}"#, false),
        (r#"{"class":"Other","args":["\"class\":\"My::Job\""],"jid":"j","queue":"q"}"#, false),
        (r#"{"class":"My::Job","wrapped":"Other","jid":"j","queue":"q"}"#, false),
        (r#"{"class":7,"jid":"j","queue":"q"}"#, false),
        ("no JSON", false),
    ] {
        let (jobs, after) = fetch(&classes(queues([("q", &[payload])])), &["q"], &[order("~s", &[0])]);
        assert_eq!(jobs[0].name.as_deref(), recorded.then_some(b"j".as_slice()), "{payload}");
        let expected = if recorded { self::recorded("j", payload) } else { registered() };
        assert_eq!(after, classes(expected), "{payload}");
    }
}

#[test]
fn classes_are_announced_before_anybody_fetches_and_again_where_redis_lost_them() {
    let mut redis = Redis::own();
    let settings = Settings { assured_classes: vec![("My::Job".into(), Some(2))], ..quiet(&redis) };
    let (engine, queues) = start(settings);
    let job = r#"{"class":"My::Job","jid":"j","queue":"q"}"#;
    push(&mut redis, job);
    assert!(get(&engine, &queues).attempt.is_some());
    engine.assure_class(b"Loaded::Later".to_vec(), None);
    let both = hash(&[("My::Job", "2"), ("Loaded::Later", "")]);
    redis.until(|redis| redis.dump().get("ns:assured_classes") == Some(&both));
    redis.run::<()>(&["DEL", "ns:assured_classes"]);
    redis.until(|redis| redis.dump().get("ns:assured_classes") == Some(&both));
}

#[test]
fn a_record_knows_the_queue_that_it_was_popped_from() {
    for payload in [
        r#"{"queue":"elsewhere","jid":"j","assured_jobs":true}"#,
        r#"{"queue":"elsewhere","args":[{"queue":"q"}],"jid":"j","assured_jobs":true}"#,
        r#"{"args":["\"queue\":\"q\""],"jid":"j","assured_jobs":true}"#,
    ] {
        let (_, after) = fetch_one(payload);
        assert_eq!(
            after,
            registered()
                .with("ns:jobs:a", set(&["j"]))
                .with("ns:job:j", text(&format!("queue 1 q\n{payload}")))
        );
    }
    let at_home = r#"{"queue":"q","args":[{"queue":"elsewhere"}],"jid":"j","assured_jobs":true}"#;
    assert_eq!(fetch_one(at_home).1, recorded("j", at_home));
}

#[test]
fn a_jid_is_what_the_payload_says_however_it_is_written() {
    let php = r#"{"jid":"orders\/42","queue":"q","assured_jobs":true}"#;
    assert_eq!(fetch_one(php), (Some("orders/42".into()), recorded("orders/42", php)));
    let spaced = r#"{"jid": "j", "args":[{"jid":"inner"}],"queue":"q","assured_jobs":true}"#;
    assert_eq!(fetch_one(spaced).0.as_deref(), Some("j"));
}

#[test]
fn a_record_of_a_job_without_jid_has_a_name_of_its_own() {
    for payload in [
        r#"{"assured_jobs":true}"#,
        r#"{"jid":null,"assured_jobs":true}"#,
        r#"{"jid":"","assured_jobs":true}"#,
        r#"[{"assured_jobs":true}]"#,
        r#"not JSON: "assured_jobs":true"#,
    ] {
        assert_eq!(fetch_one(payload), (Some("~s".into()), recorded("~s", payload)), "{payload}");
    }
}

#[test]
fn a_name_that_is_taken_leaves_the_other_record_alone() {
    let before = queues([("q", &[&assured("j")])]).with("ns:job:j", text("{other}"));
    let (jobs, after) = fetch(&before, &["q"], &[order("~s", &[0])]);
    assert_eq!(jobs, [popped(0, 0, &assured("j"), Some("j~s"))]);
    assert_eq!(after, recorded("j~s", &assured("j")).with("ns:job:j", text("{other}")));
}

#[test]
fn a_jid_twice_in_one_round_trip_is_two_records() {
    let [first, second] =
        [r#"{"n":1,"jid":"j","assured_jobs":true}"#, r#"{"n":2,"jid":"j","assured_jobs":true}"#];
    let (jobs, after) =
        fetch(&queues([("q", &[second, first])]), &["q"], &[order("~1", &[0]), order("~2", &[0])]);
    assert_eq!(jobs, [popped(0, 0, first, Some("j")), popped(1, 0, second, Some("j~2"))]);
    let both = registered().with("ns:jobs:a", set(&["j", "j~2"]));
    assert_eq!(after, both.with("ns:job:j", record_of(first)).with("ns:job:j~2", record_of(second)));
}

#[test]
fn each_thread_gets_the_next_job_in_its_own_order() {
    let before = queues([("high", &["h2", "h1"]), ("low", &["l2", "l1"])]);
    let orders =
        [order("", &[0, 1]), order("", &[1, 0]), order("", &[0, 1]), order("", &[0, 1]), order("", &[0])];
    let (jobs, after) = fetch(&before, &["high", "low"], &orders);
    let expected = [
        popped(0, 0, "h1", None),
        popped(1, 1, "l1", None),
        popped(2, 0, "h2", None),
        popped(3, 1, "l2", None),
    ];
    assert_eq!(jobs, expected);
    assert_eq!(after, registered());
}

#[test]
fn a_queue_that_is_not_there_is_empty() {
    let (jobs, after) =
        fetch(&queues([("q", &["x"])]), &["none", "q"], &[order("", &[0, 1]), order("", &[0, 1])]);
    assert_eq!(jobs, [popped(0, 1, "x", None)]);
    assert_eq!(after, registered());
}

#[test]
fn nothing_is_popped_for_a_process_that_does_not_own_the_id() {
    let before =
        space([("ns:instances", hash(&[("a", OTHER)])), ("queue:q", list(&[&assured("j"), &plain("k")]))]);
    let mut redis = Redis::shared();
    redis.seed(&before);
    let error = fetch_from(&mut redis.store(), &["q"], &[order("", &[0])], &[]).unwrap_err();
    assert_eq!(error.remedy, Remedy::Reclaim);
    assert_eq!(redis.dump(), before);
}

#[test]
fn a_registry_entry_that_redis_lost_is_written_with_the_record() {
    let (_, after) = fetch(&space([("queue:q", list(&[&assured("j")]))]), &["q"], &[order("", &[0])]);
    assert_eq!(after, recorded("j", &assured("j")));
}

#[test]
fn releases_come_before_the_fetch_of_the_same_round_trip() {
    let mut redis = Redis::shared();
    redis.seed(&recorded("j", "{1}").with("queue:q", list(&[&assured("j")])));
    let jobs = fetch_from(&mut redis.store(), &["q"], &[order("~s", &[0])], &["j"]);
    assert_eq!(jobs.unwrap(), [popped(0, 0, &assured("j"), Some("j"))]);
    assert_eq!(redis.dump(), recorded("j", &assured("j")));
}

#[test]
fn waiting_for_a_job_leaves_the_queue_as_it_is() {
    let before = queues([("q", &["b", "a"])]);
    let mut redis = Redis::shared();
    redis.seed(&before);
    let mut store = redis.store();
    assert!(store.await_job(b"q", Duration::from_secs(1)).unwrap());
    assert!(!store.await_job(b"none", Duration::from_millis(10)).unwrap());
    assert_eq!(redis.dump(), before);
}

#[test]
fn what_was_popped_before_an_error_arrives() {
    let before = queues([("q", &[&plain("j")])]).with("queue:odd", text("no list"));
    let (jobs, _) = fetch(&before, &["q", "odd"], &[order("", &[0]), order("", &[1])]);
    assert_eq!(jobs, [popped(0, 0, &plain("j"), None)]);
}

/// An instance that judges nobody.
fn quiet(redis: &Redis) -> Settings {
    Settings { instance_name: Some("a".into()), auto_recovery: false, ..redis.settings() }
}

fn start(settings: Settings) -> (Engine, Arc<Queues>) {
    let engine = Engine::start(settings).expect("threads");
    engine.instance_id(DEADLINE).expect("an id is claimed");
    let queues = engine.open_queues(Queues::new(names(&["q"]), true)).expect("threads");
    (engine, queues)
}

fn answered<T>(waiter: &Arc<Waiter<T>>) -> T {
    match waiter.wait(Some(Instant::now() + DEADLINE)) {
        Woken::Answered(answer) => answer,
        _ => panic!("no answer"),
    }
}

fn get(engine: &Engine, queues: &Arc<Queues>) -> Job {
    answered(&engine.fetch(queues))
}

fn push(redis: &mut Redis, payload: &str) {
    redis.run::<()>(&["LPUSH", "queue:q", payload]);
}

/// The key space without heartbeats and registry.
fn records(redis: &mut Redis) -> Space {
    let found = redis.dump();
    let noise: Vec<_> =
        found.keys().filter(|key| key.starts_with("ns:instance")).map(str::to_owned).collect();
    found.without(&noise.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Sent again because it has not run: not because of anything else in its round trip, which would pop a second job.
#[test]
fn a_fetch_whose_script_the_server_forgot_pops_each_job_once() {
    let mut redis = Redis::own();
    redis.seed(&queues([("q", &["c", "b", "a"])]));
    let mut store = redis.store();
    redis.run::<()>(&["SCRIPT", "FLUSH"]);
    let jobs = fetch_from(&mut store, &["q"], &[order("~1", &[0]), order("~2", &[0])], &["x"]);
    assert_eq!(jobs.unwrap(), [popped(0, 0, "a", None), popped(1, 0, "b", None)]);
    assert_eq!(redis.dump(), queues([("q", &["c"])]));
}

#[test]
fn a_job_is_in_flight_from_its_fetch_to_its_release() {
    let mut redis = Redis::shared();
    let (engine, queues) = start(quiet(&redis));
    push(&mut redis, &assured("j"));
    let job = get(&engine, &queues);
    assert_eq!((job.queue.as_slice(), &*job.payload), (b"q".as_slice(), assured("j").as_bytes()));
    assert_eq!(records(&mut redis), space([("ns:jobs:a", set(&["j"])), ("ns:job:j", text(&assured("j")))]));
    assert_eq!(engine.find(assured("j").as_bytes()), job.attempt);
    engine.release(job.attempt.expect("in flight"));
    answered(&engine.flush());
    assert_eq!(records(&mut redis), space([]));
}

#[test]
fn a_text_in_the_arguments_makes_no_job_assured() {
    let mut redis = Redis::shared();
    let (engine, queues) = start(quiet(&redis));
    let payload = r#"{"jid":"j","args":[{"assured_jobs":true}],"assured_jobs":false}"#;
    push(&mut redis, payload);
    let job = get(&engine, &queues);
    assert_eq!((&*job.payload, job.attempt), (payload.as_bytes(), None));
    redis.until(|redis| records(redis) == space([]));
    assert_eq!(engine.in_flight(), 0);
}

#[test]
fn a_job_that_is_given_back_is_the_next_one() {
    let mut redis = Redis::shared();
    let (engine, queues) = start(quiet(&redis));
    redis.run::<()>(&["LPUSH", "queue:q", &assured("a"), &assured("b")]);
    let job = get(&engine, &queues);
    engine.return_job(job.clone());
    answered(&engine.flush());
    let both = space([("queue:q", list(&[&assured("b"), &assured("a")])), ("queues", set(&["q"]))]);
    assert_eq!(records(&mut redis), both);
    assert_eq!(get(&engine, &queues).payload, job.payload);
}

#[test]
fn no_push_goes_unnoticed() {
    let mut redis = Redis::shared();
    let (engine, queues) =
        start(Settings { heartbeat_interval: NEVER, heartbeat_ttl: 2 * NEVER, ..quiet(&redis) });
    for turn in 0..500 {
        let waiter = engine.fetch(&queues);
        push(&mut redis, &plain(&turn.to_string()));
        let woken = waiter.wait(Some(Instant::now() + Duration::from_secs(1)));
        assert!(matches!(woken, Woken::Answered(_)), "push {turn} was not noticed");
    }
}

#[test]
fn a_request_that_is_abandoned_takes_no_job_with_it() {
    const JOBS: usize = 300;
    let mut redis = Redis::shared();
    let (engine, queues) = start(quiet(&redis));
    let mut got = BTreeSet::new();
    for turn in 0..JOBS {
        let payload = if turn % 2 == 0 { assured(&turn.to_string()) } else { plain(&turn.to_string()) };
        push(&mut redis, &payload);
        let waiter = engine.fetch(&queues);
        // Spread over the time that a round trip takes.
        std::thread::sleep(Duration::from_micros(fastrand::u64(0..400)));
        if let Some(job) = waiter.abandon() {
            assert!(got.insert(job.payload.to_vec()), "twice");
            job.attempt.into_iter().for_each(|attempt| engine.release(attempt));
        }
    }
    let abandoned = JOBS - got.len();
    assert!((1..JOBS).contains(&abandoned), "both must happen: {abandoned} of {JOBS} were abandoned");
    redis.until(|redis| redis.queued("q") == abandoned && engine.in_flight() == 0);
    let left: Vec<Vec<u8>> = redis.run(&["LRANGE", "queue:q", "0", "-1"]);
    got.extend(left);
    assert_eq!(got.len(), JOBS);
}

#[test]
fn jobs_are_shared_by_threads_and_none_is_lost_or_doubled() {
    const JOBS: usize = 2_000;
    let mut redis = Redis::shared();
    let (engine, queues) = start(quiet(&redis));
    let payloads: Vec<_> =
        (0..JOBS).map(|n| if n % 3 == 0 { plain(&n.to_string()) } else { assured(&n.to_string()) }).collect();
    let work = || {
        let mut got = Vec::new();
        while let Woken::Answered(job) =
            engine.fetch(&queues).wait(Some(Instant::now() + Duration::from_secs(1)))
        {
            job.attempt.into_iter().for_each(|attempt| engine.release(attempt));
            got.push(String::from_utf8(job.payload.to_vec()).unwrap());
        }
        got
    };
    let mut got: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        payloads.iter().for_each(|payload| push(&mut redis, payload));
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    got.sort_unstable();
    let mut expected = payloads;
    expected.sort_unstable();
    assert_eq!(got, expected);
    answered(&engine.flush());
    assert_eq!(records(&mut redis), space([]));
}

#[test]
fn a_record_that_nobody_knows_of_goes_back_to_its_queue() {
    let mut redis = Redis::shared();
    let (_engine, _) = start(quiet(&redis));
    redis.seed(&space([("ns:jobs:a", set(&["j"])), ("ns:job:j", text(&assured("j")))]));
    let back = space([("queue:q", list(&[&assured("j")])), ("queues", set(&["q"]))]);
    redis.until(|redis| records(redis) == back);
}

#[test]
fn a_record_whose_release_redis_lost_is_released_again() {
    let mut redis = Redis::shared();
    let (engine, queues) = start(quiet(&redis));
    push(&mut redis, &assured("j"));
    engine.release(get(&engine, &queues).attempt.unwrap());
    answered(&engine.flush());
    redis.seed(&space([("ns:jobs:a", set(&["j"])), ("ns:job:j", text(&assured("j")))]));
    redis.until(|redis| records(redis) == space([]));
}

/// An engine that reaches Redis through a proxy.
fn start_behind_proxy(redis: &Redis) -> (Engine, Arc<Queues>, LossyProxy) {
    let mut settings = quiet(redis);
    let Address::Tcp(_, port) = settings.tracking.address else { unreachable!() };
    let proxy = LossyProxy::to(port);
    settings.tracking.address = Address::Tcp("127.0.0.1".into(), proxy.port);
    settings.tracking.read_timeout = DEADLINE;
    let (engine, queues) = start(settings);
    (engine, queues, proxy)
}

#[test]
fn a_job_whose_fetch_was_not_answered_comes_back() {
    let mut redis = Redis::shared();
    let (engine, queues, proxy) = start_behind_proxy(&redis);
    proxy.lose_next_fetch();
    let waiter = engine.fetch(&queues);
    push(&mut redis, &assured("j"));
    eventually("a reply is lost", || proxy.has_lost());
    assert_eq!(&*answered(&waiter).payload, assured("j").as_bytes());
}

/// As after a pause in the middle of a fetch: the verdict is found before the job that it is about arrives.
#[test]
fn a_verdict_is_also_about_a_job_whose_fetch_is_on_its_way() {
    let mut redis = Redis::shared();
    let (engine, queues, proxy) = start_behind_proxy(&redis);
    push(&mut redis, &assured("j"));
    proxy.hold_next_fetch();
    let waiter = engine.fetch(&queues);
    redis.until(|redis| redis.run(&["EXISTS", "ns:job:j"]));
    let mut judge = redis.store();
    redis.until(|redis| {
        redis.declare_dead("a")
            && judge.requeue(b"a", b"judge", &[to_queue("j", &assured("j"))]).unwrap().is_some()
    });
    redis.until(|redis| !redis.run::<bool>(&["EXISTS", "ns:verdict:a"]));
    proxy.let_go();
    let lost = answered(&waiter).attempt.expect("it is in flight, as far as the fetch can tell");
    eventually("it learns of it", || engine.is_lost(lost));
    let queued = space([("queue:q", list(&[&assured("j")])), ("queues", set(&["q"]))]);
    answered(&engine.check_up());
    answered(&engine.flush());
    assert_eq!(records(&mut redis), queued, "it is recorded once");
}

fn assured_retry(jid: &str) -> String {
    format!(r#"{{"queue":"q","args":[],"jid":"{jid}","assured_jobs":true,"retry_count":0}}"#)
}

#[test]
fn a_retry_whose_fetch_was_not_answered_comes_back() {
    let mut redis = Redis::shared();
    let (engine, queues, proxy) = start_behind_proxy(&redis);
    push(&mut redis, &assured("j"));
    engine.release(get(&engine, &queues).attempt.unwrap());
    answered(&engine.flush());

    push(&mut redis, &assured_retry("j"));
    proxy.lose_next_fetch();
    let waiter = engine.fetch(&queues);
    eventually("a reply is lost", || proxy.has_lost());
    assert_eq!(&*answered(&waiter).payload, assured_retry("j").as_bytes());
}

#[test]
fn a_job_that_was_given_back_comes_back_when_its_next_fetch_was_not_answered() {
    let mut redis = Redis::shared();
    let (engine, queues, proxy) = start_behind_proxy(&redis);
    push(&mut redis, &assured("j"));
    engine.return_job(get(&engine, &queues));
    answered(&engine.flush());

    proxy.lose_next_fetch();
    let waiter = engine.fetch(&queues);
    eventually("a reply is lost", || proxy.has_lost());
    assert_eq!(&*answered(&waiter).payload, assured("j").as_bytes());
}

#[test]
fn a_release_that_is_sent_again_spares_the_next_job_of_the_same_jid() {
    let mut redis = Redis::shared();
    let (engine, queues, proxy) = start_behind_proxy(&redis);
    redis.run::<()>(&["LPUSH", "queue:q", &assured("j"), &assured_retry("j")]);
    let first = get(&engine, &queues);
    proxy.lose_next_fetch();
    // Rides with the fetch.
    engine.release(first.attempt.unwrap());
    let waiter = engine.fetch(&queues);
    eventually("a reply is lost", || proxy.has_lost());
    assert_eq!(&*answered(&waiter).payload, assured_retry("j").as_bytes());
}

#[test]
fn a_release_that_was_not_answered_spares_a_job_fetched_meanwhile() {
    let mut redis = Redis::shared();
    let (engine, queues, proxy) = start_behind_proxy(&redis);
    // A connection that was in use before is worth a second try.
    push(&mut redis, &assured("i"));
    engine.release(get(&engine, &queues).attempt.unwrap());
    answered(&engine.flush());

    push(&mut redis, &assured("j"));
    let first = get(&engine, &queues);
    proxy.lose_next("ns:job:j");
    engine.release(first.attempt.unwrap());
    eventually("a reply is lost", || proxy.has_lost());
    push(&mut redis, &assured_retry("j"));
    let second = get(&engine, &queues);
    assert_eq!(&*second.payload, assured_retry("j").as_bytes());
    answered(&engine.flush());
    assert_eq!(records(&mut redis), recorded("j", &assured_retry("j")).without(&["ns:instances"]));
    engine.release(second.attempt.unwrap());
    redis.until(|redis| records(redis) == Space::default());
}

/// Pushes although Redis is full: a script that has written may go on writing.
fn force(redis: &mut Redis, payload: &str) {
    let script = "redis.call('DEL', 'none') return redis.call('LPUSH', 'queue:q', ARGV[1])";
    redis.run::<()>(&["EVAL", script, "0", payload]);
}

#[test]
fn each_request_gets_one_job_while_redis_is_full() {
    const JOBS: usize = 100;
    let mut redis = Redis::own();
    let (engine, queues) =
        start(Settings { heartbeat_interval: NEVER, heartbeat_ttl: 2 * NEVER, ..quiet(&redis) });
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    let held = engine.track(b"held", b"q", b"{}");
    let waiters: Vec<_> = (0..5).map(|_| engine.fetch(&queues)).collect();
    // A watch that is refused is no arrival, so it tries less and less often.
    eventually("some tries are refused", || refused(&mut redis) >= 5);
    (0..JOBS).for_each(|n| force(&mut redis, &plain(&n.to_string())));
    let mut got: BTreeSet<_> = waiters.iter().map(|waiter| answered(waiter).payload.to_vec()).collect();
    engine.release(held);
    while redis.queued("q") > 0 {
        assert!(got.insert(get(&engine, &queues).payload.to_vec()), "twice");
    }
    assert_eq!(got.len(), JOBS);
}

#[test]
fn a_full_redis_takes_a_job_back() {
    let mut redis = Redis::own();
    let (engine, queues) =
        start(Settings { heartbeat_interval: NEVER, heartbeat_ttl: 2 * NEVER, ..quiet(&redis) });
    redis.run::<()>(&["LPUSH", "queue:q", &assured("a"), &assured("b")]);
    let first = get(&engine, &queues);
    redis.run::<()>(&["CONFIG", "SET", "maxmemory", "1"]);
    engine.return_job(first.clone());
    redis.until(|redis| redis.queued("q") == 2);
    let again = get(&engine, &queues);
    assert_eq!(again.payload, first.payload);
    engine.release(again.attempt.expect("in flight"));
    assert_eq!(&*get(&engine, &queues).payload, assured("b").as_bytes());
}

/// Where nobody may touch the queues of others but for `q`.
fn start_confined(redis: &mut Redis) -> Engine {
    let rules = ["ACL", "SETUSER", "u", "on", ">p", "+@all", "&*", "~ns:*", "~queue:q", "~queues"];
    redis.run::<()>(&rules);
    let mut settings = quiet(redis);
    settings.tracking.username = Some("u".into());
    settings.tracking.password = Some(Password::Fixed("p".into()));
    start(settings).0
}

/// A due job may belong to a queue of others, which this process must not touch.
#[test]
fn a_job_for_a_forbidden_queue_stays_recorded_and_keeps_no_other_one_waiting() {
    let mut redis = Redis::own();
    let engine = start_confined(&mut redis);
    let tokens: Vec<_> = ["theirs", "q", "q"]
        .iter()
        .enumerate()
        .map(|(n, queue)| engine.track(n.to_string().as_bytes(), queue.as_bytes(), assured("j").as_bytes()))
        .collect();
    let due = engine.enqueue(tokens[0], b"theirs", assured("j").as_bytes());
    answered(&engine.flush());
    assert_eq!(due.wait(Some(Instant::now())), Woken::TimedOut);

    answered(&engine.give_back(tokens));
    assert_eq!(redis.queued("q"), 2);
    assert_eq!(redis.dump().get("ns:jobs:a"), Some(&set(&["0"])));

    redis.run::<()>(&["ACL", "SETUSER", "u", "~queue:theirs"]);
    assert_eq!(engine.stop(DEADLINE), Some(0));
    assert_eq!((redis.queued("q"), redis.queued("theirs")), (2, 1));
}

#[test]
fn a_forbidden_queue_does_not_make_a_clean_exit_a_death() {
    let mut redis = Redis::own();
    let engine = start_confined(&mut redis);
    engine.track(b"j", b"theirs", assured("j").as_bytes());
    redis.until(|redis| redis.run(&["EXISTS", "ns:job:j"]));
    assert_eq!(engine.stop(DEADLINE), Some(1));
    let entry: String = redis.run(&["HGET", "ns:instances", "a"]);
    assert!(entry.contains("\"retired\":true"), "{entry}");
}

#[test]
fn an_attempt_that_lost_its_lease_gives_back_nothing() {
    let mut redis = Redis::shared();
    let (engine, queues) = start(quiet(&redis));
    push(&mut redis, &assured("j"));
    let late = get(&engine, &queues);
    // What a sweep does to an instance that it finds dead, in one step.
    let sweep = "redis.call('SET', 'ns:verdict:a', 'judge') redis.call('DEL', 'ns:jobs:a', 'ns:job:j')";
    redis.run::<()>(&["EVAL", sweep, "0"]);
    redis.until(|redis| redis.run::<i64>(&["EXISTS", "ns:verdict:a"]) == 0);
    push(&mut redis, &assured_retry("j"));
    let next = get(&engine, &queues);

    engine.return_job(late);
    answered(&engine.flush());
    assert_eq!(
        records(&mut redis),
        space([("ns:jobs:a", set(&["j"])), ("ns:job:j", text(&assured_retry("j")))])
    );
    assert_eq!(engine.find(&next.payload), next.attempt);
}

/// A fetch shows it, or a beat: whichever is first, people hear of it once, and soon.
#[test]
fn a_lost_lease_is_told_once() {
    for beats in [Duration::from_millis(50), NEVER] {
        let mut redis = Redis::shared();
        let (engine, queues) =
            start(Settings { heartbeat_interval: beats, heartbeat_ttl: 20 * beats, ..quiet(&redis) });
        push(&mut redis, &assured("j"));
        let late = get(&engine, &queues);
        let sweep = "redis.call('SET', 'ns:verdict:a', 'judge') redis.call('DEL', 'ns:jobs:a', 'ns:job:j') \
                     return redis.call('LPUSH', 'queue:q', ARGV[1])";
        redis.run::<()>(&["EVAL", sweep, "0", &assured("j")]);
        let again = get(&engine, &queues);
        assert_ne!(again.attempt, late.attempt);
        redis.until(|redis| redis.counter("lease_lost") == 1);
        answered(&engine.check_up());
        answered(&engine.check_up());
        assert_eq!(redis.counter("lease_lost"), 1);
        let Woken::Answered(events) = engine.events().next_batch(Some(Instant::now())) else {
            panic!("no events")
        };
        let lost = |event: &&Event| matches!(event, Event::Notices(notices) if notices.iter().any(|n| n.kind == Kind::LeaseLost));
        assert_eq!(events.iter().filter(lost).count(), 1, "{events:?}");
    }
}

#[test]
fn an_idle_engine_looks_at_each_queue_once_in_two_seconds() {
    let mut redis = Redis::own();
    let (engine, one) =
        start(Settings { heartbeat_interval: NEVER, heartbeat_ttl: 2 * NEVER, ..quiet(&redis) });
    let queues = engine.open_queues(Queues::new(names(&["q", "r", "s"]), true)).expect("threads");
    drop(one);
    push(&mut redis, &plain("j"));
    let _ = get(&engine, &queues);
    let waiters: Vec<_> = (0..10).map(|_| engine.fetch(&queues)).collect();
    // Nobody fetches from the queues that were opened first, so nobody watches those.
    eventually("it is idle", || blocked(&mut redis) == 3);
    let before = commands(&mut redis);
    std::thread::sleep(Duration::from_secs(4));
    let sent = commands(&mut redis) - before;
    // Three watches and two looks of each, a glance, one fetch after a disturbance; and the INFO of this test.
    assert!(sent <= 3 * 3 + 5, "{sent} commands in 4 s");
    waiters.iter().for_each(|waiter| drop(waiter.abandon()));
}

/// A figure of `INFO`; 0 where there is none yet.
fn info(redis: &mut Redis, section: &str, field: &str) -> u64 {
    let info: String = redis.run(&["INFO", section]);
    let value = info.lines().find_map(|line| line.strip_prefix(field));
    value.map_or(0, |value| value.parse().unwrap())
}

fn refused(redis: &mut Redis) -> u64 {
    info(redis, "errorstats", "errorstat_OOM:count=")
}

fn blocked(redis: &mut Redis) -> u64 {
    info(redis, "clients", "blocked_clients:")
}

fn commands(redis: &mut Redis) -> u64 {
    info(redis, "stats", "total_commands_processed:")
}
