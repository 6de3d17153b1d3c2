//! What stands in Redis for a job in flight: its payload, byte for byte, and before it the queue that the job was popped
//! from, where the payload does not name that very queue (the list was renamed, or the job moved by hand).
//! `lua/record.lua` writes the same.

use crate::Bytes;
use crate::payload;

const HEADER: &[u8] = b"queue ";

/// The record of a job that was popped from `queue`.
pub fn write(queue: &[u8], payload: &[u8]) -> Bytes {
    if payload::queue(payload).is_some_and(|named| named == queue) {
        return payload.to_vec();
    }
    [HEADER, queue.len().to_string().as_bytes(), b" ", queue, b"\n", payload].concat()
}

/// The queue that a job was popped from, where its payload does not tell, and the payload.
pub fn read(record: &[u8]) -> (Option<&[u8]>, &[u8]) {
    split(record).map_or((None, record), |(queue, payload)| (Some(queue), payload))
}

/// The queue that a job was popped from.
pub fn queue(record: &[u8]) -> Option<Bytes> {
    let (popped_from, payload) = read(record);
    popped_from.map(<[u8]>::to_vec).or_else(|| payload::queue(payload)).or_else(|| queue_in_text(payload))
}

/// A payload that is no JSON has no queue in front of it either, where its text names the one that it was popped from.
fn queue_in_text(payload: &[u8]) -> Option<Bytes> {
    const KEY: &[u8] = b"\"queue\"";
    let at = payload.windows(KEY.len()).position(|part| part == KEY)?;
    let value = payload[at + KEY.len()..].trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
    let name = value.strip_prefix(b"\"")?;
    Some(name[..name.iter().position(|byte| *byte == b'"')?].to_vec())
}

fn split(record: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = record.strip_prefix(HEADER)?;
    let space = rest.iter().position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
    let (queue, payload) = rest[space + 1..].split_at_checked(length)?;
    Some((queue, payload.strip_prefix(b"\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_payload_that_names_its_queue_is_its_own_record() {
        let payload = br#"{"queue":"low","args":[]}"#;
        assert_eq!(write(b"low", payload), payload);
        assert_eq!(read(payload), (None, payload.as_slice()));
    }

    #[test]
    fn a_payload_that_names_another_queue_or_none_is_recorded_with_its_own() {
        for payload in [br#"{"queue":"low"}"#.as_slice(), b"{}", b"no JSON"] {
            let record = write(b"high\n 2", payload);
            assert_eq!(read(&record), (Some(b"high\n 2".as_slice()), payload));
        }
    }

    #[test]
    fn the_queue_of_what_is_no_json_stands_in_its_text() {
        assert_eq!(queue(br#"{"queue" : "low","jid""#).unwrap(), b"low");
        assert_eq!(queue(b"queue 3 low\n{").unwrap(), b"low");
        assert_eq!(queue(b"{no json"), None);
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_read(record in proptest::collection::vec(any::<u8>(), 0..60)) {
            queue(&record);
            queue(&[HEADER, &record].concat());
        }
    }
}
