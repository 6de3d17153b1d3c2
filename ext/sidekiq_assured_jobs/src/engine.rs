//! `Sidekiq::AssuredJobs::Native::Engine`

use std::io;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assured_core::engine::Engine as Core;
use assured_core::events::{Event, Level, Notice};
use assured_core::fetch;
use assured_core::registry::Token;
use assured_core::waiter::{Waiter, Woken};
use magnus::{Error, RArray, RHash, RString, Ruby, Value, prelude::*};

use crate::error::{error, guarded};
use crate::gvl::{Wait, wait};
use crate::settings::settings;
use crate::strings::{bytes, text};

/// An engine and the process that it belongs to. Threads and sockets do not survive a fork: in a forked
/// child every call is refused, and the memory is leaked rather than touched.
#[magnus::wrap(class = "Sidekiq::AssuredJobs::Native::Engine", free_immediately, size)]
pub struct Engine {
    pid: u32,
    core: ManuallyDrop<Core>,
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            // SAFETY: dropped once, here, and never used again.
            unsafe { ManuallyDrop::drop(&mut self.core) }
        }
    }
}

/// `Sidekiq::AssuredJobs::Native::Queues`: what threads fetch from.
#[magnus::wrap(class = "Sidekiq::AssuredJobs::Native::Queues", free_immediately, size)]
pub struct Queues(Arc<fetch::Queues>);

impl Engine {
    /// `Engine.start(settings) → Engine`: an instance.
    pub fn start(ruby: &Ruby, hash: RHash) -> Result<Self, Error> {
        Self::build(ruby, hash, Core::start)
    }

    /// `Engine.visit(settings) → Engine`: no instance, sweeps when asked.
    pub fn visit(ruby: &Ruby, hash: RHash) -> Result<Self, Error> {
        Self::build(ruby, hash, Core::visit)
    }

    fn build(
        ruby: &Ruby,
        hash: RHash,
        begin: fn(assured_core::settings::Settings) -> io::Result<Core>,
    ) -> Result<Self, Error> {
        guarded(ruby, || {
            let core = begin(settings(ruby, hash)?).map_err(|cause| out_of_threads(ruby, &cause))?;
            Ok(Self { pid: std::process::id(), core: ManuallyDrop::new(core) })
        })
    }

    fn enter<T>(
        ruby: &Ruby,
        this: &Self,
        doing: &str,
        body: impl FnOnce(&Core) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if this.pid != std::process::id() {
            let message = format!(
                "cannot {doing}: this engine belongs to process {}, and this is its forked child {}",
                this.pid,
                std::process::id()
            );
            return Err(error(ruby, "ForkError", message));
        }
        guarded(ruby, || body(&this.core))
    }

    /// `instance_id(seconds) → String or nil`: waits until the id is claimed.
    pub fn instance_id(ruby: &Ruby, this: &Self, seconds: f64) -> Result<Option<RString>, Error> {
        Self::enter(ruby, this, "read the instance id", |core| {
            let deadline = Instant::now() + duration(seconds);
            // In short steps: the identity has no interrupt of its own.
            let id = wait(
                ruby,
                || match core.instance_id(Duration::from_millis(20)) {
                    None if Instant::now() < deadline => Wait::Interrupted,
                    id => Wait::Over(id),
                },
                || {},
            )?;
            Ok(id.map(|id| text(ruby, &id)))
        })
    }

    /// `track(jid, queue, payload) → Integer`: begins to record a job. The number ends the attempt through
    /// `release`.
    pub fn track(
        ruby: &Ruby,
        this: &Self,
        jid: RString,
        queue: RString,
        payload: RString,
    ) -> Result<Token, Error> {
        Self::enter(ruby, this, "track", |core| Ok(core.track(&bytes(jid), &bytes(queue), &bytes(payload))))
    }

    /// `track_if_assured(queue, payload) → Integer or nil`: the same, if the payload says so.
    pub fn track_if_assured(
        ruby: &Ruby,
        this: &Self,
        queue: RString,
        payload: RString,
    ) -> Result<Option<Token>, Error> {
        Self::enter(ruby, this, "track", |core| Ok(core.track_if_assured(&bytes(queue), &bytes(payload))))
    }

