//! Ruby exceptions. Their classes are defined in `lib/sidekiq/assured_jobs/errors.rb`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use assured_core::printable;
use magnus::{Error, ExceptionClass, Module, Ruby};

/// `Sidekiq::AssuredJobs::<class>` with this message, which ends in logs.
pub fn error(ruby: &Ruby, class: &str, message: impl AsRef<str>) -> Error {
    let lookup = || -> Result<ExceptionClass, Error> {
        ruby.define_module("Sidekiq")?.define_module("AssuredJobs")?.const_get(class)
    };
    match lookup() {
        Ok(class) => Error::new(class, printable::line(message.as_ref())),
        Err(error) => error,
    }
}

/// Runs `body` and turns a panic into a `Sidekiq::AssuredJobs::Error`. Left to magnus it would become
/// `fatal`, which no `rescue` catches.
pub fn guarded<T>(ruby: &Ruby, body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|_| Err(error(ruby, "Error", "the engine panicked; this is a bug")))
}
