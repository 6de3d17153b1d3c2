//! Whole engines against a real Redis, with short intervals.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use assured_core::engine::Engine;
use assured_core::events::{Event, Kind, Notice};
use assured_core::identity::Identity;
use assured_core::registry::Token;
use assured_core::settings::Settings;
use assured_core::store::{Requeued, Store};
use assured_core::waiter::{Waiter, Woken};
use support::{
    DEADLINE, Redis, Space, eventually, expiring, hash, list, ranked, record_of, set, space, text, to_queue,
};

/// Longer than any test: the engine beats once, at its start.
const NEVER: Duration = Duration::from_secs(600);

fn named(redis: &Redis, name: &str) -> Settings {
    Settings { instance_name: Some(name.into()), ..redis.settings() }
}

/// An instance that judges nobody.
fn quiet(redis: &Redis, name: &str) -> Settings {
    Settings { auto_recovery: false, ..named(redis, name) }
}

fn start(settings: Settings) -> Engine {
    let engine = Engine::start(settings).expect("threads");
    engine.instance_id(DEADLINE).expect("an id is claimed");
    engine
}

fn payload(jid: &str) -> String {
    format!(r#"{{"jid":"{jid}","queue":"q","args":[]}}"#)
}

fn answered<T>(waiter: &Arc<Waiter<T>>) -> T {
    match waiter.wait(Some(Instant::now() + DEADLINE)) {
        Woken::Answered(answer) => answer,
        _ => panic!("no answer"),
    }
}

/// Begins to track; the waiter is told when the record is there.
fn begin(engine: &Engine, jid: &[u8], queue: &[u8], payload: &[u8]) -> (Token, Arc<Waiter<()>>) {
    let token = engine.track(jid, queue, payload);
    (token, engine.recorded(token).expect("it is held"))
}

fn track(engine: &Engine, jid: &str, payload: &str) -> Token {
    let (token, waiter) = begin(engine, jid.as_bytes(), b"q", payload.as_bytes());
    answered(&waiter);
    token
}

fn release(engine: &Engine, token: Token) {
    engine.release(token);
    answered(&engine.flush());
}

/// The key space without heartbeats and registry.
fn records(redis: &mut Redis) -> Space {
    let found = redis.dump();
    let noise: Vec<_> = found
        .keys()
        .filter(|key| key.starts_with("ns:instance") || *key == "ns:recovery_lock")
        .map(str::to_owned)
        .collect();
    let noise: Vec<_> = noise.iter().map(String::as_str).collect();
    found.without(&noise)
}

/// Waits for a log line with these words. What was logged before it is gone then.
fn logs(engine: &Engine, words: &str) {
    logs_all(engine, &[words]);
}

fn logs_all(engine: &Engine, words: &[&str]) {
    let deadline = Some(Instant::now() + DEADLINE);
    let mut missing = words.to_vec();
    let mut said = Vec::new();
    while !missing.is_empty() {
        let Woken::Answered(events) = engine.events().next_batch(deadline) else {
            panic!("never logged: {missing:?}, but {said:#?}");
        };
        assert!(!events.is_empty(), "stopped without {missing:?}");
        for event in events {
            if let Event::Log(_, line) = event {
                missing.retain(|words| !line.contains(words));
                said.push(line);
            }
        }
    }
}

/// Instance `dead`, whose process is gone, with its orphans.
fn dead(redis: &mut Redis, jids: &[&str]) {
    let mut keys = space([("ns:instances", hash(&[("dead", "{}")])), ("ns:jobs:dead", set(jids))]);
    for jid in jids {
        keys = keys.with(&format!("ns:job:{jid}"), text(&payload(jid)));
    }
    redis.seed(&keys);
}

/// Jids in queue `q`, in the order in which they lie there; each was recovered `times` times.
fn queued_jids(redis: &mut Redis, times: u64) -> Vec<String> {
    let payloads: Vec<String> = redis.run(&["LRANGE", "queue:q", "0", "-1"]);
    let jid = |payload: &String| {
        let job: serde_json::Value = serde_json::from_str(payload).unwrap();
        assert_eq!(job["assured_recoveries"], times, "{payload}");
        job["jid"].as_str().unwrap().to_owned()
    };
    payloads.iter().map(jid).collect()
}

#[test]
fn the_record_is_there_before_track_is_answered_and_gone_after_release() {
    let mut redis = Redis::shared();
    let engine = start(quiet(&redis, "a"));
    for turn in 0..20 {
        let odd = format!("{{\"turn\":{turn},\"n\":12345678901234567890123,\"e\":[]}}");
        let token = track(&engine, "j", &odd);
        assert_eq!(records(&mut redis), space([("ns:jobs:a", set(&["j"])), ("ns:job:j", record_of(&odd))]));
        release(&engine, token);
        assert_eq!(records(&mut redis), space([]));
    }
}

#[test]
fn a_jid_twice_in_one_engine_is_two_records() {
    let mut redis = Redis::shared();
    let engine = start(quiet(&redis, "a"));
    let first = track(&engine, "j", "{1}");
    let second = track(&engine, "j", "{2}");
    assert_eq!(engine.in_flight(), 2);
    release(&engine, first);
    let left = records(&mut redis);
    assert_eq!(left.keys().count(), 2, "{left:?}");
    assert!(format!("{left:?}").contains("{2}"), "{left:?}");
    release(&engine, second);
    assert_eq!(records(&mut redis), space([]));
}

#[test]
fn a_jid_in_two_engines_is_two_records() {
    let mut redis = Redis::shared();
    let (a, b) = (start(quiet(&redis, "a")), start(quiet(&redis, "b")));
    let first = track(&a, "j", "{a}");
    let second = track(&b, "j", "{b}");
    release(&a, first);
    let left = records(&mut redis);
    assert!(left.get("ns:jobs:b").is_some() && left.keys().count() == 2, "{left:?}");
    assert!(format!("{left:?}").contains("{b}"), "{left:?}");
    release(&b, second);
    assert_eq!(records(&mut redis), space([]));
}

#[test]
fn give_back_puts_the_payload_back_as_it_was() {
    let mut redis = Redis::shared();
    redis.seed(&space([("queue:q", list(&["waiting"]))]));
    let engine = start(quiet(&redis, "a"));
    let given = track(&engine, "j", "{ 1.50 }");
    let kept = track(&engine, "k", "{k}");
    answered(&engine.give_back(vec![given, 999]));
    assert_eq!(
        records(&mut redis),
        space([
            ("ns:jobs:a", set(&["k"])),
            ("ns:job:k", record_of("{k}")),
            ("queue:q", list(&["waiting", "{ 1.50 }"])),
            ("queues", set(&["q"])),
        ])
    );
    release(&engine, given);
    release(&engine, kept);
    assert_eq!(redis.queued("q"), 2);
}

/// A release and the track of a later attempt of the same jid may be asked for at the same instant.
#[test]
fn threads_that_share_a_jid_lose_no_record() {
    const THREADS: usize = 6;
    let mut redis = Redis::shared();
    let engine = start(quiet(&redis, "a"));
    for turn in 0..30 {
        let work = |thread: usize| {
            for round in 0..20 {
                engine.release(track(&engine, "j", &format!("{{{thread}.{turn}.{round}}}")));
            }
            track(&engine, "j", &format!("{{{thread}}}"))
        };
        let held: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || work(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        answered(&engine.flush());
        let found = records(&mut redis);
        assert_eq!(found.keys().count(), THREADS + 1, "turn {turn}: {found:#?}");
        for thread in 0..THREADS {
            let payload = record_of(&format!("{{{thread}}}"));
            assert!(found.keys().any(|key| found.get(key) == Some(&payload)), "turn {turn}: {found:#?}");
        }
        held.into_iter().for_each(|token| engine.release(token));
        answered(&engine.flush());
        assert_eq!(records(&mut redis), space([]));
    }
}

#[test]
fn find_knows_an_attempt_by_its_payload() {
    let redis = Redis::shared();
    let engine = start(quiet(&redis, "a"));
    let token = track(&engine, "j", "{1}");
    assert_eq!(engine.find(b"{1}"), Some(token));
    assert_eq!(engine.find(b"{2}"), None);
    release(&engine, token);
    assert_eq!(engine.find(b"{1}"), None);
}

/// Ends an attempt without acknowledgement, and returns what lies in this sorted set then.
fn ended(redis: &mut Redis, engine: &Engine, token: Token, set: &str) -> Vec<String> {
    engine.end_unacknowledged(token, true);
    answered(&engine.flush());
    redis.run(&["ZRANGE", set, "0", "-1"])
}

#[test]
fn an_end_without_acknowledgement_counts_and_waits() {
    let mut redis = Redis::shared();
    let engine = start(quiet(&redis, "a"));
    for count in 0..3_u64 {
        redis.run::<()>(&["DEL", "retry"]);
        let given = format!(r#"{{"jid":"j","queue":"named","assured_recoveries":{count},"args":[1.50]}}"#);
        let token = track(&engine, "j", &given);
        let [payload, due]: [String; 2] = {
            ended(&mut redis, &engine, token, "retry");
            redis.run(&["ZRANGE", "retry", "0", "-1", "WITHSCORES"])
        };
        let counted = format!(r#"{{"jid":"j","queue":"q","assured_recoveries":{},"args":[1.50],"#, count + 1);
        assert!(payload.starts_with(&counted), "{payload}");
        assert!(payload.contains(r#""error_class":"Sidekiq::AssuredJobs::UnacknowledgedEnd""#), "{payload}");
        let wait = due.parse::<f64>().unwrap() - unix_time();
        let least = (count.pow(4) + 15) as f64;
        assert!((least - 5.0..=least + 9.0 * (count + 1) as f64).contains(&wait), "{count}: {wait}");
        assert_eq!(engine.in_flight(), 0);
    }
    assert_eq!(redis.counter("unacknowledged"), 3);
}

#[test]
fn the_last_end_without_acknowledgement_is_in_the_dead_set_whatever_the_job_says_of_it() {
    let mut redis = Redis::shared();
    let engine = start(quiet(&redis, "a"));
    let limits = [(3, ""), (1, r#","assured_max_recoveries":1"#), (0, r#","assured_max_recoveries":0"#)];
    for (count, limit) in limits {
        let given =
            format!(r#"{{"jid":"j{count}","dead":false,"retry":false,"assured_recoveries":{count}{limit}}}"#);
        let token = track(&engine, &format!("j{count}"), &given);
        ended(&mut redis, &engine, token, "dead");
    }
    let dead: Vec<String> = redis.run(&["ZRANGE", "dead", "0", "-1"]);
    assert_eq!(dead.len(), 3);
    assert!(dead.iter().all(|job| job.contains(r#""error_class":"Sidekiq::AssuredJobs::PoisonJob""#)));
    assert_eq!(redis.run::<usize>(&["LLEN", "ns:deaths"]), 3);
    assert_eq!(redis.run::<usize>(&["EXISTS", "retry", "ns:verdict:a", "ns:jobs:a"]), 0);
    assert_eq!((redis.counter("poisoned"), engine.in_flight()), (3, 0));
    let reasons: Vec<_> = notices(&engine, 3).into_iter().map(|notice| notice.reason.unwrap()).collect();
    assert!(reasons[0].starts_with("4 attempts ended without acknowledgement"), "{reasons:?}");
}

#[test]
fn an_end_of_a_lost_lease_stores_nothing() {
    let mut redis = Redis::shared();
    let engine =
        start(Settings { heartbeat_interval: NEVER, heartbeat_ttl: NEVER * 2, ..quiet(&redis, "a") });
    let token = track(&engine, "j", &payload("j"));
    // Somebody has recovered it, and runs it.
    redis.run::<()>(&["SREM", "ns:jobs:a", "j"]);
    redis.run::<()>(&["SADD", "ns:jobs:b", "j"]);
    let before = records(&mut redis);
    assert_eq!(ended(&mut redis, &engine, token, "retry"), Vec::<String>::new());
    assert_eq!((records(&mut redis), engine.in_flight()), (before, 0));
}

#[test]
fn what_waits_here_for_its_retry_goes_back_counted_when_the_process_ends() {
    let mut redis = Redis::shared();
    redis.run::<()>(&["SET", "retry", "no sorted set"]);
    let engine = start(quiet(&redis, "a"));
    let token = track(&engine, "j", &payload("j"));
    engine.end_unacknowledged(token, true);
    answered(&engine.flush());
    assert_eq!((engine.in_flight(), redis.queued("q")), (1, 0), "it waits, recorded");
    assert_eq!(engine.stop(DEADLINE), Some(0));
    let [job]: [String; 1] = redis.run(&["LRANGE", "queue:q", "0", "-1"]);
    assert!(job.contains(r#""assured_recoveries":1"#), "{job}");
    assert_eq!(redis.counter("unacknowledged"), 1);
}

#[test]
fn a_job_that_others_would_move_when_it_is_due_waits_here() {
    let mut redis = Redis::shared();
    let engine = start(quiet(&redis, "a"));
    let token = track(&engine, "j", &payload("j"));
    engine.end_unacknowledged(token, false);
    answered(&engine.flush());
    assert_eq!((redis.run::<usize>(&["EXISTS", "retry"]), redis.queued("q"), engine.in_flight()), (0, 0, 1));
}

#[test]
fn stop_leaves_no_key() {
    let mut redis = Redis::shared();
    let engine = start(named(&redis, "a"));
    let token = track(&engine, "j", "{}");
    // Pending, and not waited for by anybody.
    engine.release(token);
    assert_eq!(engine.stop(DEADLINE), Some(0));
    assert_eq!(redis.dump(), space([]));
}

#[test]
fn stop_hands_over_what_is_in_flight() {
    let mut redis = Redis::shared();
    let engine = start(named(&redis, "a"));
    for jid in ["one", "two", "two"] {
        track(&engine, jid, &payload(jid));
    }
    assert_eq!(engine.stop(DEADLINE), Some(0));
    assert_eq!(
        redis.dump(),
        space([
            ("queue:q", list(&[&payload("one"), &payload("two"), &payload("two")])),
            ("queues", set(&["q"])),
        ])
    );
}

#[test]
fn what_a_clean_exit_leaves_comes_back_uncounted_and_as_often_as_it_takes() {
    let mut redis = Redis::shared();
    let visitor = Engine::visit(redis.settings()).expect("threads");
    let recoveries = |n: u64| format!(r#"{{"jid":"k","queue":"q","assured_recoveries":{n}}}"#);
    for (given, expected) in [(payload("k"), 0), (recoveries(0), 0), (recoveries(3), 3)] {
        let engine = start(quiet(&redis, "a"));
        track(&engine, "k", &given);
        redis.run::<()>(&["SET", "queue:q", "no list"]);
        assert_eq!(engine.stop(DEADLINE), Some(1));
        redis.run::<()>(&["DEL", "queue:q"]);
        let report = answered(&visitor.sweep()).unwrap();
        assert_eq!((report.recovered, report.poisoned), (1, 0));
        assert_eq!(queued_jids(&mut redis, expected), ["k"]);
        redis.run::<()>(&["DEL", "queue:q"]);
    }
    assert_eq!(redis.counter("instances_died"), 0);
    assert!(notices(&visitor, 3).iter().all(|notice| notice.kind == Kind::Recovered));
}

#[test]
fn enqueue_moves_an_attempt_that_redis_need_not_know_yet() {
    let mut redis = Redis::shared();
    let engine = start(quiet(&redis, "a"));
    let token = engine.track(b"j", b"old", b"{1}");
    answered(&engine.enqueue(token, b"q", b"{2}"));
    assert_eq!(records(&mut redis), space([("queue:q", list(&["{2}"])), ("queues", set(&["q"]))]));
    release(&engine, token);
    assert_eq!(redis.queued("q"), 1);
}

#[test]
fn stop_while_redis_is_away_keeps_its_limit_and_says_what_is_left() {
    let mut redis = Redis::own();
    let engine = start(quiet(&redis, "a"));
    track(&engine, "j", "{}");
    redis.away();
    let began = Instant::now();
    assert_eq!(engine.stop(Duration::from_millis(300)), None);
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[test]
fn orphans_come_back_within_the_promised_time() {
    let mut redis = Redis::shared();
    let engine = start(named(&redis, "a"));
    dead(&mut redis, &["j1", "j2"]);
    // The process died right after a beat.
    let began = Instant::now();
    redis.run::<()>(&["SET", "ns:instance:dead", "1", "PX", "1000"]);
    redis.until(|redis| redis.queued("q") == 2);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1000), "{took:?}");
    // TTL and one interval are promised; the rest is for a busy machine.
    assert!(took < Duration::from_millis(1200 + 1800), "{took:?}");
    let jids: BTreeSet<_> = queued_jids(&mut redis, 1).into_iter().collect();
    assert_eq!(jids, BTreeSet::from(["j1".into(), "j2".into()]));
    redis.until(|redis| !redis.run::<bool>(&["HEXISTS", "ns:instances", "dead"]));
    logs(&engine, "recovered 2 jobs of dead instance dead");
}

/// The server's clock was set back, or somebody took the lifetime away.
#[test]
fn an_instance_whose_heartbeat_does_not_expire_is_found_in_time() {
    let mut redis = Redis::shared();
    let settings = named(&redis, "a");
    let promised = settings.heartbeat_ttl + settings.heartbeat_interval;
    let engine = start(settings);
    dead(&mut redis, &["j"]);
    let began = Instant::now();
    redis.run::<()>(&["SET", "ns:instance:dead", "1", "PX", "3600000"]);
    redis.run::<()>(&["HSET", "ns:beats", "dead", "1 1700000000.5"]);
    redis.until(|redis| redis.queued("q") == 1);
    let took = began.elapsed();
    // The rest is for a busy machine.
    assert!(took < promised + Duration::from_millis(1800), "{took:?}");
    redis.until(|redis| !redis.run::<bool>(&["HEXISTS", "ns:instances", "dead"]));
    assert_eq!(redis.run::<i64>(&["EXISTS", "ns:instance:dead"]), 0);
    drop(engine);
}

/// The server's clock was set forward, or a Redis that is full evicts whatever expires.
#[test]
fn an_instance_whose_heartbeat_is_gone_lives_while_it_beats() {
    for instance_of_1x in [false, true] {
        let mut redis = Redis::shared();
        let settings = Settings { heartbeat_ttl: Duration::from_secs(2), ..named(&redis, "a") };
        let (ttl, interval) = (settings.heartbeat_ttl, settings.heartbeat_interval);
        redis.run::<()>(&["SET", "ns:instance:dead", &unix_time().to_string()]);
        dead(&mut redis, &["j"]);
        let _judge = start(settings);
        let until = Instant::now() + 3 * (ttl + interval);
        for number in 1.. {
            if instance_of_1x {
                redis.run::<()>(&["SET", "ns:instance:dead", &unix_time().to_string()]);
            } else {
                redis.run::<()>(&["HSET", "ns:beats", "dead", &format!("{number} {}", unix_time())]);
            }
            std::thread::sleep(interval);
            redis.run::<()>(&["DEL", "ns:instance:dead"]);
            std::thread::sleep(interval);
            assert_eq!(redis.queued("q"), 0, "it was declared dead, 1.x: {instance_of_1x}");
            if Instant::now() > until {
                break;
            }
        }
        let died = Instant::now();
        redis.until(|redis| redis.queued("q") == 1);
        assert!(died.elapsed() < ttl + interval + Duration::from_millis(1800), "{:?}", died.elapsed());
    }
}

fn unix_time() -> f64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_secs_f64()
}

#[test]
fn periodic_sweeps_scan_no_keys() {
    let mut redis = Redis::own();
    let _engine = start(named(&redis, "a"));
    redis.until(|redis| calls(redis, "hkeys") >= 10);
    assert_eq!((calls(&mut redis, "scan"), calls(&mut redis, "keys")), (1, 0), "one scan, at the start");
}

/// How often the server has executed a command.
fn calls(redis: &mut Redis, command: &str) -> u64 {
    let stats: String = redis.run(&["INFO", "commandstats"]);
    let prefix = format!("cmdstat_{command}:calls=");
    let count = stats.lines().find_map(|line| line.strip_prefix(&prefix)?.split(',').next()?.parse().ok());
    count.unwrap_or(0)
}

#[test]
fn a_sweep_by_hand_takes_one_look() {
    let mut redis = Redis::shared();
    dead(&mut redis, &["j"]);
    let visitor = Engine::visit(redis.settings()).expect("threads");
    let report = answered(&visitor.sweep()).unwrap();
    assert_eq!((report.recovered, report.stuck), (1, 0));
    assert_eq!(records(&mut redis).keys().collect::<Vec<_>>(), ["ns:verdict:dead", "queue:q", "queues"]);
}

#[test]
fn an_orphan_that_cannot_be_parsed_stays_and_stops_nobody() {
    let mut redis = Redis::shared();
    dead(&mut redis, &["j1", "bad", "j2"]);
    redis.seed(&space([("ns:job:bad", text("{no json"))]));
    let visitor = Engine::visit(redis.settings()).expect("threads");
    let report = answered(&visitor.sweep()).unwrap();
    assert_eq!((report.recovered, report.stuck), (2, 1));
    logs(&visitor, "orphan bad of dead instance dead cannot go back");
    let left = redis.dump();
    assert_eq!(left.get("ns:jobs:dead"), Some(&set(&["bad"])));
    assert_eq!(left.get("ns:job:bad"), Some(&text("{no json")));
    assert!(left.get("ns:instances").is_some(), "found again by the next sweep");
}

#[test]
fn a_bad_instance_does_not_stop_the_others() {
    let mut redis = Redis::shared();
    for bad in ["before", "after"] {
        redis.seed(
            &space([("ns:instances", hash(&[(bad, "{}")]))]).with(&format!("ns:jobs:{bad}"), text("no set")),
        );
        if bad == "before" {
            dead(&mut redis, &["j"]);
        }
    }
    let visitor = Engine::visit(redis.settings()).expect("threads");
    let _ = answered(&visitor.sweep());
    assert_eq!(redis.queued("q"), 1);
}

#[test]
fn a_payload_that_is_no_string_stays_and_stops_nobody() {
    let mut redis = Redis::shared();
    dead(&mut redis, &["j1", "odd", "j2"]);
    redis.run::<()>(&["DEL", "ns:job:odd"]);
    redis.seed(&space([("ns:job:odd", list(&["no string"]))]));
    let visitor = Engine::visit(redis.settings()).expect("threads");
    let _ = answered(&visitor.sweep());
    assert_eq!(redis.queued("q"), 2);
    assert_eq!(redis.dump().get("ns:jobs:dead"), Some(&set(&["odd"])));
}

#[test]
fn an_orphan_whose_queue_is_no_list_stays_and_stops_nobody() {
    let mut redis = Redis::shared();
    dead(&mut redis, &["j1", "j2", "odd"]);
    redis.seed(&space([
        ("queue:odd", text("no list")),
        ("ns:job:odd", text(r#"{"jid":"odd","queue":"odd"}"#)),
    ]));
    let visitor = Engine::visit(redis.settings()).expect("threads");
    let _ = answered(&visitor.sweep());
    assert_eq!(redis.queued("q"), 2);
    assert_eq!(redis.dump().get("ns:jobs:dead"), Some(&set(&["odd"])));
}

#[test]
fn an_orphan_over_its_limit_goes_to_the_dead_set() {
    let mut redis = Redis::shared();
    dead(&mut redis, &["fresh", "spent", "own", "free"]);
    let marked = |jid: &str, more: &str| text(&format!(r#"{{"jid":"{jid}","queue":"q",{more}}}"#));
    redis.seed(&space([
        ("ns:job:spent", marked("spent", r#""assured_recoveries":3"#)),
        ("ns:job:own", marked("own", r#""assured_recoveries":0,"assured_max_recoveries":0"#)),
        ("ns:job:free", marked("free", r#""assured_recoveries":8,"assured_max_recoveries":9"#)),
    ]));
    let visitor = Engine::visit(redis.settings()).expect("threads");
    let report = answered(&visitor.sweep()).unwrap();
    assert_eq!((report.recovered, report.poisoned, report.stuck), (2, 2, 0));
    let dead: Vec<String> = redis.run(&["ZRANGE", "dead", "0", "-1"]);
    assert!(
        dead.iter().all(|payload| payload.contains(r#""error_class":"Sidekiq::AssuredJobs::PoisonJob""#))
    );
    assert!(dead.iter().any(|payload| payload.contains("4 instances died")), "{dead:?}");
    assert!(dead.iter().all(|payload| !payload.contains("assured_recoveries")));
    assert_eq!(redis.run::<usize>(&["LLEN", "ns:deaths"]), 2);
    assert_eq!(redis.dump().get("ns:instances"), None, "nothing is left of it");
    let kinds = notices(&visitor, 5).into_iter().map(|notice| notice.kind).collect::<Vec<_>>();
    assert_eq!(kinds.iter().filter(|kind| **kind == Kind::Recovered).count(), 2);
    assert_eq!(kinds.iter().filter(|kind| **kind == Kind::Poisoned).count(), 2);
    assert_eq!(kinds[0], Kind::InstanceDied);
}

/// The next notices, in their order.
fn notices(engine: &Engine, count: usize) -> Vec<Notice> {
    let mut found = Vec::new();
    while found.len() < count {
        let Woken::Answered(events) = engine.events().next_batch(Some(Instant::now() + DEADLINE)) else {
            panic!("only {found:?}");
        };
        for event in events {
            if let Event::Notices(notices) = event {
                found.extend(notices);
            }
        }
    }
    found
}

#[test]
fn an_orphan_that_is_no_json_goes_back_as_it_is_to_where_it_came_from() {
    let mut redis = Redis::shared();
    dead(&mut redis, &["bad"]);
    redis.seed(&space([("ns:job:bad", text("queue 3 low\n{no json"))]));
    let visitor = Engine::visit(redis.settings()).expect("threads");
    assert_eq!(answered(&visitor.sweep()).unwrap().recovered, 1);
    assert_eq!(redis.dump().get("queue:low"), Some(&list(&["{no json"])));
}

#[test]
fn an_orphan_goes_back_to_the_queue_that_it_came_from_whatever_its_payload_names() {
    let mut redis = Redis::shared();
    dead(&mut redis, &["moved"]);
    redis.seed(&space([("ns:job:moved", text(&format!("queue 4 here\n{}", payload("moved"))))]));
    let visitor = Engine::visit(redis.settings()).expect("threads");
    assert_eq!(answered(&visitor.sweep()).unwrap().recovered, 1);
    let back: Vec<String> = redis.run(&["LRANGE", "queue:here", "0", "-1"]);
    assert!(back[0].contains(r#""queue":"q""#) && back[0].contains("moved"), "{back:?}");
    assert_eq!(redis.dump().get("queue:q"), None);
}

/// Neither a limit of 0 nor `dead: false` turns what is not the job's fault into its end.
#[test]
fn an_orphan_that_cannot_go_back_is_tried_for_dead_after_and_then_kept_in_the_dead_set() {
    let mut redis = Redis::shared();
    dead(&mut redis, &["stuck"]);
    let stuck = r#"{"jid":"stuck","queue":"odd","assured_max_recoveries":1,"dead":false}"#;
    redis.seed(&space([("ns:job:stuck", text(stuck)), ("queue:odd", text("no list"))]));
    let patient = Engine::visit(Settings { max_recoveries: 0, ..redis.settings() }).expect("threads");
    for _ in 0..4 {
        let report = answered(&patient.sweep()).unwrap();
        assert_eq!((report.stuck, report.poisoned), (1, 0));
    }
    let hasty = Engine::visit(Settings { dead_after: Duration::ZERO, ..redis.settings() }).expect("threads");
    let report = answered(&hasty.sweep()).unwrap();
    assert_eq!((report.stuck, report.poisoned), (0, 1));
    let dead: Vec<String> = redis.run(&["ZRANGE", "dead", "0", "-1"]);
    assert!(dead[0].contains("UnrecoverableJob") && dead[0].contains("its queue is no list"), "{dead:?}");
}

#[test]
fn an_orphan_of_which_nothing_tells_its_queue_waits_until_dead_after() {
    let mut redis = Redis::shared();
    dead(&mut redis, &["bad"]);
    redis.seed(&space([("ns:job:bad", text("{no json"))]));
    let visitor = Engine::visit(redis.settings()).expect("threads");
    assert_eq!(answered(&visitor.sweep()).unwrap().stuck, 1);
    let hasty = Engine::visit(Settings { dead_after: Duration::ZERO, ..redis.settings() }).expect("threads");
    assert_eq!(answered(&hasty.sweep()).unwrap().poisoned, 1);
    assert_eq!(redis.dump().get("dead"), Some(&ranked(&["{no json"])));
    assert_eq!(redis.dump().get("ns:deaths"), None, "nobody could be told what died");
}

/// Deleted by hand: nothing was given to others, and nobody says so.
#[test]
fn a_last_beat_that_is_gone_is_no_verdict_where_nothing_is_missing() {
    let mut redis = Redis::own();
    let engine = start(quiet(&redis, "a"));
    let token = track(&engine, "j", &payload("j"));
    redis.run::<()>(&["DEL", "ns:beats"]);
    redis.until(|redis| redis.run::<bool>(&["HEXISTS", "ns:beats", "a"]));
    beats(&mut redis, "a", 2);
    assert!(!engine.is_lost(token));
    let mut said = String::new();
    while let Woken::Answered(events) = engine.events().next_batch(Some(Instant::now())) {
        said += &format!("{events:?}");
    }
    assert!(said.contains("started") && !said.contains("declared dead"), "{said}");
}

#[test]
fn an_attempt_without_the_flag_that_ends_unacknowledged_has_the_limit_of_its_class() {
    let mut redis = Redis::shared();
    let settings = Settings { assured_classes: vec![("Limited".into(), Some(0))], ..quiet(&redis, "a") };
    let engine = start(settings);
    engine.end_unacknowledged(track(&engine, "j", r#"{"class":"Limited","jid":"j","queue":"q"}"#), true);
    redis.until(|redis| redis.run::<usize>(&["ZCARD", "dead"]) == 1);
    engine.end_unacknowledged(track(&engine, "k", r#"{"class":"Other","jid":"k","queue":"q"}"#), true);
    redis.until(|redis| redis.run::<usize>(&["ZCARD", "retry"]) == 1);
}

#[test]
fn an_orphan_that_was_pushed_by_the_name_of_its_class_has_the_limit_of_its_class() {
    let mut redis = Redis::shared();
    dead(&mut redis, &["a", "b"]);
    let unflagged =
        |class: &str| text(&format!(r#"{{"class":"{class}","queue":"q","assured_recoveries":1}}"#));
    redis.seed(&space([
        ("ns:job:a", unflagged("Limited")),
        ("ns:job:b", unflagged("Other")),
        ("ns:assured_classes", hash(&[("Limited", "1"), ("Other", "")])),
    ]));
    let visitor = Engine::visit(redis.settings()).expect("threads");
    let report = answered(&visitor.sweep()).unwrap();
    assert_eq!((report.recovered, report.poisoned), (1, 1));
}

#[test]
fn five_hundred_orphans_and_two_recovering_engines_queue_each_once() {
    let mut redis = Redis::shared();
    let jids: Vec<_> = (0..500).map(|n| format!("j{n}")).collect();
    dead(&mut redis, &jids.iter().map(String::as_str).collect::<Vec<_>>());
    let engines = [start(named(&redis, "a")), start(named(&redis, "b"))];
    redis.until(|redis| redis.run::<usize>(&["SCARD", "ns:jobs:dead"]) == 0);
    let queued = queued_jids(&mut redis, 1);
    assert_eq!(queued.len(), 500);
    assert_eq!(queued.into_iter().collect::<BTreeSet<_>>().len(), 500);
    for engine in engines {
        assert_eq!(engine.stop(DEADLINE), Some(0));
    }
}

/// A lost reply, or a Redis that lost a release, leaves the record of a job that has ended, under either name.
#[test]
fn a_record_of_a_job_that_has_ended_is_removed() {
    let mut redis = Redis::shared();
    let settings = quiet(&redis, "a");
    let spare = format!("j~{}.1", settings.nonce);
    let engine = start(settings);
    release(&engine, track(&engine, "j", &payload("j")));
    for name in ["j", &spare] {
        redis
            .seed(&space([("ns:jobs:a", set(&[name]))]).with(&format!("ns:job:{name}"), text(&payload("j"))));
        redis.until(|redis| redis.dump().get("ns:jobs:a").is_none());
        assert_eq!(records(&mut redis), space([]), "{name} is not to run again");
    }
}

/// A job that was popped and recorded, and of which the reply never came.
#[test]
fn a_record_that_no_attempt_ever_had_goes_back_to_its_queue() {
    let mut redis = Redis::shared();
    let engine = start(quiet(&redis, "a"));
    let token = track(&engine, "j", "{}");
    redis.seed(&space([("ns:jobs:a", set(&["stray"])), ("ns:job:stray", text(&payload("stray")))]));
    redis.until(|redis| redis.queued("q") == 1);
    let found = records(&mut redis);
    assert_eq!(found.get("ns:jobs:a"), Some(&set(&["j"])));
    assert_eq!(found.get("ns:job:stray"), None);
    release(&engine, token);
}

#[test]
fn a_new_owner_of_the_name_keeps_its_records_and_the_old_one_gets_another_name() {
    let mut redis = Redis::shared();
    let zombie = start(quiet(&redis, "a"));
    let old = track(&zombie, "j", "{old}");
    // Recovered, buried, and the name taken by a new process that holds the same job.
    let script = "redis.call('DEL', 'ns:job:j') redis.call('HSET', 'ns:instances', 'a', '{new}') \
                  redis.call('SET', 'ns:job:j', '{new}')";
    redis.run::<()>(&["EVAL", script, "0"]);
    zombie.release(old);
    track(&zombie, "k", "{k}");
    let found = records(&mut redis);
    assert_eq!(found.get("ns:jobs:a"), Some(&set(&["j"])));
    assert_eq!(found.get("ns:job:j"), Some(&text("{new}")));
    let id = String::from_utf8(zombie.instance_id(DEADLINE).unwrap()).unwrap();
    assert_ne!(id, "a");
    assert_eq!(found.get(&format!("ns:jobs:{id}")), Some(&set(&["k"])));
}

/// What holds when the lock fails: each requeue is one atomic step by itself.
#[test]
fn recoverers_without_a_lock_queue_each_orphan_once() {
    let mut redis = Redis::shared();
    let jids: Vec<_> = (0..500).map(|n| format!("j{n}")).collect();
    dead(&mut redis, &jids.iter().map(String::as_str).collect::<Vec<_>>());
    let recoverers: Vec<_> = (0..4)
        .map(|_| (redis.store(), jids.clone()))
        .map(|(mut store, jids)| {
            std::thread::spawn(move || {
                let step = |some: &[String]| {
                    let returns: Vec<_> = some.iter().map(|jid| to_queue(jid, jid)).collect();
                    let outcome = store.requeue(b"dead", b"judge", &returns).unwrap().unwrap();
                    outcome.iter().filter(|o| **o == Requeued::Yes).count()
                };
                jids.chunks(7).map(step).sum::<usize>()
            })
        })
        .collect();
    let moved: usize = recoverers.into_iter().map(|r| r.join().unwrap()).sum();
    assert_eq!((moved, redis.queued("q")), (500, 500));
}

#[test]
fn a_lock_whose_holder_is_dead_is_taken_over() {
    let mut redis = Redis::shared();
    dead(&mut redis, &["j"]);
    redis.seed(&space([("ns:recovery_lock", expiring("nonce dead"))]));
    let _engine = start(named(&redis, "a"));
    redis.until(|redis| redis.queued("q") == 1);
}

#[test]
fn a_lock_whose_holder_lives_is_respected() {
    let mut redis = Redis::shared();
    let _holder = start(quiet(&redis, "holder"));
    dead(&mut redis, &["j"]);
    redis.seed(&space([("ns:recovery_lock", expiring("nonce holder"))]));
    let visitor = Engine::visit(redis.settings()).expect("threads");
    assert_eq!(answered(&visitor.sweep()).unwrap().recovered, 0);
    assert_eq!(redis.queued("q"), 0);
}

/// A clean exit in the middle of a sweep leaves the lock behind, and takes its owner out of the registry.
#[test]
fn a_lock_whose_holder_has_retired_is_taken_over() {
    let mut redis = Redis::shared();
    dead(&mut redis, &["j"]);
    redis.seed(&space([("ns:recovery_lock", expiring("nonce retired"))]));
    let _engine = start(named(&redis, "a"));
    redis.until(|redis| redis.queued("q") == 1);
}

/// The reply to the command that took the lock may be lost, and so may the one that gives it back.
#[test]
fn a_lock_that_is_held_already_is_no_hindrance_to_its_holder() {
    let mut redis = Redis::shared();
    dead(&mut redis, &["j"]);
    let settings = named(&redis, "a");
    let token = format!("{} a", settings.nonce);
    redis.seed(&space([("ns:recovery_lock", expiring(&token))]));
    let _engine = start(settings);
    redis.until(|redis| redis.queued("q") == 1);
}

#[test]
fn two_engines_with_one_name_share_nothing() {
    let mut redis = Redis::shared();
    let (a, b) = (start(quiet(&redis, "pod-0")), start(quiet(&redis, "pod-0")));
    assert_eq!(a.instance_id(DEADLINE).unwrap(), b"pod-0");
    let other = b.instance_id(DEADLINE).unwrap();
    assert!(other.starts_with(b"pod-0:"), "{}", other.escape_ascii());
    logs(&b, "instance id pod-0 is not free");
    track(&a, "j1", "{}");
    track(&b, "j2", "{}");
    assert_eq!(records(&mut redis).get("ns:jobs:pod-0"), Some(&set(&["j1"])));
}

#[test]
fn a_restart_under_a_name_with_orphans_recovers_them() {
    let mut redis = Redis::shared();
    dead(&mut redis, &["j"]);
    let engine = start(named(&redis, "dead"));
    assert_ne!(engine.instance_id(DEADLINE).unwrap(), b"dead");
    redis.until(|redis| redis.queued("q") == 1);
}

#[test]
fn records_that_redis_lost_are_written_anew() {
    let mut redis = Redis::own();
    let engine = start(quiet(&redis, "a"));
    let first = track(&engine, "j", "{1}");
    track(&engine, "j", "{2}");
    redis.away();
    redis.back();
    redis.until(|redis| records(redis).keys().count() == 3);
    logs(&engine, "Redis had lost 2 in-flight jobs of this instance");
    release(&engine, first);
    assert_eq!(engine.stop(DEADLINE), Some(0));
    assert_eq!(redis.dump(), space([("queue:q", list(&["{2}"])), ("queues", set(&["q"]))]));
}

/// Somebody's scan for records of the 1.x gem comes before the first beat after the loss.
#[test]
fn records_that_redis_lost_are_written_anew_even_if_the_instance_was_adopted() {
    let mut redis = Redis::own();
    let engine = start(quiet(&redis, "a"));
    track(&engine, "j", "{1}");
    let script = "redis.call('FLUSHALL') redis.call('SADD', 'ns:jobs:a', 'x') \
                  redis.call('HSET', 'ns:instances', 'a', ARGV[1])";
    redis.run::<()>(&["EVAL", script, "0", r#"{"version":"1.x"}"#]);
    redis.until(|redis| redis.dump().get("ns:job:j") == Some(&record_of("{1}")));
    let id = String::from_utf8(engine.instance_id(DEADLINE).unwrap()).unwrap();
    assert!(redis.run::<bool>(&["SISMEMBER", &format!("ns:jobs:{id}"), "j"]));
}

#[test]
fn track_is_answered_once_redis_is_back() {
    let mut redis = Redis::own();
    let engine = start(quiet(&redis, "a"));
    redis.away();
    let (token, waiter) = begin(&engine, b"j", b"q", b"{}");
    let soon = Some(Instant::now() + Duration::from_millis(100));
    assert_eq!(waiter.wait(soon), Woken::TimedOut);
    let (ended, _) = begin(&engine, b"ended", b"q", b"{}");
    engine.release(ended);
    redis.back();
    answered(&waiter);
    answered(&engine.flush());
    assert_eq!(
        records(&mut redis),
        space([("ns:jobs:a", set(&["j"])), ("ns:job:j", record_of("{}"))]),
        "and nothing of the job that ended meanwhile"
    );
    logs_all(&engine, &["Redis fails", "Redis is back"]);
    release(&engine, token);
}

/// Whether the record was written is unknown when the job ends; no later beat shall have to find it.
#[test]
fn a_job_that_ends_before_track_is_answered_leaves_no_record() {
    let mut redis = Redis::own();
    let engine =
        start(Settings { heartbeat_interval: NEVER, heartbeat_ttl: 2 * NEVER, ..quiet(&redis, "a") });
    release(&engine, track(&engine, "first", "{}"));
    redis.freeze();
    let (token, waiter) = begin(&engine, b"j", b"q", b"{}");
    let sent = Some(Instant::now() + Duration::from_millis(100));
    assert_eq!(waiter.wait(sent), Woken::TimedOut);
    engine.release(token);
    redis.thaw();
    answered(&engine.flush());
    assert_eq!(records(&mut redis), space([]));
}

#[test]
fn an_engine_that_starts_while_redis_is_away_begins_when_it_is_back() {
    let mut redis = Redis::own();
    redis.away();
    let engine = Engine::start(quiet(&redis, "a")).expect("threads");
    let (_, waiter) = begin(&engine, b"j", b"q", b"{}");
    assert_eq!(engine.instance_id(Duration::from_millis(50)), None);
    redis.back();
    answered(&waiter);
    assert_eq!(records(&mut redis).get("ns:jobs:a"), Some(&set(&["j"])));
}

/// Waits until an instance has beaten this many times.
fn beats(redis: &mut Redis, id: &str, times: usize) {
    let key = format!("ns:instance:{id}");
    for _ in 0..times {
        let last: Option<String> = redis.run(&["GET", &key]);
        redis.until(|redis| redis.run::<Option<String>>(&["GET", &key]) != last);
    }
}

/// Declares `a` dead, as a judge on the far side of a broken network would, and requeues `j`.
fn declare_dead(redis: &mut Redis, store: &mut Store) {
    eventually("a beat does not come between the two commands", || {
        redis.declare_dead("a") && store.requeue(b"a", b"judge", &[to_queue("j", "{}")]).unwrap().is_some()
    });
    assert_eq!(redis.queued("q"), 1);
}

#[test]
fn an_instance_declared_dead_learns_it_and_keeps_what_it_still_has() {
    let mut redis = Redis::shared();
    let mut store = redis.store();
    let engine = start(quiet(&redis, "a"));
    let lost = track(&engine, "j", "{}");
    track(&engine, "k", "{k}");
    declare_dead(&mut redis, &mut store);
    logs(&engine, "this instance was declared dead; 1 running jobs were given to others: j");
    beats(&mut redis, "a", 2);
    assert_eq!(
        records(&mut redis),
        space([
            ("ns:jobs:a", set(&["k"])),
            ("ns:job:k", record_of("{k}")),
            ("queue:q", list(&["{}"])),
            ("queues", set(&["q"])),
        ]),
        "j is not recorded anew"
    );
    let newer = track(&engine, "j", "{newer}");
    release(&engine, lost);
    let left = redis.dump();
    assert_eq!(left.get("ns:job:k"), Some(&record_of("{k}")), "not recovered, still ours");
    assert!(format!("{left:?}").contains("{newer}"), "{left:?}");
    release(&engine, newer);
    assert_eq!(engine.stop(DEADLINE), Some(0));
    assert_eq!(redis.queued("q"), 2, "j by the judge, k at the end");
}

/// Before and after the instance has learned of it.
#[test]
fn a_late_finish_changes_nothing_of_the_new_holder() {
    for interval in [Duration::from_millis(100), NEVER] {
        let mut redis = Redis::shared();
        let mut store = redis.store();
        let zombie = start(Settings {
            heartbeat_interval: interval,
            heartbeat_ttl: 20 * interval,
            ..quiet(&redis, "a")
        });
        let old = track(&zombie, "j", "{}");
        declare_dead(&mut redis, &mut store);
        let holder = start(quiet(&redis, "b"));
        track(&holder, "j", "{}");
        if interval != NEVER {
            logs(&zombie, "declared dead");
        }
        let before = records(&mut redis);
        assert_eq!(before.get("ns:jobs:b"), Some(&set(&["j"])));
        release(&zombie, old);
        let after = records(&mut redis);
        assert_eq!(after.get("ns:jobs:b"), Some(&set(&["j"])));
        assert_eq!(after.get("ns:job:j"), Some(&record_of("{}")));
    }
}

/// An instance on another machine, with a job in flight.
fn other_with_a_job(redis: &mut Redis, ttl: Duration) -> (Store, Identity) {
    let mut beat = redis.store();
    let other = support::identity("other");
    beat.claim(&other, ttl).unwrap();
    redis.run::<()>(&["SADD", "ns:jobs:other", "j"]);
    redis.run::<()>(&["SET", "ns:job:j", &payload("j")]);
    (beat, other)
}

/// Right after an outage: the other one needs a moment to notice its end, and is not declared dead meanwhile.
fn expect_it_to_live_on(redis: &mut Redis, (mut beat, other): (Store, Identity), interval: Duration) {
    let over = Instant::now();
    eventually("the other notices", || over.elapsed() > interval * 2 / 3);
    beat.beat(&other, 3 * interval, &[]).unwrap();
    while over.elapsed() < 3 * interval {
        assert_eq!(redis.queued("q"), 0, "declared dead {:?} after", over.elapsed());
        std::thread::sleep(Duration::from_millis(10));
    }
    // It does die at last: the judge has not just gone to sleep.
    redis.until(|redis| redis.queued("q") == 1);
}

/// After an outage longer than the TTL all heartbeats are gone at once.
#[test]
fn an_outage_longer_than_the_ttl_is_nobodys_death() {
    let mut redis = Redis::own();
    let interval = Duration::from_millis(800);
    let _judge = start(Settings {
        heartbeat_interval: interval,
        heartbeat_ttl: 3 * interval,
        ..named(&redis, "judge")
    });
    let other = other_with_a_job(&mut redis, 3 * interval);
    redis.freeze();
    std::thread::sleep(4 * interval);
    redis.thaw();
    expect_it_to_live_on(&mut redis, other, interval);
}

/// Who starts in the middle of the outage has never seen them.
#[test]
fn an_outage_longer_than_the_ttl_is_nobodys_death_to_a_newcomer() {
    let mut redis = Redis::own();
    let interval = Duration::from_millis(800);
    let other = other_with_a_job(&mut redis, interval);
    redis.run::<()>(&["REPLICAOF", "127.0.0.1", "1"]);
    let judge = Engine::start(Settings {
        heartbeat_interval: interval,
        heartbeat_ttl: 3 * interval,
        ..named(&redis, "judge")
    })
    .expect("threads");
    std::thread::sleep(2 * interval);
    assert_eq!(judge.instance_id(Duration::ZERO), None, "nobody may write");
    redis.run::<()>(&["REPLICAOF", "NO", "ONE"]);
    expect_it_to_live_on(&mut redis, other, interval);
}
