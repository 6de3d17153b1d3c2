//! What recovery may read of a payload, and the few top-level keys that it sets. Everything else stays
//! as it is, byte for byte: user arguments hold integers and floats that a parser would change.

use std::fmt;
use std::time::SystemTime;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Bytes;
use crate::settings::Timestamps;

/// Key that counts how often a job was recovered.
pub const RECOVERIES: &str = "assured_recoveries";
/// Key with the limit of that count, as `sidekiq_options` of the class put it there.
pub const LIMIT: &str = "assured_max_recoveries";
/// Error class of a job that was recovered as often as it may be, defined in `lib/sidekiq/assured_jobs/errors.rb`.
pub const POISON: &str = "Sidekiq::AssuredJobs::PoisonJob";
const ENQUEUED_AT: &str = "enqueued_at";
const FAILED_AT: &str = "failed_at";

/// Makes the payload of an attempt that ended without acknowledgement ready to run again: counted as a recovery, in the
/// queue that it was fetched from, and with the error that Sidekiq shows among its retries, as [`mortify`] does for the
/// Dead set. `None` where it is no JSON object.
pub fn postpone(
    payload: &[u8],
    queue: &[u8],
    error_class: &str,
    message: &str,
    timestamps: Timestamps,
) -> Option<Bytes> {
    let fields = parse(payload)?;
    let recoveries = count(&fields, RECOVERIES).unwrap_or(0).saturating_add(1);
    let mut changes = vec![
        (ENQUEUED_AT, now(timestamps)),
        (RECOVERIES, recoveries.to_string()),
        ("error_class", json(error_class)),
        ("error_message", json(message)),
    ];
    // The first failure of several; Sidekiq's pages cannot show a retry without.
    if raw(&fields, FAILED_AT).is_none_or(|at| at == "null") {
        changes.push((FAILED_AT, now(timestamps)));
    }
    if let Ok(queue) = std::str::from_utf8(queue) {
        changes.push(("queue", json(queue)));
    }
    Some(splice(&fields, &changes))
}

/// What people and limits want to know of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Name of the job class; of the class behind it where a framework's own is in front.
    pub class: Option<String>,
    /// The jid.
    pub jid: Option<String>,
    /// The queue that the payload names.
    pub queue: Option<String>,
    /// How often the job was recovered since its last completed run.
    pub recoveries: u64,
    /// How often its class lets it be recovered, where the class says so.
    pub limit: Option<u64>,
    /// Whether the job may lie in the Dead set; `dead: false` says that it may not.
    pub keeps_dead: bool,
    /// What the payload itself says of whether the job is assured; nothing where its class decides.
    pub assured: Option<bool>,
}

/// Makes the payload of an orphan ready to be queued again. `counts` is whether its instance died; where it ended
/// cleanly the count stays as it is, and is written all the same: it marks the job as recovered.
/// `None` where it is no JSON object.
pub fn revive(payload: &[u8], timestamps: Timestamps, counts: bool) -> Option<Bytes> {
    let fields = parse(payload)?;
    let recoveries = count(&fields, RECOVERIES).unwrap_or(0).saturating_add(counts.into());
    let changes = [(ENQUEUED_AT, now(timestamps)), (RECOVERIES, recoveries.to_string())];
    Some(splice(&fields, &changes))
}

/// Reads a payload; nothing where it is no JSON object.
pub fn profile(payload: &[u8]) -> Option<Profile> {
    let fields = parse(payload)?;
    Some(Profile {
        class: text(&fields, "wrapped").or_else(|| text(&fields, "class")),
        jid: text(&fields, "jid"),
        queue: text(&fields, "queue"),
        recoveries: count(&fields, RECOVERIES).unwrap_or(0),
        limit: count(&fields, LIMIT),
        keeps_dead: raw(&fields, "dead") != Some("false"),
        assured: flag(&fields),
    })
}

/// Makes the payload of an orphan ready for the Dead set: with the error that Sidekiq shows there, and without its
/// count, so that a person who enqueues it again gives it a new start. `None` where it is no JSON object.
pub fn mortify(payload: &[u8], error_class: &str, message: &str, timestamps: Timestamps) -> Option<Bytes> {
    let mut fields = parse(payload)?;
    fields.retain(|(key, _)| !names(key, RECOVERIES));
    let changes =
        [("error_class", json(error_class)), ("error_message", json(message)), (FAILED_AT, now(timestamps))];
    Some(splice(&fields, &changes))
}

/// Text that the payload of an assured job contains, as Ruby's JSON writes it. Other text may contain it, too.
pub const FLAG: &str = r#""assured_jobs":true"#;

/// Whether the payload itself, and not something inside its arguments, says that the job is assured, or that it is not;
/// nothing where its class decides. What is no JSON object is no job.
pub fn says_assured(payload: &[u8]) -> Option<bool> {
    let Some(fields) = parse(payload) else { return Some(false) };
    flag(&fields)
}

/// Nothing but true and false is a word; other applications may write what they like.
fn flag(fields: &Fields<'_>) -> Option<bool> {
    raw(fields, "assured_jobs")?.parse().ok()
}

/// The jid of a payload that says that it is assured; empty where it has none.
pub fn assured_jid(payload: &[u8]) -> Option<Bytes> {
    let fields = parse(payload)?;
    (flag(&fields) == Some(true)).then(|| text(&fields, "jid").unwrap_or_default().into_bytes())
}

/// The queue that a payload names, if it can be read.
pub fn queue(payload: &[u8]) -> Option<Bytes> {
    text(&parse(payload)?, "queue").map(String::into_bytes)
}

