//! One log: its file, its only writer, and how far it goes.
//!
//! Whoever produces events appends them to an [`EventLog`]. The file has one event a line and
//! nothing else. It is locked while it is open, so that there is one writer on the machine. Readers
//! are told how far the log goes only after a whole batch is written, so they never see half an
//! event; a line that a crash cut off is removed when the log is opened again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::marks::Marks;
use super::reader::EventReader;

/// How much of a log is read at once when it is opened, in bytes.
const SCAN: usize = 256 * 1024;

/// How large a log may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// The largest event, in bytes.
    pub event_bytes: usize,
    /// The largest log, in bytes.
    pub log_bytes: u64,
    /// How much of `log_bytes` is reserved for [`EventLog::append_final`], in bytes.
    pub reserve_bytes: u64,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self { event_bytes: 1 << 20, log_bytes: 16 << 20, reserve_bytes: 64 << 10 }
    }
}

/// What an event survives once a reader can see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The death of this process.
    Process,
    /// A loss of power, too: each batch is synchronised with the disk.
    Machine,
}

/// Why a log cannot be used as asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be used.
    #[error("cannot {what} the event log {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The error of the file system.
        source: io::Error,
    },
    /// The log is open already, usually in another process.
    #[error(
        "the event log {path} is open in another process: stop that one first",
        path = .0.display()
    )]
    InUse(PathBuf),
    /// An event is too large.
    #[error("an event of {bytes} bytes is over the limit of {limit}: shorten it")]
    EventTooLarge {
        /// The size of the event, in bytes.
        bytes: usize,
        /// [`LogLimits::event_bytes`].
        limit: usize,
    },
    /// An event has more than one line.
    #[error("an event contains a line feed: write it as one line")]
    NotOneLine,
    /// The log has reached its largest size.
    #[error("the event log has reached its limit of {limit} bytes: begin a new one")]
    Full {
        /// [`LogLimits::log_bytes`].
        limit: u64,
    },
    /// The log was deleted.
    #[error("the event log was deleted")]
    Removed,
    /// A name is not usable for a log.
    #[error("{0:?} cannot name an event log: use 1 to 64 letters, digits, `-` and `_`")]
    Name(String),
    /// There is a log of that name already.
    #[error("there is an event log {0} already")]
    Exists(String),
    /// There are too many logs, and all are in use.
    #[error("all {0} event logs are in use: end one of them first")]
    NoRoom(usize),
}

/// How far a log goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Number of events in the log, which is also the number of the next event.
    pub events: u64,
    /// Size of these events in the file, in bytes.
    pub bytes: u64,
    /// Whether the log was deleted.
    pub removed: bool,
}

/// A log and its writer. Clones share the log.
#[derive(Clone, Debug)]
pub struct EventLog(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    path: PathBuf,
    limits: LogLimits,
    durability: Durability,
    file: File,
    written: Mutex<Written>,
    head: watch::Sender<Head>,
}

/// What only the writer changes.
#[derive(Debug)]
struct Written {
    head: Head,
    marks: Marks,
}

impl EventLog {
    /// Opens the log in this file, which is created if it does not exist. Reads the whole file
    /// once.
    pub async fn open(
        path: impl Into<PathBuf>,
        limits: LogLimits,
        durability: Durability,
    ) -> Result<Self, LogError> {
        let path = path.into();
        blocking(move || Self::open_now(path, limits, durability)).await
    }

