//! A folder of logs, each with a name and a folder of its own, within bounds.
//!
//! For services that keep many sessions. A log is open once in the process however many callers ask
//! for it, and closed when no caller holds it any more. If a new log would exceed the limits, the
//! logs that were written to longest ago and that no caller holds are deleted.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use super::log::{Durability, EventLog, Inner, LogError, LogLimits, blocking};

/// How often opening a log that is in use is tried again.
const LET_GO: u32 = 50;
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

/// The name of the log in a session's folder.
const FILE: &str = "events.jsonl";
/// The start of a folder's name while it is being deleted. No session's name begins with a dot.
const REMOVED: &str = ".removed-";

/// How much a store may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreLimits {
    /// Maximum number of logs.
    pub logs: usize,
    /// How many bytes all events may take together before old logs are deleted.
    pub bytes: u64,
    /// The limits of each log.
    pub log: LogLimits,
}

/// A folder of logs, by name. Clones share the store.
#[derive(Clone, Debug)]
pub struct LogStore(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    limits: StoreLimits,
    durability: Durability,
    known: Mutex<HashMap<String, Known>>,
}

/// What is known of a log, so that creating one need not look at all the others on disk.
#[derive(Debug, Default)]
struct Known {
    /// The open log; dangling if no caller holds it.
    open: Weak<Inner>,
    /// When it was last written to, and its size in bytes; `None` if it was opened since these were
    /// read.
    idle: Option<(SystemTime, u64)>,
}

impl LogStore {
    /// Opens the store in this folder, which is created if it does not exist. Use one store for
    /// each folder: logs that another process has open cannot be opened here.
    pub async fn at(
        root: impl Into<PathBuf>,
        limits: StoreLimits,
        durability: Durability,
    ) -> Result<Self, LogError> {
        let root = root.into();
        blocking(move || {
            make(&root)?;
            for aside in names(&root)?.iter().filter(|name| name.starts_with(REMOVED)) {
                // A deletion that a crash cut short. If it fails again, the rest only takes space.
                let _ = fs::remove_dir_all(root.join(aside));
            }
            let logs = logs(&root)?.into_iter().map(|name| (name, Known::default()));
            let known = Mutex::new(logs.collect());
            Ok(Self(Arc::new(Shared { root, limits, durability, known })))
        })
        .await
    }

    /// Creates an empty log. Deletes old logs if the limits demand it.
    pub async fn create(&self, name: &str) -> Result<EventLog, LogError> {
        let (shared, name) = (Arc::clone(&self.0), checked(name)?.to_owned());
        blocking(move || {
            let mut known = shared.known();
            let folder = shared.root.join(&name);
            if folder.exists() {
                return Err(LogError::Exists(name));
            }
            shared.make_room(&mut known)?;
            make(&folder)?;
            shared.open_log(&mut known, name)
        })
        .await
    }

    /// Opens the log of this name; `None` if there is no such log.
    pub async fn open(&self, name: &str) -> Result<Option<EventLog>, LogError> {
        let Ok(name) = checked(name) else { return Ok(None) };
        let (shared, name) = (Arc::clone(&self.0), name.to_owned());
        blocking(move || {
            let mut known = shared.known();
            if let Some(inner) = known.get(&name).and_then(|log| log.open.upgrade()) {
                return Ok(Some(EventLog(inner)));
            }
            if !shared.root.join(&name).join(FILE).is_file() {
                return Ok(None);
            }
            shared.open_log(&mut known, name).map(Some)
        })
        .await
    }

    /// The names of all logs, in alphabetical order.
    pub async fn names(&self) -> Result<Vec<String>, LogError> {
        let shared = Arc::clone(&self.0);
        blocking(move || logs(&shared.root)).await
    }

    /// Deletes a log with its folder; its readers then fail with [`LogError::Removed`]. Returns
    /// whether there was such a log.
    pub async fn remove(&self, name: &str) -> Result<bool, LogError> {
        let Ok(name) = checked(name) else { return Ok(false) };
        let (shared, name) = (Arc::clone(&self.0), name.to_owned());
        blocking(move || {
            let mut known = shared.known();
            if !shared.root.join(&name).is_dir() {
                return Ok(false);
            }
            shared.remove(&mut known, &name).map(|()| true)
        })
        .await
    }

