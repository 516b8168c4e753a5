//! GitHub.

mod answers;
mod app;
mod known_faults;
mod scale;
mod trust;
