//! Seeded exploration of the whole loop: one `u64` gives a world, people, faults, crashes and an
//! interleaving, and the [`judge`] checks its invariants after every step.
//!
//! It runs on one thread and has no clock but the world's: the same seed gives the same calls. A
//! [`scenario::Scenario`] is data, so that a failing one can be reduced.

mod draw;
mod judge;
mod people;
mod rng;
mod run;
pub mod scenario;
pub mod scripts;
mod shrink;
mod truth;

pub use run::{Hooked, Report, run, run_bad};
pub use scenario::Scenario;
pub use shrink::shrink;

/// Runs the scenario of one seed.
pub fn explore(seed: u64) -> Report {
    run(&Scenario::new(seed))
}
