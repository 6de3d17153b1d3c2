//! Waiting without the interpreter's lock. The only unsafe code of this crate.

use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use magnus::{Error, Ruby};

/// How a wait ended, seen from Ruby.
pub enum Wait<T> {
    /// It is over.
    Over(T),
    /// Ruby wants the thread: an exception, a signal, or nothing at all.
    Interrupted,
}

/// Waits by calling `wait` without the lock, again and again until it is over. Meanwhile Ruby may call
/// `interrupt` from another thread, which must make `wait` return at once.
///
/// # Errors
/// The exception that Ruby raised in this thread while it waited.
pub fn wait<T>(ruby: &Ruby, wait: impl Fn() -> Wait<T>, interrupt: impl Fn()) -> Result<T, Error> {
    loop {
        match without_gvl(&wait, &interrupt) {
            Some(Wait::Over(outcome)) => return Ok(outcome),
            Some(Wait::Interrupted) | None => ruby.thread_check_ints()?,
        }
    }
}

struct Call<'a, F, R> {
    work: &'a F,
    outcome: Option<Result<R, Box<dyn Any + Send>>>,
}

/// `None`: an interrupt was pending, `work` did not run.
///
/// `rb_nogvl` with `RB_NOGVL_INTR_FAIL` and not `rb_thread_call_without_gvl`: that one raises pending
/// exceptions itself, by a longjmp over Rust frames, whose locals are then never dropped.
fn without_gvl<F, R, U>(work: &F, unblock: &U) -> Option<R>
where
    F: Fn() -> R,
    U: Fn(),
{
    let mut call = Call { work, outcome: None };
    // SAFETY: `call` and `unblock` outlive the call, and both trampolines get the types they expect.
    unsafe {
        rb_sys::rb_nogvl(
            Some(run::<F, R>),
            (&raw mut call).cast::<c_void>(),
            Some(interrupt::<U>),
            std::ptr::from_ref(unblock).cast_mut().cast::<c_void>(),
            rb_sys::RB_NOGVL_INTR_FAIL as i32,
        );
    }
    // The lock is held again: a panic may go on from here, where the border catches it.
    call.outcome.map(|outcome| outcome.unwrap_or_else(|panic| resume_unwind(panic)))
}

unsafe extern "C" fn run<F, R>(call: *mut c_void) -> *mut c_void
where
    F: Fn() -> R,
{
    // SAFETY: the pointer is the `Call` of `without_gvl`, which waits for this function.
    let call = unsafe { &mut *call.cast::<Call<'_, F, R>>() };
    // A panic in an `extern "C"` function would abort the process.
    call.outcome = Some(catch_unwind(AssertUnwindSafe(call.work)));
    std::ptr::null_mut()
}

unsafe extern "C" fn interrupt<U: Fn()>(unblock: *mut c_void) {
    // SAFETY: the pointer is the `unblock` of `without_gvl`, which outlives the wait.
    let unblock = unsafe { &*unblock.cast::<U>() };
    let _ = catch_unwind(AssertUnwindSafe(unblock));
}
