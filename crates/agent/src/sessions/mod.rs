//! Event logs that clients attach to: numbered, kept on disk, replayed and tailed.
//!
//! A session is whatever produces events that people or programs want to watch, leave and come back
//! to: a conversation, a job's output, a transcript. Its events are lines of one file, numbered
//! from 0 by their position. Readers read that file, never a channel, so that any number of readers
//! see the same events in the same order, no event is lost or repeated, and a slow reader costs
//! nothing.
//!
//! [`EventLog`] is one log with its only writer, [`EventReader`] one reader, [`LogStore`] a folder
//! of logs within bounds. What the events mean is the caller's business.

mod log;
mod marks;
mod reader;
mod resume;
mod store;

pub use log::{Durability, EventLog, Head, LogError, LogLimits};
pub use reader::{EventReader, LogEvent};
pub use resume::first_after;
pub use store::{LogStore, StoreLimits};
