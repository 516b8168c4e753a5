//! Opens the file: checks that it is a store of afk, migrates its schema, fixes its permissions.
//!
//! Called by [`super::Store::open`]. A foreign file is refused before a byte of it is written. A
//! lock on a file beside the store keeps the migrations of several starting processes apart. A
//! process of an older binary that works the store would write on under a schema that it does not
//! know: while one may be alive, nothing is migrated.

use std::fs::{File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use afk_core::ids::At;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqliteConnection};

use super::error::{StoreError, StoreErrorKind};
use super::leases::latest_end;
use super::writer::Writer;
use super::{Inner, Store, micros};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// "afk1", the application id in the header of the file, which identifies a store of afk.
const APPLICATION_ID: i64 = 0x6166_6b31;

/// How long a lease lasts that only a process at work holds.
const AT_WORK: Duration = Duration::from_secs(30);

/// Options for opening a store.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// How long to wait for the locks of other processes; 10 s by default.
    pub busy_timeout: Duration,
    /// Number of read-only connections; 4 by default.
    pub readers: u32,
    /// Returns whether the lease owner of this name is a process that is certainly dead, so that
    /// nobody has to wait for its lease to expire. By default no owner is.
    pub is_dead: fn(&str) -> bool,
    /// The time now, which tells whether the leases of an older binary have expired. By default it
    /// is not known, and none has.
    pub now: Option<At>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(10), readers: 4, is_dead: |_| false, now: None }
    }
}

impl OpenOptions {
    /// Opens the store at `path` with these options, creating it (mode 0600) and its schema if
    /// necessary.
    pub async fn open(&self, path: &Path) -> Result<Store, StoreError> {
        let path: Arc<Path> = path.into();
        self.open_at(&path).await.map_err(|e| e.at(&path))
    }

    async fn open_at(&self, path: &Arc<Path>) -> Result<Store, StoreError> {
        match create_private(path) {
            Ok(()) => {}
            Err(Exists::Yes) => check_file(path)?,
            Err(Exists::No(error)) => return Err(error),
        }
        let _lock = lock_beside(path, self.busy_timeout).await?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .foreign_keys(true)
            .busy_timeout(self.busy_timeout)
            .synchronous(SqliteSynchronous::Full)
            .pragma("recursive_triggers", "ON");
        // WAL is a permanent change of the file: only once it is known to be ours.
        let mut first = SqliteConnection::connect_with(&options).await?;
        let checked = check_ownership(&mut first).await;
        first.close().await?;
        checked?;
        keep_private(path)?;

        let options = options.journal_mode(SqliteJournalMode::Wal);
        let mut writer = SqliteConnection::connect_with(&options).await?;
        self.migrate(&mut writer).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(self.readers.max(1))
            .acquire_timeout(self.busy_timeout)
            .connect_with(options.read_only(true))
            .await?;
        let writer = Writer::start(writer);
        let (path, is_dead) = (Arc::clone(path), self.is_dead);
        Ok(Store { inner: Arc::new(Inner { path, writer, readers, is_dead }) })
    }

    /// Brings the schema up to date, if it is not newer than this binary, and if no older binary
    /// works the store.
    async fn migrate(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let known = MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0);
        if let Some(found) = newest_migration(connection).await? {
            if found > known {
                return Err(StoreError::new(StoreErrorKind::NewerSchema { found, known }));
            }
            if found < known
                && let Some(owner) = self.at_work(connection).await?
            {
                return Err(StoreError::new(StoreErrorKind::InUse(owner)));
            }
        }
        let id: i64 =
            sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await?;
        if id != APPLICATION_ID {
            // Before the migrations, so that a crash between the two leaves a file that is known.
            sqlx::query("PRAGMA application_id = 0x61666b31").execute(&mut *connection).await?;
        }
        MIGRATIONS.run(connection).await.map_err(|error| match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => StoreError::new(StoreErrorKind::ForeignSchema(other.to_string())),
        })
    }

    /// The owner of a lease that only a process at work holds, unless that process is dead. Other
    /// leases, such as that of housekeeping, outlive the process that took them.
    async fn at_work(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<String>, StoreError> {
        // A lease that was released ends in 1970.
        let held =
            self.now.map_or((0, i64::MAX), |now| (micros(now), micros(latest_end(now, AT_WORK))));
        let owners: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT owner FROM leases WHERE (key = 'serve' OR key LIKE 'run:%') \
             AND until > ? AND until <= ? ORDER BY owner",
        )
        .bind(held.0)
        .bind(held.1)
        .fetch_all(connection)
        .await?;
        Ok(owners.into_iter().find(|owner| !(self.is_dead)(owner)))
    }
}

