//! A panic in each thread of the engine, before and after each kind of round trip: the thread starts anew, no job is
//! lost or handed out twice, and nothing is left.

#![cfg(debug_assertions)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use assured_core::engine::Engine;
use assured_core::fetch::{Job, Queues};
use assured_core::panics::{At, arm, is_armed};
use assured_core::registry::Token;
use assured_core::waiter::{Waiter, Woken};
use support::{DEADLINE, Redis, hash, list, set, space, text};

const BOTH: [At; 2] = [At::Before, At::After];

fn payload(jid: &str) -> String {
    format!(r#"{{"jid":"{jid}","queue":"q","args":[],"assured_jobs":true}}"#)
}

fn start(redis: &Redis) -> Engine {
    let engine = Engine::start(redis.settings()).expect("threads");
    engine.instance_id(DEADLINE).expect("an id is claimed");
    engine
}

fn open(engine: &Engine) -> Arc<Queues> {
    engine.open_queues(Queues::new(vec![b"q".to_vec()], true)).expect("threads")
}

/// What Sidekiq's threads do: ask, and ask again where no answer comes.
fn fetch(engine: &Engine, queues: &Arc<Queues>) -> Job {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let waiter = engine.fetch(queues);
        if let Woken::Answered(job) = waiter.wait(Some(Instant::now() + Duration::from_millis(500))) {
            return job;
        }
        if let Some(job) = waiter.abandon() {
            return job;
        }
        assert!(Instant::now() < deadline, "no job ever came");
    }
}

fn answered(waiter: &Waiter<()>) {
    assert_eq!(waiter.wait(Some(Instant::now() + DEADLINE)), Woken::Answered(()));
}

/// The job `j`, recorded.
fn tracked(engine: &Engine) -> Token {
    let token = engine.track(b"j", b"q", payload("j").as_bytes());
    answered(&engine.recorded(token).unwrap());
    token
}

/// Waits until the jobs lie in their queue, and nowhere else. The thread has panicked by then.
fn only_queued(redis: &mut Redis, jids: &[&str]) {
    redis.until(|redis| {
        let mut queued: Vec<String> = redis.run(&["LRANGE", "queue:q", "0", "-1"]);
        queued.sort();
        let wanted: Vec<_> = jids.iter().map(|jid| payload(jid)).collect();
        queued == wanted && nothing_in_flight(redis)
    });
    assert!(!is_armed(redis.details().db));
}

fn nothing_in_flight(redis: &mut Redis) -> bool {
    redis.dump().keys().all(|key| !key.starts_with("ns:job"))
}

/// The engine works as on the first day, and leaves nothing when it ends.
fn works(redis: &mut Redis, engine: &Engine, queues: &Arc<Queues>) {
    redis.until(|redis| !is_armed(redis.details().db));
    redis.run::<i64>(&["LPUSH", "queue:q", &payload("last")]);
    let job = fetch(engine, queues);
    assert_eq!(&*job.payload, payload("last").as_bytes());
    engine.release(job.attempt.expect("it is in flight"));
    redis.until(nothing_in_flight);
    assert_eq!(engine.stop(DEADLINE), Some(0));
    let left = redis.dump();
    // A verdict waits for its instance, and the lock of somebody who has left is taken over: both expire.
    let stays = |key: &str| key.starts_with("ns:") && !["ns:verdict:dead", "ns:recovery_lock"].contains(&key);
    assert!(!left.keys().any(stays), "{left:#?}");
}

#[test]
fn in_a_claim() {
    for at in BOTH {
        let mut redis = Redis::shared();
        arm(redis.details().db, "claim", at);
        let engine = start(&redis);
        let queues = open(&engine);
        works(&mut redis, &engine, &queues);
    }
}

#[test]
fn in_a_beat() {
    for at in BOTH {
        let mut redis = Redis::shared();
        let engine = start(&redis);
        let queues = open(&engine);
        let token = tracked(&engine);
        redis.run::<i64>(&["DEL", "ns:job:j"]);
        arm(redis.details().db, "beat", at);
        // It beats again, and finds what is missing.
        redis.until(|redis| redis.run::<i64>(&["EXISTS", "ns:job:j"]) == 1);
        engine.release(token);
        works(&mut redis, &engine, &queues);
    }
}

#[test]
fn in_a_fetch() {
    for at in BOTH {
        let mut redis = Redis::shared();
        let engine = start(&redis);
        let queues = open(&engine);
        arm(redis.details().db, "fetch", at);
        redis.run::<i64>(&["LPUSH", "queue:q", &payload("j")]);
        let job = fetch(&engine, &queues);
        assert_eq!(&*job.payload, payload("j").as_bytes());
        engine.release(job.attempt.expect("it is in flight"));
        redis.until(nothing_in_flight);
        works(&mut redis, &engine, &queues);
    }
}

#[test]
fn in_a_track() {
    for at in BOTH {
        let mut redis = Redis::shared();
        let engine = start(&redis);
        let queues = open(&engine);
        arm(redis.details().db, "track", at);
        let token = tracked(&engine);
        assert_eq!(redis.run::<i64>(&["EXISTS", "ns:job:j"]), 1);
        engine.release(token);
        redis.until(nothing_in_flight);
        works(&mut redis, &engine, &queues);
    }
}

