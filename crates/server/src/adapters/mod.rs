//! The ports of the engine, made real on one machine.
//!
//! Each adapter knows its port and [`world`], and none knows another but for the
//! folders and boxes that they share.

mod archive;
mod boxes;
mod clock;
mod executor;
pub mod git;
mod git_port;
mod git_words;
mod invocations;
mod jobs;
pub mod local_tracker;
mod notify;
pub mod owner;
pub(crate) mod settings;
mod sign_in;
pub mod store_port;
mod tracker_port;
mod transcripts;
mod world;

pub use archive::FileArchive;
pub(crate) use boxes::{Cache, boxed};
pub use clock::{FreshIds, SystemClock};
pub use executor::LocalExecutor;
pub use git_port::LocalGit;
pub use invocations::find_claude;
pub(crate) use invocations::secret;
pub use jobs::LocalJobs;
pub use notify::Bells;
pub(crate) use notify::shown_by;
pub use settings::FileSettings;
pub use tracker_port::TrackerPort;
pub use transcripts::Transcripts;
pub use world::Local;
