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
    /// A sorted set, by score.
    Sorted(Vec<String>),
    Hash(BTreeMap<String, String>),
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

pub fn sorted(items: &[&str]) -> Content {
    Content::Sorted(items.iter().map(|item| (*item).into()).collect())
}

pub fn hash(fields: &[(&str, &str)]) -> Content {
    let pair = |(field, value): &(&str, &str)| ((*field).into(), (*value).into());
    Content::Hash(fields.iter().map(pair).collect())
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
                Content::Sorted(items) => items
                    .iter()
                    .zip(1..)
                    .fold(&mut pipe, |pipe, (item, score)| pipe.cmd("ZADD").arg(key).arg(score).arg(item)),
                Content::Hash(fields) => pipe.cmd("HSET").arg(key).arg(fields),
            };
        }
        pipe.query::<()>(connection).unwrap();
    }

    pub fn read(connection: &mut redis::Connection) -> Self {
        let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(connection).unwrap();
        let mut found = BTreeMap::new();
        for key in keys {
            // A key that expires meanwhile is as good as gone.
            if let Some(content) = read_key(connection, &key) {
                found.insert(shown(key), content);
            }
        }
        Self(found)
    }
}

fn read_key(connection: &mut redis::Connection, key: &[u8]) -> Option<Content> {
    let mut ask = |name: &str| {
        let mut cmd = redis::cmd(name);
        cmd.arg(key);
        if name.ends_with("RANGE") {
            cmd.arg(0).arg(-1);
        }
        cmd.query::<redis::Value>(connection).unwrap()
    };
    let kind: String = read(ask("TYPE"));
    Some(match kind.as_str() {
        "none" => return None,
        "string" => {
            let value = shown(read::<Option<Vec<u8>>>(ask("GET"))?);
            match read::<i64>(ask("PTTL")) {
                -1 => Content::Text(value),
                _ if is_time(&value) => Content::Expiring(TIME.into()),
                _ => Content::Expiring(value),
            }
        }
        "set" => Content::Set(shown_all(ask("SMEMBERS")).collect()),
        "list" => Content::List(shown_all(ask("LRANGE")).collect()),
        "hash" => {
            let flat: Vec<_> = shown_all(ask("HGETALL")).collect();
            Content::Hash(flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
        }
        // Scores are times; what matters is what lies there.
        "zset" => Content::Sorted(shown_all(ask("ZRANGE")).collect()),
        other => panic!("a key of type {other}"),
    })
}

fn read<T: redis::FromRedisValue>(value: redis::Value) -> T {
    redis::from_redis_value(value).unwrap()
}

fn shown_all(value: redis::Value) -> impl Iterator<Item = String> {
    read::<Vec<Vec<u8>>>(value).into_iter().map(shown)
}

/// Bytes that are no UTF-8 stay distinguishable.
fn shown(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| error.into_bytes().escape_ascii().to_string())
}

fn is_time(value: &str) -> bool {
    value.parse::<f64>().is_ok_and(|seconds| seconds > 1e9)
}
