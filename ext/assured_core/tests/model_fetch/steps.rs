//! What can happen, and the payloads that there are.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

pub const INSTANCES: usize = 2;
/// The last one's key holds no list.
pub const QUEUES: [&str; 4] = ["a", "b", "c", "w"];
pub const SETS: [&str; 2] = ["retry", "schedule"];
pub const NO_LIST: usize = 3;
pub const NEVER_DUE: i64 = 9_000_000_000;

/// Payloads, and the label of the record that a pop makes of each; `#` stands for a jid's number, `@` for what
/// tells two jobs of one jid apart. Each character stands for one byte.
const SHAPES: [(&str, Option<&str>); 16] = [
    (r#"{"args":[@],"jid":"j#","assured_jobs":true}"#, Some("j#")),
    (r#"{"args":[@],"jid":"j#"}"#, None),
    (r#"{"args":[@],"jid":"j#","assured_jobs":false}"#, None),
    (r#"{"args":["\"assured_jobs\":true",@],"jid":"j#"}"#, None),
    (r#"{"args":[{"assured_jobs":true},@],"jid":"j#"}"#, Some("j#")),
    (r#"{"args":[{"jid":"x"},@],"jid":"j#","assured_jobs":true}"#, Some("j#")),
    (r#"{"args":["\"jid\":\"x\"",@],"jid":"j#","assured_jobs":true}"#, Some("j#")),
    (r#"{"jid":"x","args":[@],"jid":"j#","assured_jobs":true}"#, Some("j#")),
    (r#"{"args":[@],"jid":"\u006a#","assured_jobs":true}"#, Some("j#")),
    (r#"{"args":[@],"jid":"* j#:{}","assured_jobs":true}"#, Some("* j#:{}")),
    ("{\"args\":[@],\"jid\":\"\0j#\",\"assured_jobs\":true}", Some("\0j#")),
    ("{\"args\":[\"\u{ff}\u{0}\",@],\"jid\":\"j#\",\"assured_jobs\":true}", Some("j#")),
    ("{\"jid\":\"x\",\"args\":[@],\"jid\":\"\u{fe}j#\",\"assured_jobs\":true}", Some("\u{fe}j#")),
    (r#"{"args":[@],"jid":#,"assured_jobs":true}"#, Some("")),
    (r#"{"args":[@],"jid":"","assured_jobs":true}"#, Some("")),
    (r#"{"args":[@],"assured_jobs":true"#, Some("")),
];

#[derive(Clone, Debug)]
pub struct Job {
    pub payload: String,
    /// Nothing where no record is made.
    pub label: Option<String>,
}

fn job() -> impl Strategy<Value = Job> {
    let shape = prop_oneof![2 => Just(0), 3 => 0..SHAPES.len()];
    (shape, 0..3u8, 0..3u8).prop_map(|(shape, jid, nr)| {
        let (payload, label) = SHAPES[shape];
        let jid = jid.to_string();
        let payload = payload.replace('#', &jid).replace('@', &nr.to_string());
        Job { payload, label: label.map(|label| label.replace('#', &jid)) }
    })
}

/// The bytes of a payload, or of a name made of it.
pub fn raw(text: &str) -> Vec<u8> {
    text.chars().map(|byte| u8::try_from(byte).expect("one byte")).collect()
}

/// Who stands in the registry for an id.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Owner {
    Nobody,
    This,
    Adopted,
    Other,
}

#[derive(Clone, Debug)]
pub enum Step {
    Push {
        queue: usize,
        job: Job,
    },
    Schedule {
        set: usize,
        at: i64,
        job: Job,
    },
    /// Several threads wait, each with its order of queues; releases ride along.
    Fetch {
        instance: usize,
        orders: Vec<Vec<usize>>,
        releases: Vec<Index>,
    },
    PopDue {
        instance: usize,
        set: usize,
    },
    Enqueue {
        instance: usize,
        record: Index,
        queue: usize,
        job: Job,
    },
    PushBack {
        queue: usize,
        job: Job,
    },
    /// Some of the payloads are those of other attempts.
    ReleaseIfUnchanged {
        instance: usize,
        records: Vec<(Index, Index)>,
    },
    Register {
        instance: usize,
        owner: Owner,
    },
}

pub fn step() -> impl Strategy<Value = Step> {
    let (instance, queue, set) = (|| 0..INSTANCES, || 0..QUEUES.len(), || 0..SETS.len());
    let at = prop_oneof![3 => 1..4i64, 1 => Just(NEVER_DUE)];
    let owner = prop_oneof![
        2 => Just(Owner::This),
        1 => Just(Owner::Nobody),
        1 => Just(Owner::Adopted),
        1 => Just(Owner::Other)
    ];
    // Few orders lead to the queue that is none: nobody behind it gets a job.
    let position = || prop_oneof![9 => 0..NO_LIST, 1 => Just(NO_LIST)];
    let pair = || (any::<Index>(), any::<Index>(), any::<bool>());
    prop_oneof![
        6 => (0..NO_LIST, job()).prop_map(|(queue, job)| Step::Push { queue, job }),
        3 => (set(), at, job()).prop_map(|(set, at, job)| Step::Schedule { set, at, job }),
        6 => (instance(), vec(vec(position(), 0..4), 1..4), vec(any::<Index>(), 0..4))
            .prop_map(|(instance, orders, releases)| Step::Fetch { instance, orders, releases }),
        3 => (instance(), set()).prop_map(|(instance, set)| Step::PopDue { instance, set }),
        3 => (instance(), any::<Index>(), queue(), job())
            .prop_map(|(instance, record, queue, job)| Step::Enqueue { instance, record, queue, job }),
        1 => (queue(), job()).prop_map(|(queue, job)| Step::PushBack { queue, job }),
        3 => (instance(), vec(pair(), 0..4)).prop_map(|(instance, records)| {
            let records = records.into_iter().map(|(name, other, same)| (name, if same { name } else { other }));
            Step::ReleaseIfUnchanged { instance, records: records.collect() }
        }),
        1 => (instance(), owner).prop_map(|(instance, owner)| Step::Register { instance, owner }),
    ]
}
