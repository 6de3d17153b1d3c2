//! A whole key space as a value: written before a test, read and compared after it.

use std::collections::{BTreeMap, BTreeSet};

/// Keys and what they hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space(BTreeMap<String, Content>);

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Text(String),
    /// A string with a lifetime.
    Expiring(String),
    Set(BTreeSet<String>),
    List(Vec<String>),
    Hash(BTreeMap<String, String>),
    /// Members with their scores.
    Sorted(BTreeMap<String, i64>),
    /// Members of Sidekiq's Dead set in their order: their scores are times.
    Ranked(Vec<String>),
}

/// Stands for a heartbeat's value, which is the time.
const TIME: &str = "<time>";

pub fn text(value: &str) -> Content {
    Content::Text(value.into())
}

pub fn expiring(value: &str) -> Content {
    Content::Expiring(value.into())
}

pub fn set(members: &[&str]) -> Content {
    Content::Set(members.iter().map(|member| (*member).into()).collect())
}

pub fn list(items: &[&str]) -> Content {
    Content::List(items.iter().map(|item| (*item).into()).collect())
}

pub fn hash(fields: &[(&str, &str)]) -> Content {
    let pair = |(field, value): &(&str, &str)| ((*field).into(), (*value).into());
    Content::Hash(fields.iter().map(pair).collect())
}

pub fn sorted(members: &[(&str, i64)]) -> Content {
    Content::Sorted(members.iter().map(|(member, score)| ((*member).into(), *score)).collect())
}

pub fn ranked(members: &[&str]) -> Content {
    Content::Ranked(members.iter().map(|member| (*member).into()).collect())
}

/// A key space. Keys are written in full, as a user would see them.
pub fn space<const N: usize>(keys: [(&str, Content); N]) -> Space {
    Space(keys.map(|(key, content)| (key.into(), content)).into())
}

impl Space {
    /// The same with one key set.
    pub fn with(mut self, key: &str, content: Content) -> Self {
        self.0.insert(key.into(), content);
        self
    }

    /// The same without some keys.
    pub fn without(mut self, keys: &[&str]) -> Self {
        for key in keys {
            assert!(self.0.remove(*key).is_some(), "{key} is not there");
        }
        self
    }

    /// The same without keys that end like this, if there are any.
    pub fn ignoring(mut self, end: &str) -> Self {
        self.0.retain(|key, _| !key.ends_with(end));
        self
    }

    /// The same with one heartbeat.
    pub fn beating(self, id: &str) -> Self {
        self.with(&format!("ns:instance:{id}"), expiring(TIME))
    }

    pub fn get(&self, key: &str) -> Option<&Content> {
        self.0.get(key)
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn write(&self, connection: &mut redis::Connection) {
        if self.0.is_empty() {
            return;
        }
        let mut pipe = redis::pipe();
        for (key, content) in &self.0 {
            match content {
                Content::Text(value) => pipe.cmd("SET").arg(key).arg(value),
                Content::Expiring(value) => pipe.cmd("SET").arg(key).arg(value).arg("EX").arg(1000),
                Content::Set(members) => pipe.cmd("SADD").arg(key).arg(members),
                Content::List(items) => pipe.cmd("RPUSH").arg(key).arg(items),
                Content::Hash(fields) => pipe.cmd("HSET").arg(key).arg(fields),
                Content::Sorted(members) => {
                    let scored: Vec<_> = members.iter().map(|(member, score)| (score, member)).collect();
                    pipe.cmd("ZADD").arg(key).arg(scored)
                }
                Content::Ranked(members) => {
                    let scored: Vec<_> = (1..).zip(members).collect();
                    pipe.cmd("ZADD").arg(key).arg(scored)
                }
            };
        }
        pipe.query::<()>(connection).unwrap();
    }

    /// In few round trips: sequences of random steps look at it very often.
    pub fn read(connection: &mut redis::Connection) -> Self {
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(connection).unwrap();
        if keys.is_empty() {
            return Self::default();
        }
        let mut types = redis::pipe();
        for key in &keys {
            types.cmd("TYPE").arg(key);
        }
        let types: Vec<String> = types.query(connection).unwrap();
        let mut contents = redis::pipe();
        for (key, kind) in keys.iter().zip(&types) {
            match kind.as_str() {
                "none" | "string" => contents.cmd("GET").arg(key),
                "set" => contents.cmd("SMEMBERS").arg(key),
                "list" => contents.cmd("LRANGE").arg(key).arg(0).arg(-1),
                "hash" => contents.cmd("HGETALL").arg(key),
                "zset" => contents.cmd("ZRANGE").arg(key).arg(0).arg(-1).arg("WITHSCORES"),
                other => panic!("a key of type {other}"),
            };
            contents.cmd("PTTL").arg(key);
        }
        let replies: Vec<redis::Value> = contents.query(connection).unwrap();
        // A key that expires meanwhile is as good as gone.
        let found = keys.into_iter().zip(types).zip(replies.chunks(2)).filter_map(|((key, kind), reply)| {
            let kind = if key == b"dead" && kind == "zset" { "dead" } else { &*kind };
            Some((shown(key), content(kind, reply[0].clone(), read(reply[1].clone()))?))
        });
        Self(found.collect())
    }
}

fn content(kind: &str, value: redis::Value, lifetime: i64) -> Option<Content> {
    Some(match kind {
        "set" => Content::Set(shown_all(value).collect()),
        "list" => Content::List(shown_all(value).collect()),
        "hash" => Content::Hash(pairs(value).collect()),
        "dead" => Content::Ranked(pairs(value).map(|(member, _)| member).collect()),
        "zset" => {
            let scored: Vec<_> = pairs(value).map(|(member, score)| (member, score.parse())).collect();
            match scored.iter().cloned().map(|(member, score)| Some((member, score.ok()?))).collect() {
                Some(scored) => Content::Sorted(scored),
                // Points in time that the engine has chosen.
                None => Content::Ranked(scored.into_iter().map(|(member, _)| member).collect()),
            }
        }
        _ => {
            let value = shown(read::<Option<Vec<u8>>>(value)?);
            match lifetime {
                -1 => Content::Text(value),
                _ if is_time(&value) => Content::Expiring(TIME.into()),
                _ => Content::Expiring(value),
            }
        }
    })
}

fn read<T: redis::FromRedisValue>(value: redis::Value) -> T {
    redis::from_redis_value(value).unwrap()
}

fn shown_all(value: redis::Value) -> impl Iterator<Item = String> {
    read::<Vec<Vec<u8>>>(value).into_iter().map(shown)
}

fn pairs(value: redis::Value) -> impl Iterator<Item = (String, String)> {
    let flat: Vec<_> = shown_all(value).collect();
    flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect::<Vec<_>>().into_iter()
}

/// Bytes that are no UTF-8 stay distinguishable.
pub fn shown(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| error.into_bytes().escape_ascii().to_string())
}

fn is_time(value: &str) -> bool {
    value.parse::<f64>().is_ok_and(|seconds| seconds > 1e9)
}

/// The record of a job that was popped from the queue `q`.
pub fn record_of(payload: &str) -> Content {
    text(&String::from_utf8(assured_core::record::write(b"q", payload.as_bytes())).unwrap())
}
