//! Mistakes that the checker must find: each is a part of the protocol left out.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A recovery removes the record, and pushes the job in a step of its own.
    DeleteBeforePush,
    /// A release deletes the payload whether or not the record was ours.
    ReleaseUnchecked,
    /// A second holder of a jid uses the payload of the first.
    SharedPayload,
    /// An instance that begins to shut down beats no more.
    BeatDroppedAtShutdown,
    /// Whoever has no heartbeat at one look is dead, however long Redis was away.
    VerdictAfterOutage,
    /// A new attempt takes the record name of a lost one, which goes on believing that it is its own.
    NameReused,
    /// The releases that wait when that happens are sent all the same.
    StaleRelease,
    /// An attempt that a fetch has recorded is recorded anew under the name that it had, whoever has it now.
    NoSpareName,
    /// A fast verdict falls on what was seen once, whatever has changed since.
    CondemnUnchecked,
    /// A verdict is taken to be about what had arrived when it was found.
    NoDoubt,
    /// A job whose run ended without acknowledgement goes back as it was, without a count.
    EndUncounted,
    /// Such an end stores a retry whether or not the record was ours.
    EndUnchecked,
    /// A heartbeat that is gone is the proof of a death.
    KeyAlone,
    /// Nobody is dead whose heartbeat is there.
    KeyNeeded,
    /// What is missing counts as lost to others only where something tells of a verdict.
    Forgetful,
    /// A recovered job goes back as it was, without its count.
    CountLost,
}
