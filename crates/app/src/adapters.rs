//! What a front end uses of the adapters by name: the local tracker, whose issues people write
//! here, and what is looked for on this machine when a configuration is written.
//!
//! Front ends depend on this crate alone, so that nothing else is needed to add another.

pub use afk_local::ask::{ask, on_path};
pub use afk_local::git::RemoteUrl;
pub use afk_local::owner::Holder;
pub use afk_local::{
    Claude, PublicKey, Transcripts, envelope_beside, find_claude, statement_beside,
};
pub use afk_store::local_tracker::{LocalTracker, TrackerError, check_label};
