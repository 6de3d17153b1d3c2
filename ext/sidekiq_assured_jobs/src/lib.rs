//! The border between the engine and Ruby: the only crate that knows magnus. It converts arguments, waits
//! without the interpreter's lock, and turns errors and panics into Ruby exceptions. No decisions here.

#![allow(missing_docs, reason = "the init macro exports a C function without documentation")]

mod engine;
mod error;
mod gvl;
mod settings;
mod strings;
mod visitor;

use magnus::{Class, Error, Module, Object, RModule, Ruby, function, method};

/// Ruby's way in. Ruby method → Rust function.
#[magnus::init(name = "sidekiq_assured_jobs")]
fn init(ruby: &Ruby) -> Result<(), Error> {
    let native = native(ruby)?;

    let engine = native.define_class("Engine", ruby.class_object())?;
    engine.undef_default_alloc_func();
    engine.define_singleton_method("start", function!(engine::Engine::start, 1))?;
    engine.define_singleton_method("visit", function!(engine::Engine::visit, 1))?;
    engine.define_method("instance_id", method!(engine::Engine::instance_id, 1))?;
    engine.define_method("track", method!(engine::Engine::track, 3))?;
    engine.define_method("track_if_assured", method!(engine::Engine::track_if_assured, 2))?;
    engine.define_method("await_record", method!(engine::Engine::await_record, 1))?;
    engine.define_method("begin_to_fetch", method!(engine::Engine::begin_to_fetch, 0))?;
    engine.define_method("open_queues", method!(engine::Engine::open_queues, 2))?;
    engine.define_method("fetch", method!(engine::Engine::fetch, 3))?;
    engine.define_method("pop_due", method!(engine::Engine::pop_due, 2))?;
    engine.define_method("enqueue", method!(engine::Engine::enqueue, 4))?;
    engine.define_method("assure_class", method!(engine::Engine::assure_class, 2))?;
    engine.define_method("lost?", method!(engine::Engine::is_lost, 1))?;
    engine.define_method("check_up", method!(engine::Engine::check_up, 1))?;
    engine.define_method("release", method!(engine::Engine::release, 1))?;
    engine.define_method("find", method!(engine::Engine::find, 1))?;
    engine.define_method("give_back", method!(engine::Engine::give_back, 2))?;
    engine.define_method("end_unacknowledged", method!(engine::Engine::end_unacknowledged, 2))?;
    engine.define_method("give_back_later", method!(engine::Engine::give_back_later, 1))?;
    engine.define_method("flush", method!(engine::Engine::flush, 1))?;
    engine.define_method("sweep", method!(engine::Engine::sweep, 0))?;
    engine.define_method("next_events", method!(engine::Engine::next_events, 0))?;
    engine.define_method("next_password_question", method!(engine::Engine::next_password_question, 0))?;
    engine.define_method("answer_password", method!(engine::Engine::answer_password, 2))?;
    engine.define_method("in_flight", method!(engine::Engine::in_flight, 0))?;
    engine.define_method("stop", method!(engine::Engine::stop, 1))?;

    native.define_class("Queues", ruby.class_object())?.undef_default_alloc_func();

    native.define_module_function("instances", function!(visitor::instances, 1))?;
    native.define_module_function("records", function!(visitor::records, 2))?;
    native.define_module_function("stats", function!(visitor::stats, 1))?;
    native.define_module_function("count", function!(visitor::count, 3))?;
    Ok(())
}

/// `Sidekiq::AssuredJobs::Native`
fn native(ruby: &Ruby) -> Result<RModule, Error> {
    ruby.define_module("Sidekiq")?.define_module("AssuredJobs")?.define_module("Native")
}