    /// The folder of a session, for other files of the session; it is deleted with the log.
    pub fn folder(&self, name: &str) -> Result<PathBuf, LogError> {
        checked(name).map(|name| self.0.root.join(name))
    }
}

type Logs<'a> = MutexGuard<'a, HashMap<String, Known>>;

impl Shared {
    fn known(&self) -> Logs<'_> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_log(&self, known: &mut Logs<'_>, name: String) -> Result<EventLog, LogError> {
        let path = self.root.join(&name).join(FILE);
        let mut tries = LET_GO;
        let log = loop {
            match EventLog::open_now(path.clone(), self.limits.log, self.durability) {
                // The last holder in this process closes the file a moment after the log counts as
                // dropped.
                Err(LogError::InUse(_)) if tries > 0 => {
                    tries -= 1;
                    std::thread::sleep(BETWEEN_TRIES);
                }
                opened => break opened?,
            }
        };
        known.insert(name, Known { open: Arc::downgrade(&log.0), idle: None });
        Ok(log)
    }

    /// Deletes logs that no caller holds, those written to longest ago first, until one more is
    /// within the limits.
    fn make_room(&self, known: &mut Logs<'_>) -> Result<(), LogError> {
        let sizes = known.iter_mut().map(|(name, log)| {
            if let Some(open) = log.open.upgrade() {
                return EventLog(open).head().bytes;
            }
            // A dangling `Weak` would keep the memory of its log.
            log.open = Weak::new();
            log.idle.get_or_insert_with(|| self.look(name)).1
        });
        let mut bytes: u64 = sizes.sum();
        while known.len() >= self.limits.logs || bytes > self.limits.bytes {
            let idle = known.iter().filter(|(_, log)| log.open.strong_count() == 0);
            let idle = idle.filter_map(|(name, log)| Some((log.idle?, name)));
            let Some(((_, size), name)) = idle.min() else {
                // Logs in use may take more space than the limit, but not be more than the limit.
                return if known.len() < self.limits.logs {
                    Ok(())
                } else {
                    Err(LogError::NoRoom(known.len()))
                };
            };
            let name = name.clone();
            self.remove(known, &name)?;
            bytes -= size;
        }
        Ok(())
    }

    /// When a log was last written to, and its size in bytes. A log without a file counts as the
    /// oldest.
    fn look(&self, name: &str) -> (SystemTime, u64) {
        let seen = fs::metadata(self.root.join(name).join(FILE));
        seen.map_or((SystemTime::UNIX_EPOCH, 0), |seen| {
            (seen.modified().unwrap_or(SystemTime::UNIX_EPOCH), seen.len())
        })
    }

    fn remove(&self, known: &mut Logs<'_>, name: &str) -> Result<(), LogError> {
        if let Some(log) = known.get(name).and_then(|log| log.open.upgrade()) {
            log.remove();
        }
        let folder = self.root.join(name);
        // Renamed first, so that a crash half way leaves no half of a session in its place.
        let aside = self.root.join(format!("{REMOVED}{name}"));
        let told = |source| LogError::Io { what: "delete", path: folder.clone(), source };
        let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match fs::remove_dir_all(&aside) {
            Err(error) if !is_gone(&error) => return Err(told(error)),
            Ok(()) | Err(_) => {}
        }
        match fs::rename(&folder, &aside) {
            Ok(()) => {
                known.remove(name);
                fs::remove_dir_all(&aside).map_err(told)
            }
            Err(error) if is_gone(&error) => {
                known.remove(name);
                Ok(())
            }
            Err(error) => Err(told(error)),
        }
    }
}

/// Checks that a name is safe as one part of a path.
fn checked(name: &str) -> Result<&str, LogError> {
    let fine = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    // Names may come from URLs of any length, so the error quotes only the start.
    if fine { Ok(name) } else { Err(LogError::Name(name.chars().take(64).collect())) }
}

/// The names of the logs in a folder, in alphabetical order.
fn logs(root: &Path) -> Result<Vec<String>, LogError> {
    let mut logs = names(root)?;
    logs.retain(|name| checked(name).is_ok() && root.join(name).join(FILE).is_file());
    logs.sort();
    Ok(logs)
}