#[test]
fn in_a_release() {
    for at in BOTH {
        let mut redis = Redis::shared();
        let engine = start(&redis);
        let queues = open(&engine);
        let token = tracked(&engine);
        arm(redis.details().db, "release", at);
        engine.release(token);
        redis.until(nothing_in_flight);
        assert_eq!(redis.queued("q"), 0, "it has ended and must not run again");
        works(&mut redis, &engine, &queues);
    }
}

#[test]
fn in_giving_back() {
    for at in BOTH {
        let mut redis = Redis::shared();
        let engine = start(&redis);
        let queues = open(&engine);
        let token = tracked(&engine);
        arm(redis.details().db, "requeue", at);
        answered(&engine.give_back(vec![token]));
        only_queued(&mut redis, &["j"]);
        assert_eq!(&*fetch(&engine, &queues).payload, payload("j").as_bytes());
        assert_eq!(engine.stop(DEADLINE), Some(0));
        only_queued(&mut redis, &["j"]);
    }
}

/// Nothing can be done about an op at which the thread always panics. The job stays recorded, for a recovery.
#[test]
fn in_giving_back_again_and_again() {
    let mut redis = Redis::shared();
    let engine = start(&redis);
    let queues = open(&engine);
    let token = tracked(&engine);
    (0..3).for_each(|_| arm(redis.details().db, "requeue", At::Before));
    let waiter = engine.give_back(vec![token]);
    answered(&engine.flush());
    assert!(waiter.take().is_none());
    assert_eq!(redis.run::<i64>(&["EXISTS", "ns:job:j"]), 1);
    answered(&engine.give_back(vec![token]));
    let job = fetch(&engine, &queues);
    engine.release(job.attempt.expect("it is in flight"));
    works(&mut redis, &engine, &queues);
}

#[test]
fn in_popping_a_due_job() {
    for at in BOTH {
        let mut redis = Redis::shared();
        let engine = start(&redis);
        redis.run::<i64>(&["ZADD", "retry", "1", &payload("j")]);
        arm(redis.details().db, "pop a due job", at);
        let waiter = engine.pop_due(b"retry");
        let Woken::Answered(popped) = waiter.wait(Some(Instant::now() + DEADLINE)) else {
            panic!("no answer");
        };
        match popped {
            Some(job) => engine.return_job(job),
            // It had been popped when the thread panicked.
            None => assert_eq!(at, At::After),
        }
        only_queued(&mut redis, &["j"]);
    }
}

#[test]
fn in_moving_a_due_job_into_its_queue() {
    for at in BOTH {
        let mut redis = Redis::shared();
        let engine = start(&redis);
        redis.run::<i64>(&["ZADD", "retry", "1", &payload("j")]);
        let Woken::Answered(Some(job)) = engine.pop_due(b"retry").wait(Some(Instant::now() + DEADLINE))
        else {
            panic!("no job is due");
        };
        arm(redis.details().db, "requeue", at);
        answered(&engine.enqueue(job.attempt.expect("it is in flight"), b"q", &job.payload));
        only_queued(&mut redis, &["j"]);
    }
}

#[test]
fn in_a_sweep() {
    for doing in ["look", "lock", "read orphans", "requeue", "retire"] {
        for at in BOTH {
            let mut redis = Redis::shared();
            let engine = start(&redis);
            arm(redis.details().db, doing, at);
            redis.seed(&space([
                ("ns:instances", hash(&[("dead", "{}")])),
                ("ns:jobs:dead", set(&["j"])),
                ("ns:job:j", text(&payload("j"))),
            ]));
            redis.until(|redis| redis.queued("q") == 1 && nothing_in_flight(redis));
            redis.until(|redis| redis.run::<i64>(&["HEXISTS", "ns:instances", "dead"]) == 0);
            assert_eq!(redis.queued("q"), 1, "{doing} {at:?}");
            redis.run::<i64>(&["DEL", "queue:q"]);
            let queues = open(&engine);
            works(&mut redis, &engine, &queues);
        }
    }
}

#[test]
fn in_a_sweep_by_hand() {
    for at in BOTH {
        let redis = Redis::shared();
        let engine = Engine::visit(redis.settings()).expect("threads");
        arm(redis.details().db, "look", at);
        let asked = || match engine.sweep().wait(Some(Instant::now() + DEADLINE)) {
            Woken::Answered(answer) => answer,
            _ => panic!("no answer"),
        };
        assert!(asked().unwrap_err().contains("panicked"));
        assert!(asked().is_ok());
    }
}

#[test]
fn while_a_queue_is_watched() {
    for at in BOTH {
        let mut redis = Redis::shared();
        let engine = start(&redis);
        let queues = open(&engine);
        arm(redis.details().db, "watch", at);
        let waiter = engine.fetch(&queues);
        assert_eq!(waiter.wait(Some(Instant::now() + Duration::from_millis(50))), Woken::TimedOut);
        redis.seed(&space([("queue:q", list(&[&payload("j")]))]));
        let Woken::Answered(job) = waiter.wait(Some(Instant::now() + DEADLINE)) else {
            panic!("no job came");
        };
        engine.release(job.attempt.expect("it is in flight"));
        works(&mut redis, &engine, &queues);
    }
}
