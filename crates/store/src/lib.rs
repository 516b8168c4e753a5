//! The store: one SQLite file that holds runs, their journal, the outbox, leases,
//! switches, the spend ledger, remembered results and the local tracker.
//!
//! All writes of a process go through one group-commit writer ([`writer`]), so that many runs share
//! one flush of the disk; a write is acknowledged only after the COMMIT, with `synchronous = FULL`.
//! Other processes (ticks, the command line) write the same file, so every decision is made inside
//! its write transaction, never before it.
//!
//! [`Store`] implements the engine's store port ([`port`]). The command line uses the same trait,
//! and a few methods besides it. Time is always a parameter. Records, doorbells and requests are
//! JSON documents in their rows; money is in micro-dollars, times are in microseconds since 1970.

mod admit;
mod backup;
mod beat;
mod comments;
mod error;
mod freezes;
mod holds;
mod issues;
mod journal;
mod leases;
mod ledger;
pub mod local_tracker;
mod memo;
mod open;
mod outbox;
mod port;
mod presence;
mod requests;
mod runs;
mod switches;
mod tracker_port;
mod writer;

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::{SqliteConnection, SqlitePool};

pub use error::{StoreError, StoreErrorKind};
pub(crate) use issues::{IssueEdit, IssueFilter};
pub use journal::{JournalFault, JournalReport};
pub use leases::LeaseHolder;
pub use open::OpenOptions;
pub use outbox::GivenUp;
pub use tracker_port::TrackerPort;

/// Maximum size of one JSON document, in bytes.
const MAX_DOCUMENT: usize = 16 * 1024 * 1024;

/// An open store. Clones share the same connections.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: Arc<Path>,
    writer: writer::Writer,
    readers: SqlitePool,
    /// See [`OpenOptions::is_dead`].
    is_dead: fn(&str) -> bool,
}

impl Store {
    /// Opens the store at `path`, creating it (mode 0600) and its schema if necessary.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        OpenOptions::default().open(path).await
    }

    /// Returns the path of the store's file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Finishes the queued writes, then closes every connection. Later writes are refused.
    pub async fn close(&self) {
        // The writer last: the last connection to close folds the WAL into the file, which a
        // read-only connection cannot do.
        self.inner.readers.close().await;
        self.inner.writer.close().await;
    }

    /// Runs `work` in a write transaction and returns its result once it is durable. An error
    /// undoes what `work` wrote, and nothing else in the transaction. The work is done even if the
    /// caller stops waiting.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>>
            + Send
            + 'static,
    {
        self.inner.writer.write(work).await.map_err(|e| e.at(&self.inner.path))
    }

    /// The read-only connections.
    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.inner.readers
    }

    /// The error of a failed read, with the name of the file.
    pub(crate) fn fault(&self, error: impl Into<StoreError>) -> StoreError {
        error.into().at(&self.inner.path)
    }
}

/// `value` as a JSON document; an error if it is larger than [`MAX_DOCUMENT`].
fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    let text = serde_json::to_string(value).map_err(|e| StoreError::malformed("a document", e))?;
    if text.len() > MAX_DOCUMENT {
        let why = format!("{} bytes, more than the {MAX_DOCUMENT} allowed", text.len());
        return Err(StoreError::malformed("a document", why));
    }
    Ok(text)
}

/// The value of a stored JSON document; `what` names it in the error.
fn from_json<T: DeserializeOwned>(what: impl Display, text: &str) -> Result<T, StoreError> {
    // serde_json's message may quote the text, so only the position is reported.
    serde_json::from_str(text).map_err(|e| {
        let why = format!("not of the expected shape (line {}, column {})", e.line(), e.column());
        StoreError::malformed(what, why)
    })
}

fn micros(at: Timestamp) -> i64 {
    at.as_microsecond()
}

fn from_micros(what: &str, micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(|e| StoreError::malformed(what, e))
}

/// `n` as SQLite stores it. A number that does not fit is stored as the largest one.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn parse<T>(what: &str, text: &str) -> Result<T, StoreError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e: T::Err| StoreError::malformed(what, e))
}
