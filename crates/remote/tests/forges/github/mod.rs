//! GitHub.

mod answers;
mod app;
mod branches;
mod checks;
mod emulated;
mod known_faults;
mod scale;
mod trust;
mod webhooks;