    /// `await_record(token) → nil`: waits until the job is recorded, or the track timeout has passed.
    pub fn await_record(ruby: &Ruby, this: &Self, token: Token) -> Result<(), Error> {
        Self::enter(ruby, this, "track", |core| {
            match core.recorded(token) {
                // Often the answer has come while Sidekiq prepared the job: the lock is kept then.
                Some(waiter) if waiter.take().is_none() => {
                    answer(ruby, &waiter, Some(core.track_timeout())).map(drop)
                }
                _ => Ok(()),
            }
        })
    }

    /// `assure_class(name, limit or nil) → nil`
    pub fn assure_class(ruby: &Ruby, this: &Self, name: RString, limit: Option<u64>) -> Result<(), Error> {
        Self::enter(ruby, this, "assure a class", |core| {
            core.assure_class(bytes(name), limit);
            Ok(())
        })
    }

    /// `release(token) → nil`
    pub fn release(ruby: &Ruby, this: &Self, token: Token) -> Result<(), Error> {
        Self::enter(ruby, this, "release", |core| {
            core.release(token);
            Ok(())
        })
    }

    /// `begin_to_fetch → nil`: makes sure that jobs can be fetched.
    pub fn begin_to_fetch(ruby: &Ruby, this: &Self) -> Result<(), Error> {
        Self::enter(ruby, this, "fetch", |core| {
            core.begin_to_fetch().map_err(|cause| out_of_threads(ruby, &cause))
        })
    }

    /// `open_queues(queues, strict) → Queues`: queue names without `queue:`, weights as repetitions.
    pub fn open_queues(ruby: &Ruby, this: &Self, queues: RArray, strict: bool) -> Result<Queues, Error> {
        Self::enter(ruby, this, "open queues", |core| {
            let names: Result<Vec<_>, Error> =
                queues.into_iter().map(|queue| RString::try_convert(queue).map(bytes)).collect();
            let opened = core.open_queues(fetch::Queues::new(names?, strict));
            opened.map(Queues).map_err(|cause| out_of_threads(ruby, &cause))
        })
    }

    /// `fetch(queues, seconds, popped) → true or false`: waits for a job, and adds its queue, its payload and its attempt
    /// or nil to an array. With an attempt, the job is in flight already. Once this returns, anything may end the thread.
    pub fn fetch(
        ruby: &Ruby,
        this: &Self,
        queues: &Queues,
        seconds: f64,
        popped: RArray,
    ) -> Result<bool, Error> {
        Self::enter(ruby, this, "fetch", |core| {
            let waiter = core.fetch(&queues.0);
            let job = match answer(ruby, &waiter, Some(duration(seconds))) {
                Ok(Some(job)) => Some(job),
                // A job that came at the very end.
                Ok(None) => waiter.abandon(),
                Err(raised) => {
                    waiter.abandon().into_iter().for_each(|job| core.return_job(job));
                    return Err(raised);
                }
            };
            let Some(job) = job else { return Ok(false) };
            let (queue, payload, attempt) = job_to_ruby(ruby, &job);
            popped.push(queue)?;
            popped.push(payload)?;
            popped.push(attempt)?;
            Ok(true)
        })
    }

    /// `pop_due(set, seconds) → [queue, payload, attempt or nil] or nil`: a job of Sidekiq's sorted set that is due.
    pub fn pop_due(
        ruby: &Ruby,
        this: &Self,
        set: RString,
        seconds: f64,
    ) -> Result<Option<(RString, RString, Option<Token>)>, Error> {
        Self::enter(ruby, this, "pop a due job", |core| {
            let waiter = core.pop_due(&bytes(set));
            let outcome = answer(ruby, &waiter, Some(duration(seconds)));
            // Nobody waits any more, if nothing has come.
            let job = match &outcome {
                Ok(Some(job)) => job.clone(),
                _ => waiter.abandon().flatten(),
            };
            match (job, outcome) {
                (Some(job), Err(raised)) => {
                    core.return_job(job);
                    Err(raised)
                }
                (job, Ok(_)) => Ok(job.map(|job| job_to_ruby(ruby, &job))),
                (None, Err(raised)) => Err(raised),
            }
        })
    }

    /// `enqueue(token, queue, payload, seconds) → true or false`: moves a due job into its queue.
    pub fn enqueue(
        ruby: &Ruby,
        this: &Self,
        token: Token,
        queue: RString,
        payload: RString,
        seconds: f64,
    ) -> Result<bool, Error> {
        Self::enter(ruby, this, "enqueue", |core| {
            let waiter = core.enqueue(token, &bytes(queue), &bytes(payload));
            Ok(answer(ruby, &waiter, Some(duration(seconds)))?.is_some())
        })
    }