/// A top-level key and its value, both as they are written. Duplicate keys stay duplicate.
type Fields<'a> = Vec<(&'a RawValue, &'a RawValue)>;

/// Nothing where it is no JSON object.
fn parse(payload: &[u8]) -> Option<Fields<'_>> {
    let mut json = serde_json::Deserializer::from_slice(payload);
    let fields = json.deserialize_map(FieldsVisitor).ok()?;
    json.end().ok()?;
    Some(fields)
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

fn count(fields: &Fields<'_>, wanted: &str) -> Option<u64> {
    raw(fields, wanted)?.parse().ok()
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

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
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
        let revived = revive(payload.as_bytes(), Timestamps::IntegerMillis, true).unwrap();
        String::from_utf8(revived).unwrap()
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
    fn a_clean_exit_does_not_count_and_marks_the_job_as_recovered() {
        for (given, expected) in [(r#"{"queue":"q"}"#, 0), (r#"{"queue":"q","assured_recoveries":2}"#, 2)] {
            let revived = revive(given.as_bytes(), Timestamps::FloatSeconds, false).unwrap();
            let out = String::from_utf8(revived).unwrap();
            assert!(out.contains(&format!(r#""assured_recoveries":{expected}"#)), "{out}");
        }
    }

    #[test]
    fn a_dead_payload_says_why_and_starts_anew_when_enqueued_again() {
        let payload = br#"{"args":[1.50],"assured_recoveries":3,"error_class":"Old","jid":"a"}"#;
        let out = mortify(payload, "Poison", "a \"b\"\n", Timestamps::IntegerMillis).unwrap();
        let out = String::from_utf8(out).unwrap();
        let begin =
            r#"{"args":[1.50],"error_class":"Poison","jid":"a","error_message":"a \"b\"\n","failed_at":"#;
        assert!(out.starts_with(begin), "{out}");
        assert_eq!(mortify(b"[1]", "Poison", "", Timestamps::IntegerMillis), None);
        assert_eq!(mortify(b"{}", "P", "m", Timestamps::FloatSeconds).unwrap()[0], b'{');
    }

    fn postponed(payload: &str, queue: &str) -> String {
        let out =
            postpone(payload.as_bytes(), queue.as_bytes(), "E", "why", Timestamps::IntegerMillis).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_end_counts_and_tells_why_and_goes_back_where_it_came_from() {
        let out = postponed(r#"{"args":[1.50,[]],"queue":"named","jid":"a","failed_at":1.5}"#, "served");
        assert!(
            out.starts_with(r#"{"args":[1.50,[]],"queue":"served","jid":"a","failed_at":1.5,"enqueued_at":"#)
        );
        assert!(
            out.ends_with(r#","assured_recoveries":1,"error_class":"E","error_message":"why"}"#),
            "{out}"
        );
        let again = postponed(&out, "served");
        assert!(again.contains(r#""assured_recoveries":2"#), "{again}");
        let first = postponed(r#"{"queue":"q","failed_at":null}"#, "q");
        assert!(first.contains(r#""failed_at":1"#), "{first}");
        assert_eq!(postpone(b"[1]", b"q", "E", "why", Timestamps::FloatSeconds), None);
    }

    #[test]
    fn a_profile_holds_what_the_payload_says() {
        let payload = br#"{"class":"Wrapper","wrapped":"Mine","jid":"a","queue":"q","assured_recoveries":2,
            "assured_max_recoveries":5,"dead":false,"args":[{"dead":true}]}"#;
        let expected = Profile {
            class: Some("Mine".into()),
            jid: Some("a".into()),
            queue: Some("q".into()),
            recoveries: 2,
            limit: Some(5),
            keeps_dead: false,
            assured: None,
        };
        assert_eq!(profile(payload), Some(expected));
        assert_eq!(profile(b"no JSON"), None);
    }

    #[test]
    fn a_limit_that_is_no_count_is_none() {
        for limit in ["-1", "1.5", "\"3\"", "null"] {
            let payload = format!(r#"{{"class":"A","assured_max_recoveries":{limit}}}"#);
            assert_eq!(profile(payload.as_bytes()).unwrap().limit, None, "{limit}");
        }
    }

    #[test]
    fn the_queue_may_hold_any_character() {
        assert_eq!(queue(r#"{"queue":"a:\"b\u00e9"}"#.as_bytes()).unwrap(), "a:\"bé".as_bytes());
    }

    #[test]
    fn what_is_no_json_object_stays_as_it_is() {
        for payload in ["", "[1]", "{\"queue\":\"q\"} trailing", "{\"queue\":"] {
            assert_eq!(revive(payload.as_bytes(), Timestamps::FloatSeconds, true), None, "{payload}");
        }
        assert_eq!(revive(b"{\"queue\":\"q\",\"a\":\"\xff\"}", Timestamps::FloatSeconds, true), None);
    }

    #[test]
    fn only_the_payload_itself_says_whether_a_job_is_assured() {
        assert_eq!(says_assured(br#"{"args":[],"assured_jobs":true}"#), Some(true));
        assert_eq!(says_assured(br#"{"args":[{"assured_jobs":true}]}"#), None);
        for odd in ["null", "1", "0", "\"true\"", "\"no\""] {
            assert_eq!(says_assured(format!(r#"{{"assured_jobs":{odd}}}"#).as_bytes()), None, "{odd}");
        }
        assert_eq!(says_assured(br#"{"args":["\"assured_jobs\":true"],"assured_jobs":false}"#), Some(false));
        assert_eq!(says_assured(b"not JSON"), Some(false));
    }

    proptest! {
        #[test]
        fn whatever_the_payload_it_is_parsed_or_refused(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = revive(&payload, Timestamps::FloatSeconds, true);
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
