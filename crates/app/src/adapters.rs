//! The items of the adapter crates that front ends use: the local tracker, and what looks for
//! programs and repositories on this machine when a configuration is written.
//!
//! Re-exported here, so that a new front end needs none of the adapter crates.

pub use afk_local::ask::{ask, on_path};
pub use afk_local::git::{OLDEST_GIT, RemoteUrl};
pub use afk_local::owner::Holder;
pub use afk_local::{
    Claude, PublicKey, Transcripts, envelope_beside, find_claude, statement_beside,
};
pub use afk_store::local_tracker::{LocalTracker, TrackerError, check_label};