    /// `find(payload) → Integer or nil`: the attempt that runs exactly this payload.
    pub fn find(ruby: &Ruby, this: &Self, payload: RString) -> Result<Option<Token>, Error> {
        Self::enter(ruby, this, "find", |core| Ok(core.find(&bytes(payload))))
    }

    /// `give_back(tokens, seconds) → true or false`: whether all of them are dealt with in time.
    pub fn give_back(ruby: &Ruby, this: &Self, tokens: Vec<Token>, seconds: f64) -> Result<bool, Error> {
        Self::enter(ruby, this, "give back", |core| {
            Ok(answer(ruby, &core.give_back(tokens), Some(duration(seconds)))?.is_some())
        })
    }

    /// `give_back_later(token) → nil`
    pub fn give_back_later(ruby: &Ruby, this: &Self, token: Token) -> Result<(), Error> {
        Self::enter(ruby, this, "give back", |core| {
            core.give_back_later(token);
            Ok(())
        })
    }

    /// `end_unacknowledged(token, as_retry) → nil`
    pub fn end_unacknowledged(ruby: &Ruby, this: &Self, token: Token, as_retry: bool) -> Result<(), Error> {
        Self::enter(ruby, this, "end an attempt", |core| {
            core.end_unacknowledged(token, as_retry);
            Ok(())
        })
    }

    /// `lost?(token) → true or false`: whether the job of a running attempt was given to somebody else.
    pub fn is_lost(ruby: &Ruby, this: &Self, token: Token) -> Result<bool, Error> {
        Self::enter(ruby, this, "look at an attempt", |core| Ok(core.is_lost(token)))
    }

    /// `check_up(seconds) → true or false`: whether Redis said in time what this process has lost.
    pub fn check_up(ruby: &Ruby, this: &Self, seconds: f64) -> Result<bool, Error> {
        Self::enter(ruby, this, "look at an attempt", |core| {
            Ok(answer(ruby, &core.check_up(), Some(duration(seconds)))?.is_some())
        })
    }

    /// `flush(seconds) → true or false`: whether Redis has everything in time.
    pub fn flush(ruby: &Ruby, this: &Self, seconds: f64) -> Result<bool, Error> {
        Self::enter(ruby, this, "flush", |core| {
            Ok(answer(ruby, &core.flush(), Some(duration(seconds)))?.is_some())
        })
    }

    /// `sweep → [recovered, stuck]`: one sweep with one look.
    pub fn sweep(ruby: &Ruby, this: &Self) -> Result<(u64, u64), Error> {
        Self::enter(ruby, this, "sweep", |core| match answer(ruby, &core.sweep(), None)? {
            Some(Ok(report)) => Ok((report.recovered, report.stuck)),
            Some(Err(message)) => Err(error(ruby, "ConnectionError", message)),
            None => Err(error(ruby, "Error", "the sweep was not answered")),
        })
    }

    /// `next_events → Array or nil`: waits for events; nil when the engine has stopped. An event is
    /// `[:log, severity, message]`, `[:notices, [{…}, …]]`, `[:deaths]` or `[:dropped, count]`.
    pub fn next_events(ruby: &Ruby, this: &Self) -> Result<Option<RArray>, Error> {
        Self::enter(ruby, this, "read events", |core| {
            let events = wait(
                ruby,
                || match core.events().next_batch(None) {
                    Woken::Answered(events) => Wait::Over(events),
                    Woken::TimedOut | Woken::Interrupted => Wait::Interrupted,
                },
                || core.events().interrupt(),
            )?;
            if events.is_empty() {
                return Ok(None);
            }
            let array = ruby.ary_new_capa(events.len());
            for event in events {
                array.push(event_to_ruby(ruby, event)?)?;
            }
            Ok(Some(array))
        })
    }

    /// `next_password_question → Integer or nil`: waits until a password is needed anew, and returns its number;
    /// nil when the engine has stopped.
    pub fn next_password_question(ruby: &Ruby, this: &Self) -> Result<Option<usize>, Error> {
        Self::enter(ruby, this, "read questions", |core| {
            wait(
                ruby,
                || match core.passwords().next_question() {
                    Woken::Answered(number) => Wait::Over(number),
                    Woken::TimedOut | Woken::Interrupted => Wait::Interrupted,
                },
                || core.passwords().interrupt(),
            )
        })
    }

