//! Verdicts that do not wait for the heartbeat to expire: what is seen of connections, and what is made of it.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use assured_core::engine::Engine;
use assured_core::password::{Password, Passwords};
use assured_core::settings::{Address, Settings};
use assured_core::store::{Sight, Silence, Store};
use assured_core::waiter::Woken;
use support::{DEADLINE, Redis, RedisServer, eventually, identity};

const TTL: Duration = Duration::from_secs(30);
const GRACE: Duration = Duration::from_secs(1);

fn introduced(redis: &Redis) -> Store {
    let mut store = redis.store();
    store.introduce();
    store
}

/// A store that beats for the instance `id`.
fn beating(redis: &Redis, id: &str) -> Store {
    let mut store = introduced(redis);
    assert!(store.claim(&identity(id), TTL).unwrap());
    store
}

fn silent(sight: Sight) -> Vec<Silence> {
    match sight {
        Sight::Of(silent, _) => silent,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_closed_connection_is_seen_and_an_open_one_is_not() {
    let redis = Redis::own();
    let (_own, victim) = (beating(&redis, "own"), beating(&redis, "victim"));
    let mut eye = introduced(&redis);
    assert_eq!(silent(eye.look_at_connections(b"own").unwrap()), []);
    drop(victim);
    let mut seen = Vec::new();
    eventually("the server closes it, too", || {
        seen = silent(eye.look_at_connections(b"own").unwrap());
        !seen.is_empty()
    });
    assert_eq!(seen.iter().map(|silence| silence.id.as_slice()).collect::<Vec<_>>(), [b"victim"]);
}

#[test]
fn the_verdict_falls_only_on_what_was_seen() {
    let mut redis = Redis::own();
    let _own = beating(&redis, "own");
    drop(beating(&redis, "victim"));
    let mut eye = introduced(&redis);
    let mut seen = Vec::new();
    eventually("it is closed", || {
        seen = silent(eye.look_at_connections(b"own").unwrap());
        !seen.is_empty()
    });
    let seen = seen.remove(0);
    let other = Silence { beat: b"1 1700000000.5 run 1".to_vec(), ..seen.clone() };
    assert!(!eye.expire_silent(&other).unwrap(), "it has beaten since");
    assert_eq!(redis.run::<i64>(&["EXISTS", "ns:instance:victim"]), 1);
    assert!(eye.expire_silent(&seen).unwrap());
    assert!(!eye.look().unwrap().iter().any(|seen| seen.id == b"victim" && seen.is_alive()));
    assert!(eye.look().unwrap().iter().any(|seen| seen.id == b"own" && seen.is_alive()));
    assert_eq!(silent(eye.look_at_connections(b"own").unwrap()), []);
}

/// The client id of the connection that the last beat of an instance names.
fn client(redis: &mut Redis, id: &str) -> Option<String> {
    let beat: Option<String> = redis.run(&["HGET", "ns:beats", id]);
    beat?.split(' ').nth(3).map(str::to_owned)
}

/// Client ids begin anew: the one that is noted may be anybody's now, or nobody's.
#[test]
fn a_server_that_was_restarted_tells_nothing_of_the_connections_before() {
    let mut redis = Redis::own();
    let _own = beating(&redis, "own");
    drop(beating(&redis, "victim"));
    let client = client(&mut redis, "victim").unwrap();
    redis.run::<()>(&["HSET", "ns:beats", "victim", &format!("9 1700000000.5 {} {client}", "0".repeat(40))]);
    redis.until(|redis| !redis.run::<String>(&["CLIENT", "LIST"]).contains(&format!("id={client} ")));
    let mut eye = introduced(&redis);
    assert_eq!(silent(eye.look_at_connections(b"own").unwrap()), []);
}

/// Something that shows only some of the connections, or others, shows nothing.
#[test]
fn a_look_that_does_not_show_the_looking_process_shows_nothing() {
    let mut redis = Redis::own();
    let _other = beating(&redis, "other");
    drop(beating(&redis, "own"));
    let mut eye = introduced(&redis);
    redis.until(|_| eye.look_at_connections(b"own").unwrap() == Sight::Blurred);
    assert_eq!(eye.look_at_connections(b"unknown").unwrap(), Sight::Blurred);
}

#[test]
fn a_beat_names_the_connection_that_it_goes_through_even_when_that_is_a_new_one() {
    let mut redis = Redis::own();
    let mut store = beating(&redis, "a");
    let before = client(&mut redis, "a");
    redis.run::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    assert!(!store.keeps_connection(), "it notices");
    store.beat(&identity("a"), TTL, &[]).unwrap();
    redis.run::<i64>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    store.beat(&identity("a"), TTL, &[]).unwrap();
    let after = client(&mut redis, "a").unwrap();
    assert_ne!(Some(&after), before.as_ref());
    let clients: String = redis.run(&["CLIENT", "LIST"]);
    assert!(clients.contains(&format!("id={after} ")), "{after} {clients}");
    assert!(store.keeps_connection());
}

#[test]
fn a_clean_end_leaves_no_connection_behind() {
    let mut redis = Redis::own();
    let mut store = beating(&redis, "a");
    store.retire(&identity("a")).unwrap();
    assert_eq!(redis.run::<i64>(&["EXISTS", "ns:beats"]), 0);
}

#[test]
fn a_name_that_is_claimed_anew_has_not_the_connection_of_its_last_owner() {
    let mut redis = Redis::own();
    redis.run::<()>(&["HSET", "ns:beats", "a", "999999999 1700000000.5 run 1"]);
    redis.store().claim(&identity("a"), TTL).unwrap();
    assert_eq!(client(&mut redis, "a"), None);
}

/// Settings of a user who may do `rules`.
fn allowed(server: &RedisServer, rules: &[&str]) -> Settings {
    let mut connection = server.connect(0);
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("u").arg("reset").arg("on").arg(">p").arg("~*").arg("&*").arg(rules);
    user.query::<()>(&mut connection).unwrap();
    let mut settings = Redis::shared().settings();
    settings.tracking.address = Address::Tcp("127.0.0.1".into(), server.port());
    settings.tracking.db = 0;
    settings.tracking.username = Some("u".into());
    settings.tracking.password = Some(Password::Fixed("p".into()));
    settings
}

#[test]
fn a_server_that_does_not_tell_is_not_asked_for_more() {
    let server = RedisServer::start(&[]);
    for rules in [["+@all", "-client"].as_slice(), &["+@all", "-info"], &["+@all", "-client|list"]] {
        let settings = allowed(&server, rules);
        let mut store = Store::new(&settings, "test");
        store.introduce();
        assert!(store.claim(&identity("a"), TTL).unwrap(), "{rules:?}");
        store.claim(&identity("b"), TTL).unwrap();
        store.beat(&identity("a"), TTL, &[]).unwrap();
        assert!(store.keeps_connection());
        assert_eq!(store.look_at_connections(b"a").unwrap(), Sight::Refused, "{rules:?}");
    }
}

/// What a server refuses for now must not be taken for something that it never tells.
#[test]
fn a_server_that_is_busy_is_asked_again() {
    let mut redis = Redis::own();
    let (mut own, _other) = (beating(&redis, "own"), beating(&redis, "other"));
    let mut eye = introduced(&redis);
    assert_eq!(silent(eye.look_at_connections(b"own").unwrap()), []);
    redis.run::<()>(&["CONFIG", "SET", "busy-reply-threshold", "1"]);
    let mut busy = redis.connect();
    let script =
        std::thread::spawn(move || redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut busy));
    eventually("it is busy", || eye.look_at_connections(b"own").is_err_and(|e| e.message.contains("BUSY")));
    assert!(own.keeps_connection());
    assert!(introduced(&redis).look_at_connections(b"own").is_err());
    redis.run::<()>(&["SCRIPT", "KILL"]);
    assert!(script.join().unwrap().is_err());
    assert_eq!(silent(eye.look_at_connections(b"own").unwrap()), []);
}

#[test]
fn a_turn_to_look_ends_though_the_clock_of_the_server_was_set_back() {
    let mut redis = Redis::own();
    let mut eye = introduced(&redis);
    redis.run::<()>(&["SET", "ns:look_turn", "1", "PX", "3600000"]);
    assert!(!eye.take_look_turn(GRACE / 10).unwrap());
    eventually("it is free", || eye.take_look_turn(GRACE / 10).unwrap());
    assert!(!eye.take_look_turn(GRACE / 10).unwrap());
}

fn instance(redis: &Redis, name: &str, grace: Duration) -> Engine {
    start(name, grace, redis.settings())
}

fn start(name: &str, grace: Duration, settings: Settings) -> Engine {
    let settings = Settings {
        instance_name: Some(name.into()),
        // None expires, and no regular sweep comes, while the test lasts.
        heartbeat_interval: Duration::from_secs(60),
        heartbeat_ttl: Duration::from_secs(180),
        death_grace: grace,
        ..settings
    };
    let engine = Engine::start(settings).expect("threads");
    engine.instance_id(DEADLINE).expect("an id is claimed");
    engine
}

fn hold(engine: &Engine, jid: &str) {
    let payload = format!(r#"{{"jid":"{jid}","queue":"q","args":[]}}"#);
    let token = engine.track(jid.as_bytes(), b"q", payload.as_bytes());
    let recorded = engine.recorded(token).expect("it is held");
    assert_eq!(recorded.wait(Some(Instant::now() + DEADLINE)), Woken::Answered(()));
}

#[test]
fn the_jobs_of_a_dead_instance_come_back_before_its_heartbeat_expires() {
    let mut redis = Redis::own();
    let _judge = instance(&redis, "judge", GRACE);
    let victim = instance(&redis, "victim", GRACE);
    hold(&victim, "j");
    let died = Instant::now();
    drop(victim);
    redis.until(|redis| redis.queued("q") == 1);
    assert!(died.elapsed() >= GRACE);
    redis.until(|redis| redis.run::<Vec<String>>(&["HKEYS", "ns:beats"]) == ["judge"]);
}

/// Without a grace nothing is noted, so nobody can be judged by it.
#[test]
fn no_grace_no_fast_death() {
    let mut redis = Redis::own();
    let _judge = instance(&redis, "judge", GRACE);
    let _off = instance(&redis, "off", Duration::ZERO);
    let _late = instance(&redis, "late", Duration::from_secs(600));
    redis.until(|redis| redis.run::<Vec<String>>(&["HKEYS", "ns:instances"]).len() == 3);
    let noted = ["judge", "off", "late"].map(|id| client(&mut redis, id).is_some());
    assert_eq!(noted, [true, false, false]);
}

/// Only the victim's connection is cut: the judge sees everything, all the time.
#[test]
fn an_instance_whose_connection_is_cut_again_and_again_is_alive() {
    let mut redis = Redis::own();
    let judge = instance(&redis, "judge", GRACE);
    let victim = instance(&redis, "victim", GRACE);
    hold(&victim, "j");
    let until = Instant::now() + 5 * GRACE;
    let mut cuts = 0;
    while Instant::now() < until {
        let client = client(&mut redis, "victim");
        cuts += client.map_or(0, |client| redis.run::<i64>(&["CLIENT", "KILL", "ID", &client]));
        std::thread::sleep(GRACE / 4);
        assert_eq!(redis.run::<i64>(&["EXISTS", "ns:instance:victim"]), 1, "{:?}", redis.dump());
    }
    assert!(cuts >= 5, "{cuts} cuts");
    assert_eq!(redis.queued("q"), 0);
    drop(victim);
    redis.until(|redis| redis.queued("q") == 1);
    drop(judge);
}

/// The server takes no more connections, and the one that the victim beats on is cut.
#[test]
fn an_instance_that_gets_no_connection_for_its_heartbeat_beats_over_another_one() {
    let mut redis = Redis::own();
    let judge = instance(&redis, "judge", GRACE);
    let victim = instance(&redis, "victim", GRACE);
    hold(&victim, "j");
    let connected = redis.run::<String>(&["CLIENT", "LIST"]).lines().count();
    redis.run::<()>(&["CONFIG", "SET", "maxclients", &(connected - 1).to_string()]);
    let client_id = client(&mut redis, "victim").unwrap();
    redis.run::<i64>(&["CLIENT", "KILL", "ID", &client_id]);
    redis.until(|redis| client(redis, "victim").is_none());
    let until = Instant::now() + 4 * GRACE;
    while Instant::now() < until {
        assert_eq!(redis.run::<i64>(&["EXISTS", "ns:instance:victim"]), 1, "{:?}", redis.dump());
        std::thread::sleep(GRACE / 10);
    }
    assert_eq!(redis.queued("q"), 0);
    redis.run::<()>(&["CONFIG", "SET", "maxclients", "100"]);
    redis.until(|redis| client(redis, "victim").is_some());
    drop((judge, victim));
}

/// Ruby: answers with the token of the day, `busy` from some question on.
struct Tokens {
    number: AtomicU64,
    asked: AtomicU64,
    busy_from: AtomicU64,
}

fn token(number: u64) -> String {
    format!("token-{number}")
}

/// Whether a live instance is still there after its token has expired, Ruby has no time for another one, and its
/// connection is cut.
fn outlives_its_token(refresh: Duration) -> bool {
    let mut redis = Redis::own();
    let _judge = instance(&redis, "judge", GRACE);
    let allow = |number| format!(">{}", token(number));
    redis.run::<()>(&["ACL", "SETUSER", "u", "on", "+@all", "~*", "&*", &allow(1)]);
    let mut settings = redis.settings();
    let passwords = Arc::new(Passwords::new(refresh));
    settings.passwords = Arc::clone(&passwords);
    settings.tracking.username = Some("u".into());
    settings.tracking.password = Some(passwords.add(0, Some(token(1).into())));
    let tokens = Arc::new(Tokens {
        number: AtomicU64::new(1),
        asked: AtomicU64::new(0),
        busy_from: AtomicU64::new(u64::MAX),
    });
    let ruby = thread::spawn({
        let (tokens, passwords) = (Arc::clone(&tokens), Arc::clone(&passwords));
        move || {
            while let Woken::Answered(Some(number)) = passwords.next_question() {
                if tokens.asked.fetch_add(1, Ordering::SeqCst) < tokens.busy_from.load(Ordering::SeqCst) {
                    passwords.answer(number, Some(token(tokens.number.load(Ordering::SeqCst)).into()));
                } else {
                    break;
                }
            }
        }
    });
    let victim = start("victim", GRACE, settings);
    hold(&victim, "j");
    redis.run::<()>(&["ACL", "SETUSER", "u", &allow(2)]);
    tokens.number.store(2, Ordering::SeqCst);
    // Time enough for what is kept warm.
    let asked = tokens.asked.load(Ordering::SeqCst);
    let warm = Instant::now() + 2 * GRACE;
    while tokens.asked.load(Ordering::SeqCst) < asked + 2 && Instant::now() < warm {
        thread::sleep(Duration::from_millis(5));
    }
    tokens.busy_from.store(0, Ordering::SeqCst);
    redis.run::<()>(&["ACL", "SETUSER", "u", &format!("<{}", token(1))]);
    redis.run::<i64>(&["CLIENT", "KILL", "USER", "u"]);
    let until = Instant::now() + 4 * GRACE;
    let mut lives = true;
    while lives && Instant::now() < until {
        lives = redis.run::<i64>(&["EXISTS", "ns:instance:victim"]) == 1;
        thread::sleep(Duration::from_millis(5));
    }
    drop(victim);
    ruby.join().unwrap();
    lives
}

#[test]
fn an_instance_outlives_its_token_where_the_next_one_is_fetched_in_time() {
    thread::scope(|scope| {
        let kept_warm = scope.spawn(|| outlives_its_token(GRACE / 5));
        // The danger is real.
        let asked_at_need = scope.spawn(|| outlives_its_token(Duration::from_secs(600)));
        assert_eq!((kept_warm.join().unwrap(), asked_at_need.join().unwrap()), (true, false));
    });
}