fn names(root: &Path) -> Result<Vec<String>, LogError> {
    let told = |source| LogError::Io { what: "list", path: root.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(root).map_err(told)? {
        names.extend(entry.map_err(told)?.file_name().into_string());
    }
    Ok(names)
}

fn make(folder: &Path) -> Result<(), LogError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| LogError::Io { what: "make", path: folder.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn store(folder: &tempfile::TempDir, logs: usize, bytes: u64) -> LogStore {
        let limits = StoreLimits { logs, bytes, log: LogLimits::default() };
        LogStore::at(folder.path().join("sessions"), limits, Durability::Process)
            .await
            .expect("a store")
    }

    /// Makes a log of this size that was last written to `age` seconds ago.
    async fn closed(store: &LogStore, name: &str, bytes: usize, age: u64) {
        let log = store.create(name).await.expect("created");
        log.append(vec!["x".repeat(bytes - 1)]).await.expect("written");
        let time = SystemTime::now() - std::time::Duration::from_secs(age);
        let file = fs::File::options().write(true).open(log.path()).expect("opened");
        file.set_modified(time).expect("aged");
    }

    #[tokio::test]
    async fn the_oldest_that_nobody_holds_make_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder, 4, 1000).await;
        closed(&store, "oldest", 10, 300).await;
        closed(&store, "old", 10, 200).await;
        closed(&store, "new", 10, 100).await;
        let oldest = store.open("oldest").await.expect("opened").expect("there");
        store.create("fourth").await.expect("there is room for it");
        let fifth = store.create("fifth").await.expect("made room");
        assert_eq!(store.names().await.expect("listed"), ["fifth", "fourth", "new", "oldest"]);
        drop(fifth);
        // Room is made by size, too.
        closed(&store, "large", 1000, 50).await;
        closed(&store, "last", 10, 0).await;
        assert_eq!(oldest.head().events, 1, "held all the time");
        let names = store.names().await.expect("listed");
        assert!(names.contains(&"oldest".to_owned()) && names.contains(&"last".to_owned()));
        assert!(!names.contains(&"new".to_owned()), "{names:?}");
    }

    #[tokio::test]
    async fn what_an_earlier_process_left_counts_and_what_somebody_deleted_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = store(&folder, 3, 1000).await;
        closed(&before, "a", 10, 300).await;
        closed(&before, "b", 10, 200).await;
        closed(&before, "c", 10, 100).await;
        drop(before);
        let store = store(&folder, 3, 1000).await;
        fs::remove_dir_all(folder.path().join("sessions/b")).expect("deleted by hand");
        store.create("d").await.expect("there is room where one was deleted");
        assert_eq!(store.names().await.expect("listed"), ["a", "c", "d"]);
        store.create("e").await.expect("made room");
        assert_eq!(store.names().await.expect("listed"), ["c", "d", "e"]);
    }

    #[tokio::test]
    async fn what_is_held_is_never_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder, 2, 1000).await;
        let held = [store.create("a").await.expect("a"), store.create("b").await.expect("b")];
        let third = store.create("c").await;
        assert!(matches!(third, Err(LogError::NoRoom(2))), "{third:?}");
        assert!(matches!(store.create("a").await, Err(LogError::Exists(_))));
        drop(held);
        store.create("c").await.expect("there is room now");
    }

    #[tokio::test]
    async fn readers_and_writers_of_a_deleted_log_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder, 2, 1000).await;
        let log = store.create("a").await.expect("created");
        let same = store.open("a").await.expect("opened").expect("there");
        let mut reader = log.reader(0);
        same.append(vec!["one".into()]).await.expect("written");
        assert_eq!(log.head().events, 1, "it is the same log");
        assert!(store.remove("a").await.expect("removed"));
        assert!(!store.remove("a").await.expect("asked"));
        assert!(matches!(reader.ready().await, Err(LogError::Removed)));
        assert!(matches!(log.append(vec![String::new()]).await, Err(LogError::Removed)));
        assert!(store.open("a").await.expect("asked").is_none());
        store.create("a").await.expect("its name is free again");
    }

    #[tokio::test]
    async fn a_name_never_leaves_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder, 2, 1000).await;
        let long = "x".repeat(65);
        for name in ["", ".", "..", "a/b", "../a", ".removed-a", "a\0", "ä", "a b", &long] {
            assert!(matches!(store.create(name).await, Err(LogError::Name(_))), "{name:?}");
            assert!(store.open(name).await.expect("no error").is_none(), "{name:?}");
            assert!(!store.remove(name).await.expect("no error"), "{name:?}");
        }
    }
}
