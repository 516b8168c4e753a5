//! Stories of the loop in the simulated world, one module a subject: what it does with an issue,
//! with people's words, with trouble of every kind, and after a crash at every call.
//!
//! One binary, because each one has to link the whole engine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

mod again;
mod asks;
mod base;
mod cancel;
mod comments;
mod crash;
mod driver;
mod ends;
mod far;
mod fetch;
mod fleet;
mod freeze;
mod gates;
mod halt;
mod housekeeping;
mod impeded;
mod look_again;
mod people;
mod polled;
mod predecessor;
mod pulls;
mod push;
mod rails;
mod red;
mod remote;
mod replay;
mod retry;
mod success;
mod tested;
mod trouble;
mod workflow;
