//! Items of the adapter crates that front ends name: the local tracker, whose issues people write
//! through them, and the look-ups on this machine that `afk init` and `afk enroll` make.
//!
//! Re-exported here, so that a new front end needs none of the adapter crates.

pub use afk_local::ask::{ask, on_path};
pub use afk_local::git::RemoteUrl;
pub use afk_local::owner::Holder;
pub use afk_local::{
    Claude, PublicKey, Transcripts, envelope_beside, find_claude, statement_beside,
};
pub use afk_store::local_tracker::{LocalTracker, TrackerError, check_label};