    pub(super) fn open_now(
        path: PathBuf,
        limits: LogLimits,
        durability: Durability,
    ) -> Result<Self, LogError> {
        let told = |what| {
            let path = path.clone();
            move |source| LogError::Io { what, path, source }
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(told("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LogError::InUse(path)),
            Err(TryLockError::Error(source)) => return Err(told("lock")(source)),
        }
        let written = scan(&file).map_err(told("read"))?;
        // A line that a crash cut off was never shown to a reader.
        file.set_len(written.head.bytes).map_err(told("truncate"))?;
        let (head, _) = watch::channel(written.head);
        let written = Mutex::new(written);
        Ok(Self(Arc::new(Inner { path, limits, durability, file, written, head })))
    }

    /// Appends events and returns their numbers. An event is one line.
    ///
    /// If it fails, none of the events is in the log. They are written even if the caller stops
    /// waiting, and the events of several callers are not mixed. If the process dies while a batch
    /// is being written, the first few events may be there afterwards, each of them whole.
    pub async fn append(&self, events: Vec<String>) -> Result<Range<u64>, LogError> {
        let limit = self.0.limits.log_bytes.saturating_sub(self.0.limits.reserve_bytes);
        self.write(events, limit).await
    }

    /// [`EventLog::append`] for events that must fit even into a full log: how the session ended.
    /// It may use [`LogLimits::reserve_bytes`].
    pub async fn append_final(&self, events: Vec<String>) -> Result<Range<u64>, LogError> {
        self.write(events, self.0.limits.log_bytes).await
    }

    /// How far the log goes now.
    pub fn head(&self) -> Head {
        *self.0.head.borrow()
    }

    /// A reader whose first event is number `first`, which need not exist yet.
    pub fn reader(&self, first: u64) -> EventReader {
        EventReader::new(Arc::clone(&self.0), self.0.head.subscribe(), first)
    }

    /// The path of the log's file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    async fn write(&self, events: Vec<String>, limit: u64) -> Result<Range<u64>, LogError> {
        let inner = Arc::clone(&self.0);
        blocking(move || inner.write(&events, limit)).await
    }
}

impl Inner {
    fn write(&self, events: &[String], limit: u64) -> Result<Range<u64>, LogError> {
        let mut batch = Vec::with_capacity(events.iter().map(|event| event.len() + 1).sum());
        for event in events {
            if event.len() > self.limits.event_bytes {
                let (bytes, limit) = (event.len(), self.limits.event_bytes);
                return Err(LogError::EventTooLarge { bytes, limit });
            }
            if event.contains('\n') {
                return Err(LogError::NotOneLine);
            }
            batch.extend_from_slice(event.as_bytes());
            batch.push(b'\n');
        }
        let mut written = self.written();
        let before = written.head;
        if before.removed {
            return Err(LogError::Removed);
        }
        if before.bytes + batch.len() as u64 > limit {
            return Err(LogError::Full { limit: self.limits.log_bytes });
        }
        // Written at an offset, so that the next write replaces what a failed one left behind.
        let put =
            self.file.write_all_at(&batch, before.bytes).and_then(|()| match self.durability {
                Durability::Process => Ok(()),
                Durability::Machine => self.file.sync_data(),
            });
        if let Err(error) = put {
            // What was written must not be found when the log is opened again. If this fails, too,
            // the batch may be there after all, which only a full or broken disk can cause.
            let _ = self.file.set_len(before.bytes);
            return Err(self.told("write")(error));
        }
        for event in events {
            let (number, offset) = (written.head.events, written.head.bytes);
            written.marks.note(number, offset);
            written.head.events += 1;
            written.head.bytes += event.len() as u64 + 1;
        }
        self.head.send_replace(written.head);
        Ok(before.events..written.head.events)
    }

    /// Marks the log as deleted, for its writer and its readers.
    pub(super) fn remove(&self) {
        let mut written = self.written();
        written.head.removed = true;
        self.head.send_replace(written.head);
    }

