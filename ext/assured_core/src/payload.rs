//! What recovery may read of a payload, and the two top-level keys that it sets. Everything else stays
//! as it is, byte for byte: user arguments hold integers and floats that a parser would change.

use std::fmt;
use std::time::SystemTime;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Bytes;
use crate::settings::Timestamps;

/// Key that counts how often a job was recovered.
pub const RECOVERIES: &str = "assured_recoveries";
const ENQUEUED_AT: &str = "enqueued_at";

/// A payload made ready for its queue.
#[derive(Debug, PartialEq, Eq)]
pub struct Revived {
    /// The queue that the payload names.
    pub queue: Bytes,
    /// The payload with `enqueued_at` and `assured_recoveries` set.
    pub payload: Bytes,
}

/// Makes the payload of an orphan ready to be queued again.
///
/// # Errors
/// Why it cannot be: invalid JSON, no object, or no queue name in it.
pub fn revive(payload: &[u8], timestamps: Timestamps) -> Result<Revived, String> {
    let fields = parse(payload)?;
    let queue = text(&fields, "queue").ok_or("the payload names no queue")?;
    let recoveries = raw(&fields, RECOVERIES).and_then(|raw| raw.parse::<u64>().ok()).unwrap_or(0);
    let changes = [(ENQUEUED_AT, now(timestamps)), (RECOVERIES, (recoveries + 1).to_string())];
    Ok(Revived { queue: queue.into_bytes(), payload: splice(&fields, &changes) })
}

/// Text that the payload of an assured job contains, as Ruby's JSON writes it. Other text may contain it, too.
pub const FLAG: &str = r#""assured_jobs":true"#;

/// Whether the payload itself, and not something inside its arguments, says that the job is assured.
pub fn is_assured(payload: &[u8]) -> bool {
    assured_jid(payload).is_some()
}

/// The jid of a payload that says that it is assured; empty where it has none.
pub fn assured_jid(payload: &[u8]) -> Option<Bytes> {
    let fields = parse(payload).ok()?;
    let assured = raw(&fields, "assured_jobs") == Some("true");
    assured.then(|| text(&fields, "jid").unwrap_or_default().into_bytes())
}

/// The queue that a payload names, if it can be read.
pub fn queue(payload: &[u8]) -> Option<Bytes> {
    text(&parse(payload).ok()?, "queue").map(String::into_bytes)
}

/// A top-level key and its value, both as they are written. Duplicate keys stay duplicate.
type Fields<'a> = Vec<(&'a RawValue, &'a RawValue)>;

fn parse(payload: &[u8]) -> Result<Fields<'_>, String> {
    let mut json = serde_json::Deserializer::from_slice(payload);
    let fields = json.deserialize_map(FieldsVisitor).map_err(|error| error.to_string())?;
    json.end().map_err(|error| error.to_string())?;
    Ok(fields)
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::with_capacity(16);
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(fields)
    }
}

fn names(key: &RawValue, wanted: &str) -> bool {
    serde_json::from_str::<std::borrow::Cow<'_, str>>(key.get()).is_ok_and(|key| key == wanted)
}

/// The last one counts, as in every JSON parser that Sidekiq may use.
fn raw<'a>(fields: &Fields<'a>, wanted: &str) -> Option<&'a str> {
    fields.iter().rev().find(|(key, _)| names(key, wanted)).map(|(_, value)| value.get())
}

fn text(fields: &Fields<'_>, wanted: &str) -> Option<String> {
    serde_json::from_str(raw(fields, wanted)?).ok()
}

fn splice(fields: &Fields<'_>, changes: &[(&str, String)]) -> Bytes {
    let mut json = Bytes::with_capacity(
        fields.iter().map(|(k, v)| k.get().len() + v.get().len() + 2).sum::<usize>() + 64,
    );
    let mut push = |key: &str, value: &str| {
        json.push(if json.is_empty() { b'{' } else { b',' });
        json.extend_from_slice(key.as_bytes());
        json.push(b':');
        json.extend_from_slice(value.as_bytes());
    };
    let mut missing: Vec<_> = changes.iter().collect();
    for (key, value) in fields {
        match changes.iter().find(|(wanted, _)| names(key, wanted)) {
            Some((wanted, changed)) => {
                push(key.get(), changed);
                missing.retain(|(other, _)| other != wanted);
            }
            None => push(key.get(), value.get()),
        }
    }
    for (key, value) in missing {
        push(&format!("\"{key}\""), value);
    }
    json.push(b'}');
    json
}

fn now(timestamps: Timestamps) -> String {
    let micros = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
    match timestamps {
        Timestamps::FloatSeconds => format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000),
        Timestamps::IntegerMillis => (micros / 1_000).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn revived(payload: &str) -> String {
        let revived = revive(payload.as_bytes(), Timestamps::IntegerMillis).unwrap();
        String::from_utf8(revived.payload).unwrap()
    }

    #[test]
    fn every_other_value_stays_byte_for_byte() {
        let args = r#"[[],{},12345678901234567890123,1795282371.1234560,"é\u00e9",{"jid":"no"}]"#;
        let payload = format!(r#"{{"queue":"low","args":{args},"jid":"a","enqueued_at":1.5,"x":[]}}"#);
        let out = revived(&payload);
        assert!(out.starts_with(&format!(r#"{{"queue":"low","args":{args},"jid":"a","enqueued_at":"#)));
        assert!(out.ends_with(r#","x":[],"assured_recoveries":1}"#), "{out}");
    }

    #[test]
    fn counts_on_where_the_last_recovery_stopped() {
        assert!(
            revived(r#"{"queue":"q","assured_recoveries":2,"jid":"a"}"#)
                .contains(r#""assured_recoveries":3"#)
        );
    }

    #[test]
    fn the_queue_may_hold_any_character() {
        let out = revive(r#"{"queue":"a:\"b\u00e9"}"#.as_bytes(), Timestamps::FloatSeconds).unwrap();
        assert_eq!(out.queue, "a:\"bé".as_bytes());
    }

    #[test]
    fn says_why_it_cannot() {
        for (payload, why) in [
            ("", "EOF"),
            ("[1]", "invalid type"),
            ("{\"queue\":1}", "names no queue"),
            ("{}", "names no queue"),
            ("{\"queue\":\"q\"} trailing", "trailing"),
        ] {
            let error = revive(payload.as_bytes(), Timestamps::FloatSeconds).unwrap_err();
            assert!(error.contains(why), "{payload}: {error}");
        }
        assert!(revive(b"{\"queue\":\"q\",\"a\":\"\xff\"}", Timestamps::FloatSeconds).is_err());
    }

    #[test]
    fn only_the_payload_itself_makes_a_job_assured() {
        assert!(is_assured(br#"{"args":[],"assured_jobs":true}"#));
        assert!(!is_assured(br#"{"args":[{"assured_jobs":true}]}"#));
        assert!(!is_assured(br#"{"args":["\"assured_jobs\":true"],"assured_jobs":false}"#));
        assert!(!is_assured(b"not JSON"));
    }

    proptest! {
        #[test]
        fn whatever_the_payload_it_is_parsed_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = revive(&payload, Timestamps::FloatSeconds);
        }

        #[test]
        fn args_never_change(numbers in proptest::collection::vec(any::<f64>(), 0..9), word in ".*") {
            let args = serde_json::to_string(&(numbers, word)).unwrap();
            let out = revived(&format!(r#"{{"args":{args},"queue":"q"}}"#));
            let expected = format!(r#"{{"args":{args},"queue":"q","#);
            prop_assert!(out.starts_with(&expected));
        }
    }
}