    /// `answer_password(number, password or nil) → nil`: nil where there is none to be had.
    pub fn answer_password(
        ruby: &Ruby,
        this: &Self,
        number: usize,
        password: Option<RString>,
    ) -> Result<(), Error> {
        Self::enter(ruby, this, "answer", |core| {
            core.passwords().answer(number, password.map(bytes));
            Ok(())
        })
    }

    /// `in_flight → Integer`
    pub fn in_flight(ruby: &Ruby, this: &Self) -> Result<usize, Error> {
        Self::enter(ruby, this, "count", |core| Ok(core.in_flight()))
    }

    /// `stop(seconds) → Integer or nil`: ends the engine; how many records it leaves behind, or nil when Redis
    /// did not answer.
    pub fn stop(ruby: &Ruby, this: &Self, seconds: f64) -> Result<Option<u64>, Error> {
        Self::enter(ruby, this, "stop", |core| {
            // Bounded by its own limit: at this point nobody is left who would interrupt it.
            wait(ruby, || Wait::Over(core.stop(duration(seconds))), || {})
        })
    }
}

fn out_of_threads(ruby: &Ruby, cause: &io::Error) -> Error {
    error(ruby, "OutOfThreads", format!("the operating system gives no more threads: {cause}"))
}

/// Waits for an answer; `None` when the limit has passed.
fn answer<T: Send>(
    ruby: &Ruby,
    waiter: &Arc<Waiter<T>>,
    limit: Option<Duration>,
) -> Result<Option<T>, Error> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    wait(
        ruby,
        || match waiter.wait(deadline) {
            Woken::Answered(answer) => Wait::Over(Some(answer)),
            Woken::TimedOut => Wait::Over(None),
            Woken::Interrupted => Wait::Interrupted,
        },
        || waiter.interrupt(),
    )
}

fn job_to_ruby(ruby: &Ruby, job: &fetch::Job) -> (RString, RString, Option<Token>) {
    (text(ruby, &job.queue), text(ruby, &job.payload), job.attempt)
}

fn event_to_ruby(ruby: &Ruby, event: Event) -> Result<Value, Error> {
    let array = ruby.ary_new();
    match event {
        Event::Log(level, message) => {
            array.push(ruby.to_symbol("log"))?;
            array.push(ruby.to_symbol(match level {
                Level::Debug => "debug",
                Level::Info => "info",
                Level::Warn => "warn",
                Level::Error => "error",
            }))?;
            array.push(message)?;
        }
        Event::Notices(notices) => {
            let list = ruby.ary_new_capa(notices.len());
            for notice in notices {
                list.push(notice_to_ruby(ruby, &notice)?)?;
            }
            array.push(ruby.to_symbol("notices"))?;
            array.push(list)?;
        }
        Event::Deaths => array.push(ruby.to_symbol("deaths"))?,
        Event::Dropped(count) => {
            array.push(ruby.to_symbol("dropped"))?;
            array.push(count)?;
        }
    }
    Ok(array.as_value())
}

/// The keywords of `Sidekiq::AssuredJobs::Event.new`.
fn notice_to_ruby(ruby: &Ruby, notice: &Notice) -> Result<RHash, Error> {
    let hash = ruby.hash_new();
    hash.aset(ruby.to_symbol("name"), ruby.to_symbol(notice.kind.name()))?;
    hash.aset(ruby.to_symbol("instance_id"), text(ruby, &notice.instance))?;
    hash.aset(ruby.to_symbol("seconds_since_beat"), notice.silent.map(|silent| silent.as_secs_f64()))?;
    hash.aset(ruby.to_symbol("reason"), notice.reason.as_deref())?;
    if let Some(job) = &notice.job {
        hash.aset(ruby.to_symbol("job_class"), job.class.as_deref())?;
        hash.aset(ruby.to_symbol("jid"), job.jid.as_deref())?;
        hash.aset(ruby.to_symbol("queue"), job.queue.as_deref())?;
        hash.aset(ruby.to_symbol("attempt"), job.recoveries.saturating_add(1))?;
    }
    Ok(hash)
}

fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
