//! Heartbeats that go on although connections fail.

#[path = "support/mute_proxy.rs"]
mod mute_proxy;
mod support;

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use assured_core::engine::Engine;
use assured_core::settings::{Address, Sentinel, Sentinels, Settings};
use assured_core::store::Store;
use mute_proxy::MuteProxy;
use support::{DEADLINE, Redis, eventually, identity};

fn expired(redis: &mut Redis) -> u64 {
    let stats: String = redis.run(&["INFO", "stats"]);
    let expired = stats.lines().find_map(|line| line.strip_prefix("expired_keys:"));
    expired.expect("redis counts them").trim().parse().unwrap()
}

fn last_beat(redis: &mut Redis) -> Option<String> {
    redis.run(&["GET", "ns:instance:a"])
}

/// Right after a beat, the connection turns out to be a black hole, and so do the next `more`.
fn beats_through(interval: f64, ttl: f64, more: usize) {
    let mut redis = Redis::own();
    let mut settings = Settings {
        instance_name: Some("a".into()),
        heartbeat_interval: Duration::from_secs_f64(interval),
        heartbeat_ttl: Duration::from_secs_f64(ttl),
        auto_recovery: false,
        ..redis.settings()
    };
    let Address::Tcp(_, port) = settings.tracking.address else { panic!("no port") };
    let proxy = MuteProxy::to(port);
    settings.tracking.address = Address::Tcp("127.0.0.1".into(), proxy.port);
    let engine = Engine::start(settings).expect("threads");
    engine.instance_id(DEADLINE).expect("an id is claimed");

    for _ in 0..2 {
        let before = last_beat(&mut redis);
        redis.until(|redis| last_beat(redis) != before);
        let opened = proxy.opened();
        proxy.mute(more);
        eventually("other connections are opened", || proxy.opened() > opened + more);
        let before = last_beat(&mut redis);
        redis.until(|redis| last_beat(redis) != before);
        assert_eq!(expired(&mut redis), 0, "interval {interval}, TTL {ttl}, {more} more");
    }
}

#[test]
fn a_connection_that_turns_mute_costs_no_heartbeat() {
    let cases = [(2.0, 3.0, 0), (1.0, 2.0, 0), (2.0, 4.0, 1)];
    thread::scope(|scope| {
        for (interval, ttl, more) in cases {
            scope.spawn(move || beats_through(interval, ttl, more));
        }
    });
}

/// Slower than the grace allows for, and fast enough for the TTL.
#[test]
fn a_slow_redis_costs_no_heartbeat() {
    let mut redis = Redis::own();
    let mut settings = Settings {
        instance_name: Some("a".into()),
        heartbeat_interval: Duration::from_secs(1),
        heartbeat_ttl: Duration::from_secs(7),
        death_grace: Duration::from_secs(1),
        auto_recovery: false,
        ..redis.settings()
    };
    let Address::Tcp(_, port) = settings.tracking.address else { panic!("no port") };
    let proxy = MuteProxy::slow(port, Duration::from_millis(500));
    settings.tracking.address = Address::Tcp("127.0.0.1".into(), proxy.port);
    let engine = Engine::start(settings).expect("threads");
    engine.instance_id(DEADLINE).expect("an id is claimed");
    for _ in 0..3 {
        let before = last_beat(&mut redis);
        redis.until(|redis| last_beat(redis) != before);
    }
    assert_eq!(expired(&mut redis), 0);
}

#[test]
fn opening_a_connection_in_a_hurry_is_over_in_time_however_many_sentinels_are_mute() {
    const LIMIT: Duration = Duration::from_millis(400);
    let mute: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let redis = Redis::shared();
    let mut settings = redis.settings();
    let servers = mute
        .iter()
        .map(|listener| Sentinel {
            host: "localhost".into(),
            port: listener.local_addr().unwrap().port(),
            username: None,
            password: None,
            tls: None,
        })
        .collect();
    settings.tracking.address = Address::Sentinel(Sentinels { master: "m".into(), servers });
    let began = Instant::now();
    Store::impatient(&settings, "test", LIMIT).claim(&identity("a"), 10 * LIMIT).unwrap_err();
    let took = began.elapsed();
    assert!(took >= LIMIT / 2 && took < 4 * LIMIT, "{took:?}");
    drop(mute);
}