    /// The last event at or before `event` whose offset is known, and that offset.
    pub(super) fn mark_before(&self, event: u64) -> (u64, u64) {
        self.written().marks.before(event)
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<(), LogError> {
        self.file.read_exact_at(buffer, offset).map_err(self.told("read"))
    }

    pub(super) fn longest_line(&self) -> usize {
        self.limits.event_bytes + 1
    }

    fn told(&self, what: &'static str) -> impl FnOnce(io::Error) -> LogError {
        let path = self.path.clone();
        move |source| LogError::Io { what, path, source }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        // The state is consistent after every statement, so a thread that panicked has broken
        // nothing.
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a log's file, and finds its whole lines.
fn scan(file: &File) -> io::Result<Written> {
    let mut written = Written { head: Head::default(), marks: Marks::new() };
    let mut buffer = vec![0; SCAN];
    let mut offset = 0;
    loop {
        let read = match file.read_at(&mut buffer, offset) {
            Ok(0) => return Ok(written),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for (index, _) in buffer[..read].iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
            written.marks.note(written.head.events, written.head.bytes);
            written.head.events += 1;
            written.head.bytes = offset + index as u64 + 1;
        }
        offset += read as u64;
    }
}

/// Runs file I/O on a thread where it cannot block the async runtime.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => Err(LogError::Io {
            what: "use",
            path: PathBuf::new(),
            source: io::Error::other(panic.to_string()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn open(path: &Path, limits: LogLimits) -> EventLog {
        EventLog::open(path, limits, Durability::Process).await.expect("opened")
    }

    fn events<const N: usize>(texts: [&str; N]) -> Vec<String> {
        texts.map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn numbers_go_on_after_a_restart_and_a_torn_line_is_dropped() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events");
        let log = open(&path, LogLimits::default()).await;
        assert_eq!(log.append(events(["a", "", "c"])).await.expect("written"), 0..3);
        drop(log);
        let torn = OpenOptions::new().append(true).open(&path).expect("opened");
        io::Write::write_all(&mut &torn, b"half of an ev").expect("torn");
        drop(torn);
        let log = open(&path, LogLimits::default()).await;
        assert_eq!(log.head(), Head { events: 3, bytes: 5, removed: false });
        assert_eq!(log.append(events(["d"])).await.expect("written"), 3..4);
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "a\n\nc\nd\n");
    }

    #[tokio::test]
    async fn one_log_has_one_writer() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events");
        let first = open(&path, LogLimits::default()).await;
        let second = EventLog::open(&path, LogLimits::default(), Durability::Process).await;
        assert!(matches!(second, Err(LogError::InUse(_))), "{second:?}");
        drop(first);
        open(&path, LogLimits::default()).await;
    }

    #[tokio::test]
    async fn what_is_over_a_limit_is_refused_whole_and_the_end_still_fits() {
        let folder = tempfile::tempdir().expect("a folder");
        let limits = LogLimits { event_bytes: 10, log_bytes: 30, reserve_bytes: 10 };
        let log = open(&folder.path().join("events"), limits).await;
        let large = log.append(events(["fine", "12345678901"])).await;
        assert!(matches!(large, Err(LogError::EventTooLarge { bytes: 11, limit: 10 })));
        assert!(matches!(log.append(events(["a\nb"])).await, Err(LogError::NotOneLine)));
        assert_eq!(log.head(), Head::default(), "nothing of them was written");
        log.append(events(["123456789", "123456789"])).await.expect("just fits");
        assert!(matches!(log.append(events([""])).await, Err(LogError::Full { limit: 30 })));
        log.append_final(events(["the end"])).await.expect("the reserve is for the end");
        let more = log.append_final(events(["too much"])).await;
        assert!(matches!(more, Err(LogError::Full { limit: 30 })), "{more:?}");
        assert_eq!(log.head().events, 3);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_log_that_is_cut_anywhere_keeps_its_whole_events(
            texts in proptest::collection::vec("[a-zé ]{0,20}", 0..30),
            batch in 1_usize..5,
            cut in 0_u64..700,
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("events");
            let open = || {
                let limits = LogLimits::default();
                EventLog::open_now(path.clone(), limits, Durability::Process).expect("opened")
            };
            let log = open();
            for batch in texts.chunks(batch) {
                log.0.write(batch, u64::MAX).expect("written");
            }
            let whole = log.head().bytes;
            drop(log);
            let file = OpenOptions::new().write(true).open(&path).expect("opened");
            file.set_len(cut.min(whole)).expect("cut");
            let mut left = cut;
            let kept = texts.iter().take_while(|text| {
                let size = text.len() as u64 + 1;
                let fits = size <= left;
                left = left.saturating_sub(size);
                fits
            });
            let kept: Vec<&str> = kept.map(String::as_str).collect();
            let log = open();
            prop_assert_eq!(log.head().events, kept.len() as u64);
            log.0.write(&["next".to_owned()], u64::MAX).expect("written");
            let expected: String =
                kept.iter().copied().chain(["next"]).flat_map(|text| [text, "\n"]).collect();
            prop_assert_eq!(std::fs::read_to_string(&path).expect("read"), expected);
        }
    }
}