/// Why [`create_private`] created no file.
pub(super) enum Exists {
    /// Because it exists.
    Yes,
    /// Because of this error.
    No(StoreError),
}

impl From<Exists> for StoreError {
    fn from(exists: Exists) -> Self {
        match exists {
            Exists::Yes => cannot_open("there is a file of that name already"),
            Exists::No(error) => error,
        }
    }
}

/// Creates an empty file that only its owner can read. Never opens an existing file: closing that
/// again would drop the locks that SQLite holds on it in this process.
pub(super) fn create_private(path: &Path) -> Result<(), Exists> {
    let made = File::options().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Exists::Yes),
        Err(error) => Err(Exists::No(io_fault(&error).at(&path.into()))),
    }
}

fn check_file(path: &Path) -> Result<(), StoreError> {
    let metadata = std::fs::metadata(path).map_err(|e| io_fault(&e))?;
    if metadata.is_file() { Ok(()) } else { Err(cannot_open("it is not a regular file")) }
}

/// Removes other users' permissions from the file.
fn keep_private(path: &Path) -> Result<(), StoreError> {
    let metadata = std::fs::metadata(path).map_err(|e| io_fault(&e))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|e| io_fault(&e))?;
    }
    Ok(())
}

pub(super) fn cannot_open(why: &str) -> StoreError {
    StoreError::new(StoreErrorKind::CannotOpen(why.to_owned()))
}

pub(super) fn io_fault(error: &io::Error) -> StoreError {
    StoreError::new(match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::DiskFull,
        io::ErrorKind::NotFound => {
            StoreErrorKind::CannotOpen("its folder does not exist; create it first".to_owned())
        }
        _ => StoreErrorKind::CannotOpen(error.to_string()),
    })
}

/// Locks the file `<path>.lock`; the lock is held while the schema is checked and changed.
async fn lock_beside(path: &Path, patience: Duration) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(PathBuf::from(name))
        .map_err(|e| io_fault(&e))?;
    let wait = async {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(TryLockError::Error(error)) => return Err(io_fault(&error)),
            }
        }
    };
    tokio::time::timeout(patience, wait)
        .await
        .map_err(|_| StoreError::new(StoreErrorKind::Locked))??;
    Ok(file)
}

/// Refuses a database that is neither a store of afk nor empty.
async fn check_ownership(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let id: i64 = sqlx::query_scalar("PRAGMA application_id").fetch_one(&mut *connection).await?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await?;
    if id == APPLICATION_ID || (id == 0 && tables == 0) {
        Ok(())
    } else {
        Err(StoreError::new(StoreErrorKind::NotOurs))
    }
}

/// The version of the newest migration that the file has had; none if it has had none.
async fn newest_migration(connection: &mut SqliteConnection) -> Result<Option<i64>, StoreError> {
    let has_table: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = '_sqlx_migrations'",
    )
    .fetch_one(&mut *connection)
    .await?;
    if has_table == 0 {
        return Ok(None);
    }
    let newest = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations");
    Ok(newest.fetch_one(connection).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_in_the_pragma_is_the_constant() {
        assert_eq!(APPLICATION_ID, i64::from(u32::from_be_bytes(*b"afk1")));
    }

    #[tokio::test]
    async fn the_writer_flushes_every_commit() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("afk.db")).await.unwrap();
        let settings = store
            .write(|tx| {
                Box::pin(async move {
                    let mode: String =
                        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *tx).await?;
                    let synchronous: i64 =
                        sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *tx).await?;
                    let keys: i64 =
                        sqlx::query_scalar("PRAGMA foreign_keys").fetch_one(&mut *tx).await?;
                    Ok((mode, synchronous, keys))
                })
            })
            .await
            .unwrap();
        // 2 is FULL.
        assert_eq!(settings, ("wal".to_owned(), 2, 1));
    }
}
