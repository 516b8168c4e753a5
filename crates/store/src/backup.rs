//! Copies the store while others write to it.
//!
//! SQLite makes the copy from one snapshot, so it is consistent whatever is committed meanwhile. It
//! is written to a temporary file, checked, flushed, and renamed into place.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};

use super::error::{StoreError, StoreErrorKind};
use super::{OpenOptions, Store};

impl Store {
    /// Writes a consistent copy to `target`, readable only by its owner, and returns its size in
    /// bytes. An existing file is replaced only with `overwrite`, and files of the store itself
    /// never are.
    pub async fn backup(&self, target: &Path, overwrite: bool) -> Result<u64, StoreError> {
        self.copy_to(target, overwrite).await.map_err(|error| self.fault(error))
    }

    async fn copy_to(&self, target: &Path, overwrite: bool) -> Result<u64, StoreError> {
        let failed = |why: &dyn fmt::Display| {
            StoreError::new(StoreErrorKind::NotCopied(format!("{}: {why}", target.display())))
        };
        let io_failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => failed(&"its folder does not exist; create it first"),
            io::ErrorKind::AlreadyExists if target.is_dir() => {
                failed(&"that is a folder; name a file in it")
            }
            io::ErrorKind::AlreadyExists => failed(
                &"the file exists already and was left unchanged; choose another one, or \
                  replace it with --force",
            ),
            _ => failed(&error),
        };
        let folder = match target.parent() {
            Some(folder) if folder != Path::new("") => folder,
            Some(_) | None => Path::new("."),
        };
        let folder = folder.canonicalize().map_err(io_failed)?;
        let name = target.file_name().ok_or_else(|| failed(&"that is not a file name"))?;
        let place = folder.join(name);
        if self.files().contains(&place) {
            return Err(failed(&"that is a file of the store itself; choose another one"));
        }
        if place.symlink_metadata().is_ok() && !overwrite {
            return Err(io_failed(io::ErrorKind::AlreadyExists.into()));
        }
        let part = tempfile::Builder::new().prefix(".afk-backup-").tempfile_in(&folder);
        let part = part.map_err(io_failed)?;
        let name = part.path().to_str().ok_or_else(|| failed(&"its path is not UTF-8"))?;
        let copied = sqlx::query("VACUUM INTO ?").bind(name.to_owned());
        // Not classified: the disk that failed may be the copy's as well as the store's.
        copied.execute(self.readers()).await.map_err(|error| failed(&in_words(&error)))?;
        look_over(part.path()).await.map_err(|error| match error.kind() {
            StoreErrorKind::Corrupt => error,
            _ => failed(&"the copy cannot be read back; try again, or choose another place"),
        })?;
        let keep = move || {
            part.as_file().sync_all()?;
            let bytes = part.as_file().metadata()?.len();
            if overwrite {
                part.persist(&place)?;
            } else {
                part.persist_noclobber(&place)?;
            }
            File::open(&folder)?.sync_all()?;
            Ok(bytes)
        };
        let kept = tokio::task::spawn_blocking(keep).await;
        let kept = kept.map_err(|_| StoreError::new(StoreErrorKind::Closed))?;
        kept.map_err(io_failed)
    }

    /// The files of the store, none of which a copy may replace.
    fn files(&self) -> [PathBuf; 4] {
        let own = self.path().canonicalize().unwrap_or_else(|_| self.path().to_owned());
        ["", "-wal", "-shm", ".lock"].map(|end| {
            let mut name = own.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        })
    }
}

/// Why no copy was made, in SQLite's words. A full disk is the copy's, because only the copy is
/// written.
fn in_words(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        other => other.to_string(),
    }
}

/// Refuses a copy in which SQLite's own check finds a fault.
async fn look_over(path: &Path) -> Result<(), StoreError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let options = options.busy_timeout(OpenOptions::default().busy_timeout);
    let mut copy = SqliteConnection::connect_with(&options).await?;
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut copy).await?;
    copy.close().await?;
    if found == "ok" { Ok(()) } else { Err(StoreError::new(StoreErrorKind::Corrupt)) }
}
