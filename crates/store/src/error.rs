//! What can go wrong with the store, in words for the person who must fix it.
//!
//! Every public call of [`super::Store`] returns [`StoreError`] and fills in the path of the file.
//! The error is clonable, because one failed COMMIT answers many writers. It contains no row
//! content.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A failed read or write of the store.
#[derive(Debug, Clone)]
pub struct StoreError {
    kind: StoreErrorKind,
    path: Option<Arc<Path>>,
    source: Option<Arc<sqlx::Error>>,
}

/// The kinds that a caller may distinguish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// Another process held a lock for longer than [`super::OpenOptions::busy_timeout`].
    Locked,
    /// The disk is full.
    DiskFull,
    /// The file or its directory cannot be written.
    ReadOnly,
    /// The file is not a store of afk.
    NotOurs,
    /// The database file is damaged.
    Corrupt,
    /// The file cannot be opened or created, and why.
    CannotOpen(String),
    /// No backup was made: the name of its file, and why.
    NotCopied(String),
    /// The file was written by a newer binary.
    NewerSchema {
        /// The version in the file.
        found: i64,
        /// The newest version that this binary knows.
        known: i64,
    },
    /// The schema is not brought up to date, because an older binary works the store: the owner
    /// of its lease.
    InUse(String),
    /// A migration in the file is not the one that this binary has, and which.
    ForeignSchema(String),
    /// The store was closed, or this write panicked; nothing was written.
    Closed,
    /// The store does not have this object.
    NotFound(String),
    /// A commit would have made the run with this id live again, although it was settled.
    Finished(String),
    /// The store has a switch of this name, which this binary does not know. It counts as a halt.
    UnknownSwitch(String),
    /// Content in the store, or content to be written, is malformed.
    Malformed {
        /// What the content is.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// The disk or the file system failed.
    Io,
    /// The database refused the statement for another reason.
    Query,
}

impl StoreError {
    /// Returns the kind of the failure.
    pub fn kind(&self) -> &StoreErrorKind {
        &self.kind
    }

    pub(crate) fn new(kind: StoreErrorKind) -> Self {
        Self { kind, path: None, source: None }
    }

    pub(crate) fn not_found(what: impl fmt::Display) -> Self {
        Self::new(StoreErrorKind::NotFound(what.to_string()))
    }

    pub(crate) fn malformed(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(StoreErrorKind::Malformed { what: what.to_string(), why: why.to_string() })
    }

    /// Adds the file's name, if it has none yet.
    pub(crate) fn at(mut self, path: &Arc<Path>) -> Self {
        self.path.get_or_insert_with(|| Arc::clone(path));
        self
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            Some(path) => write!(f, "the store {} ", path.display())?,
            None => f.write_str("the store ")?,
        }
        match &self.kind {
            StoreErrorKind::Locked => f.write_str(
                "is locked: another process held its write lock too long; \
                 see who has it open and try again",
            ),
            StoreErrorKind::DiskFull => {
                f.write_str("cannot grow: the disk is full; free some space and try again")
            }
            StoreErrorKind::ReadOnly => f.write_str(
                "cannot be written: the file, its folder or the file system is read-only \
                 for this user; correct the permissions or choose another path",
            ),
            StoreErrorKind::NotOurs => f.write_str(
                "is not a store of afk: it is another program's file; it was left as it is, \
                 choose another path",
            ),
            StoreErrorKind::Corrupt => f.write_str(
                "is damaged: the database file is malformed; stop every process that uses it and \
                 restore a backup",
            ),
            StoreErrorKind::CannotOpen(why) => write!(f, "cannot be opened: {why}"),
            StoreErrorKind::NotCopied(why) => write!(f, "was not copied to {why}"),
            StoreErrorKind::NewerSchema { found, known } => write!(
                f,
                "was written by a newer afk (schema {found}, this binary knows up to {known}); \
                 run the newer binary or restore a backup made before it"
            ),
            StoreErrorKind::InUse(owner) => write!(
                f,
                "is in use by an older afk ({owner}): stop that one first; the next command of \
                 this binary then brings the store up to date"
            ),
            StoreErrorKind::ForeignSchema(why) => write!(
                f,
                "has a schema that this binary does not know ({why}); run the binary that made it"
            ),
            StoreErrorKind::Closed => f.write_str("is closed: the write was not done"),
            StoreErrorKind::NotFound(what) => write!(f, "has no {what}"),
            StoreErrorKind::Finished(run) => {
                write!(f, "does not make run {run} live again: it has ended")
            }
            StoreErrorKind::UnknownSwitch(name) => write!(
                f,
                "has the switch {name:?}, which this binary does not know: upgrade it, or lift \
                 the switch with the binary that threw it"
            ),
            StoreErrorKind::Malformed { what, why } => write!(f, "refuses {what}: {why}"),
            StoreErrorKind::Io => f.write_str("cannot be read or written: the disk failed"),
            StoreErrorKind::Query => f.write_str("could not run a statement"),
        }?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

// The cause is part of the message already: as `source`, too, it would be printed twice.
impl std::error::Error for StoreError {}

impl From<sqlx::Error> for StoreError {
    fn from(source: sqlx::Error) -> Self {
        let kind = classify(&source);
        Self { kind, path: None, source: Some(Arc::new(source)) }
    }
}

/// The extended result code `SQLITE_IOERR_SHMSIZE`.
const IOERR_SHMSIZE: u32 = 4874;

/// The kind of a database error, by its result code. The codes are those of
/// <https://www.sqlite.org/rescode.html>; the low byte of an extended code is the primary one.
fn classify(error: &sqlx::Error) -> StoreErrorKind {
    if matches!(error, sqlx::Error::PoolTimedOut) {
        return StoreErrorKind::Locked;
    }
    if matches!(error, sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed) {
        return StoreErrorKind::Closed;
    }
    let code = error.as_database_error().and_then(|e| e.code().and_then(|c| c.parse::<u32>().ok()));
    // The one I/O error that means a full disk: the shared-memory index of the WAL cannot grow.
    if code == Some(IOERR_SHMSIZE) {
        return StoreErrorKind::DiskFull;
    }
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => StoreErrorKind::Locked,
        Some(8) => StoreErrorKind::ReadOnly,
        Some(10) => StoreErrorKind::Io,
        Some(11) => StoreErrorKind::Corrupt,
        Some(13) => StoreErrorKind::DiskFull,
        Some(14) => StoreErrorKind::CannotOpen("the file cannot be opened".to_owned()),
        Some(26) => StoreErrorKind::NotOurs,
        Some(_) | None => StoreErrorKind::Query,
    }
}
