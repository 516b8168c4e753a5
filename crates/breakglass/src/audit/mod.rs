//! The audit log: who did what when, and how it ended, chained by hashes.
//!
//! A prompt or a verb has two records: one before it begins, synchronised with the disk, and one
//! when it is over. A record contains the hash of the one before it, so that none can be changed,
//! removed or inserted without breaking the chain; `breakglass audit verify` checks it
//! ([`verify`]). Whoever noted the last hash, which each start logs, sees a cut at the end.
//!
//! A file that has become large is put aside under its own name with the number of its first record
//! appended, and the chain goes on in a new file. Nothing is ever deleted here. A file that is
//! damaged is put aside, too, as `….broken-N`, with those before it, and the first record of the
//! new chain names its hash: the console starts, and the damage stays visible.
//!
//! An act that cannot be recorded is carried out all the same: in an emergency neither a full disk
//! nor one that does not answer may keep anybody from the power verbs. The record then goes to the
//! server's own log, as an error.

mod verify;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

pub use verify::{Verified, verify};
use verify::{archives, continued};

/// The `prev` of the first record.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// How much of a prompt is recorded, in characters; its hash is of all of it.
const PROMPT_CHARS: usize = 4000;

/// How long an act waits for its record to be on the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who does something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The user as the edge proxy names them, or `token` for whoever has the token.
    pub who: String,
    /// The IP address of the connection's other end, which may be the proxy's.
    pub peer: String,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// The server started.
    Start {
        /// The version of the program.
        version: String,
    },
    /// A person sent a prompt, which begins a turn.
    Prompt {
        /// The conversation's id.
        session: String,
        /// The first 4,000 characters of the prompt.
        text: String,
        /// The SHA-256 of the whole prompt, in hexadecimal.
        sha256: String,
    },
    /// A person stopped a turn.
    Cancel {
        /// The conversation's id.
        session: String,
    },
    /// A person sent a power verb, or was refused one.
    Verb {
        /// The verb as it is sent to the hypervisor, with `--skiplock` where that was asked for.
        verb: String,
    },
    /// The log goes on in this file; the file before it was put aside.
    Continue {
        /// The record numbers of acts that had not ended by then.
        open: Vec<u64>,
    },
    /// The log begins anew; the one before it was damaged and is kept.
    Anew {
        /// The new file name of the damaged log's newest file.
        kept: String,
        /// The SHA-256 of that file, in hexadecimal.
        sha256: String,
        /// What is wrong with the damaged log.
        why: String,
    },
    /// An earlier act is over.
    End {
        /// The number of the act's record.
        of: u64,
        /// How the act ended, in a few words.
        outcome: String,
    },
}

impl Act {
    /// Describes the sending of a prompt in the conversation `session`.
    pub fn prompt(session: &str, prompt: &str) -> Self {
        Self::Prompt {
            session: session.to_owned(),
            text: prompt.chars().take(PROMPT_CHARS).collect(),
            sha256: hex(&Sha256::digest(prompt)),
        }
    }

    /// Whether the act takes time, so that an [`Act::End`] follows.
    fn has_an_end(&self) -> bool {
        match self {
            Self::Prompt { .. } | Self::Verb { .. } => true,
            Self::Start { .. }
            | Self::Cancel { .. }
            | Self::Continue { .. }
            | Self::Anew { .. }
            | Self::End { .. } => false,
        }
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct AuditRecord {
    /// The record's number, from 0, across all files of the chain.
    seq: u64,
    at: Timestamp,
    /// `None` for what the server does by itself.
    actor: Option<Actor>,
    #[serde(flatten)]
    act: Act,
    /// The hash of the record before; [`GENESIS`] in the first one.
    prev: String,
    /// The SHA-256 of this line with this field, its last one, empty.
    hash: String,
}

/// Why the audit log cannot be used, or does not verify.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// A file of the log cannot be read, written or locked.
    #[error("cannot use the audit log {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another server holds the lock on the log.
    #[error("the audit log {path} is in use by another server: stop that one, or give this one another file", path = .0.display())]
    InUse(PathBuf),
    /// The oldest file does not begin with record 0, and the hash before it was not given.
    #[error("the audit log {path} begins with record {first}, and the files with the earlier records are not in its folder; if you noted the hash of the last earlier record, pass it with --after", path = path.display())]
    Incomplete {
        /// The oldest file.
        path: PathBuf,
        /// The number of its first record.
        first: u64,
    },
    /// A record does not fit the one before it.
    #[error("the audit log {path} is broken at line {line}: {why}; keep it for whoever investigates: the server puts it aside when it starts", path = path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with the line.
        why: &'static str,
    },
}

/// The record of an act that begins, for [`AuditLog::end`].
#[derive(Debug)]
#[must_use = "how it ended is recorded, too"]
pub enum Begun {
    /// The record has this number; `None` if it could not be written.
    Recorded(Option<u64>),
    /// Not on the disk after two seconds, so the act begins. The task returns the number.
    UnderWay(JoinHandle<Option<u64>>),
}

impl Begun {
    async fn of(mut writing: JoinHandle<Option<u64>>, what: impl FnOnce() -> String) -> Self {
        if let Ok(written) = timeout(PATIENCE, &mut writing).await {
            return Self::Recorded(written.ok().flatten());
        }
        let (seconds, record) = (PATIENCE.as_secs(), what());
        tracing::error!(record, "audit record not on the disk after {seconds} s: not waited for");
        Self::UnderWay(writing)
    }
}

/// The audit log, open for writing. Clones share it.
#[derive(Clone, Debug)]
pub struct AuditLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    /// How large a file may become before it is put aside, in bytes.
    limit: u64,
    end: Mutex<End>,
    now: fn() -> Timestamp,
}

/// Where the next record goes.
#[derive(Debug)]
struct End {
    file: File,
    /// The number of the file's first record.
    first: u64,
    /// The number of the next record.
    records: u64,
    bytes: u64,
    hash: String,
    /// The record numbers of acts that have not ended.
    open: BTreeSet<u64>,
}

impl AuditLog {
    /// Opens the log, checks its newest file, records the start, and ends what the last server left
    /// open. A file over `limit` bytes is put aside, and so is one that is damaged.
    pub fn open(path: &Path, limit: u64, now: fn() -> Timestamp) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Io { path: path.to_owned(), source };
        let mut file = locked(path)?;
        // The newest file still has an archive's name, too: a crash came before it was put aside.
        for (_, archive) in archives(path).map_err(failed)? {
            if same_file(&archive, path).map_err(failed)? {
                fs::remove_file(&archive).map_err(failed)?;
            }
        }
        let mut anew = None;
        let found = match continued(path) {
            Err(error @ AuditError::Broken { .. }) => {
                let (kept, sha256) = keep_broken(path).map_err(failed)?;
                tracing::error!(%error, kept = %kept.display(), sha256, "the audit log begins anew");
                let kept = kept.file_name().unwrap_or_default().to_string_lossy().into_owned();
                anew = Some(Act::Anew { kept, sha256, why: error.to_string() });
                file = locked(path)?;
                continued(path)?
            }
            found => found?,
        };
        file.set_len(found.bytes).map_err(failed)?;
        let end = End {
            file,
            first: found.first,
            records: found.records,
            bytes: found.bytes,
            hash: found.last_hash,
            open: found.open.keys().copied().collect(),
        };
        let left: Vec<u64> = end.open.iter().copied().collect();
        let log =
            Self(Arc::new(Shared { path: path.to_owned(), limit, end: Mutex::new(end), now }));
        if let Some(anew) = anew {
            log.record(now(), None, anew);
        }
        log.record(now(), None, Act::Start { version: env!("CARGO_PKG_VERSION").to_owned() });
        for of in left {
            let outcome = "unknown: the server died before it ended".to_owned();
            log.record(now(), None, Act::End { of, outcome });
        }
        Ok(log)
    }

    /// Records an act before it begins. The result is for [`AuditLog::end`].
    pub async fn begin(&self, actor: &Actor, act: Act) -> Begun {
        let (log, at) = (self.clone(), (self.0.now)());
        let (by, what) = (actor.clone(), act.clone());
        let writing = spawn_blocking(move || log.record(at, Some(by), what));
        Begun::of(writing, || format!("{act:?} by {actor:?}")).await
    }

    /// Records how an act ended; nothing if its beginning could not be recorded.
    pub async fn end(&self, begun: Begun, outcome: String) {
        let (log, at, told) = (self.clone(), (self.0.now)(), outcome.clone());
        let end = async move {
            let of = match begun {
                Begun::Recorded(of) => of,
                Begun::UnderWay(writing) => writing.await.ok().flatten(),
            };
            let of = of?;
            spawn_blocking(move || log.record(at, None, Act::End { of, outcome })).await.ok()?
        };
        let _ended = Begun::of(tokio::spawn(end), || format!("the end of an act: {told}")).await;
    }

    /// Returns the hash of the newest record in hexadecimal, to be noted somewhere else.
    pub fn last_hash(&self) -> String {
        self.0.end.lock().unwrap_or_else(PoisonError::into_inner).hash.clone()
    }

    fn record(&self, at: Timestamp, actor: Option<Actor>, act: Act) -> Option<u64> {
        let mut end = self.0.end.lock().unwrap_or_else(PoisonError::into_inner);
        if end.bytes >= self.0.limit
            && let Err(error) = self.put_aside(&mut end)
        {
            let path = self.0.path.display();
            tracing::error!(%error, %path, "the audit log was not put aside and goes on as it is");
        }
        let (record, line) = end.next(at, actor, act);
        let written = end.file.write_all_at(line.as_bytes(), end.bytes);
        if let Err(error) = written.and_then(|()| end.file.sync_data()) {
            let path = self.0.path.display();
            tracing::error!(%error, %path, record = line.trim_end(), "audit record not written");
            // The next record overwrites what was written of this one, and may be shorter.
            let _ = end.file.set_len(end.bytes);
            return None;
        }
        let seq = record.seq;
        if let Act::End { of, .. } = &record.act {
            end.open.remove(of);
        } else if record.act.has_an_end() {
            end.open.insert(seq);
        }
        (end.records, end.hash) = (seq + 1, record.hash);
        end.bytes += line.len() as u64;
        Some(seq)
    }

    /// Begins a new file whose first record continues the chain. The log is whole whenever a crash
    /// comes: the old file gets a second name before the new one takes its first.
    fn put_aside(&self, end: &mut End) -> io::Result<()> {
        let path = &self.0.path;
        let fresh = beside(path, "new");
        let _ = fs::remove_file(&fresh);
        let file = create(&fresh)?;
        file.try_lock().map_err(io::Error::other)?;
        let open = end.open.iter().copied().collect();
        let (record, line) = end.next((self.0.now)(), None, Act::Continue { open });
        file.write_all_at(line.as_bytes(), 0)?;
        file.sync_all()?;
        let archive = beside(path, &format!("{:012}", end.first));
        match fs::hard_link(path, &archive) {
            // An earlier attempt got as far as here.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !same_file(path, &archive)? {
                    return Err(error);
                }
            }
            linked => linked?,
        }
        fs::rename(&fresh, path)?;
        if let Some(folder) = path.parent() {
            // The names, too, must survive a loss of power; not every file system can do that.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        (end.file, end.first, end.records) = (file, record.seq, record.seq + 1);
        (end.bytes, end.hash) = (line.len() as u64, record.hash);
        Ok(())
    }
}

impl End {
    /// Returns the record that follows, and its line.
    fn next(&self, at: Timestamp, actor: Option<Actor>, act: Act) -> (AuditRecord, String) {
        let (seq, prev) = (self.records, self.hash.clone());
        let mut record = AuditRecord { seq, at, actor, act, prev, hash: String::new() };
        record.hash = hash_of(&record);
        let line = text_of(&record) + "\n";
        (record, line)
    }
}

/// Opens and locks the newest file, for this server alone.
fn locked(path: &Path) -> Result<File, AuditError> {
    let failed = |source| AuditError::Io { path: path.to_owned(), source };
    let file = create(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AuditError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Renames all files of a damaged log, the newest one last, so that the next start finishes what a
/// crash interrupts. Returns the new name of the newest file, and its hash.
fn keep_broken(path: &Path) -> io::Result<(PathBuf, String)> {
    let mut number = 1;
    let kept = loop {
        let kept = beside(path, &format!("broken-{number}"));
        if !kept.try_exists()? {
            break kept;
        }
        number += 1;
    };
    for (number, archive) in archives(path)? {
        fs::rename(archive, beside(&kept, &format!("{number:012}")))?;
    }
    let (mut file, mut hash, mut piece) = (File::open(path)?, Sha256::new(), vec![0; 64 * 1024]);
    loop {
        match io::Read::read(&mut file, &mut piece)? {
            0 => break,
            read => hash.update(&piece[..read]),
        }
    }
    fs::rename(path, &kept)?;
    Ok((kept, hex(&hash.finalize())))
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Returns the path of a file of the log beside the newest one: `PATH.WHAT`.
fn beside(path: &Path, what: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{what}"));
    name.into()
}

fn same_file(one: &Path, other: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let (one, other) = (fs::metadata(one)?, fs::metadata(other)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

fn hash_of(record: &AuditRecord) -> String {
    let bare = AuditRecord { hash: String::new(), ..record.clone() };
    hex(&Sha256::digest(text_of(&bare)))
}

fn text_of(record: &AuditRecord) -> String {
    // Serialising string keys, strings and numbers cannot fail.
    serde_json::to_string(record).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const LARGE: u64 = 1 << 20;

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).expect("a time")
    }

    fn actor() -> Actor {
        Actor { who: "anna".into(), peer: "10.0.0.1".into() }
    }

    fn verb(verb: &str) -> Act {
        Act::Verb { verb: verb.into() }
    }

    async fn written(path: &Path) {
        let log = AuditLog::open(path, LARGE, now).expect("opened");
        let begun = log.begin(&actor(), Act::prompt("s", "what is wrong?")).await;
        log.end(begun, "finished".into()).await;
        let begun = log.begin(&actor(), verb("cycle")).await;
        log.end(begun, "exit 0".into()).await;
        let _never_ends = log.begin(&actor(), verb("reset")).await;
    }

    #[tokio::test]
    async fn what_a_dead_server_left_open_is_told_by_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        written(&path).await;
        let found = verify(&path, None).expect("whole");
        assert_eq!((found.records, found.torn), (6, 0));
        assert_eq!(found.open, BTreeMap::from([(5, Some(verb("reset")))]));
        assert!(matches!(AuditLog::open(&path, LARGE, now).map(drop), Ok(())));
        let found = verify(&path, None).expect("whole");
        assert_eq!((found.records, found.open.len()), (8, 0));
    }

    #[tokio::test]
    async fn a_disk_that_does_not_answer_holds_up_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::open(&path, LARGE, now).expect("opened");
        // Whoever writes a record holds this lock for as long as the disk takes.
        let (free, freed) = std::sync::mpsc::channel::<()>();
        let (held, is_held) = std::sync::mpsc::channel();
        let shared = log.clone();
        let disk = std::thread::spawn(move || {
            let _end = shared.0.end.lock();
            held.send(()).expect("waited for");
            let _ = freed.recv();
        });
        is_held.recv().expect("held");
        let begun = log.begin(&actor(), verb("cycle")).await;
        assert!(matches!(begun, Begun::UnderWay(_)), "{begun:?}");
        log.end(begun, "exit 0".into()).await;
        drop(free);
        disk.join().expect("no panic");
        // Once the disk answers, both records are written.
        let whole = async {
            while verify(&path, None).expect("whole").records < 3 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_mins(1), whole).await.expect("recorded in time");
        assert!(verify(&path, None).expect("whole").open.is_empty());
    }

    #[tokio::test]
    async fn a_torn_record_is_cut_off_and_the_chain_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        written(&path).await;
        let mut text = std::fs::read(&path).expect("read");
        text.extend_from_slice(b"{\"seq\":6,\"at\":");
        std::fs::write(&path, &text).expect("torn");
        assert_eq!(verify(&path, None).expect("whole").torn, 14);
        drop(AuditLog::open(&path, LARGE, now).expect("opened"));
        assert_eq!(verify(&path, None).expect("whole").torn, 0);
    }

    #[tokio::test]
    async fn a_damaged_log_is_kept_and_another_one_names_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        for number in 1..=2 {
            rotated(&path).await;
            let whole = std::fs::read_to_string(&path).expect("read");
            let changed = format!("{whole}hello\n");
            std::fs::write(&path, &changed).expect("changed");
            let log = AuditLog::open(&path, LARGE, now).expect("it starts all the same");
            let kept = beside(&path, &format!("broken-{number}"));
            assert_eq!(std::fs::read_to_string(&kept).expect("kept"), changed);
            assert!(matches!(AuditLog::open(&path, LARGE, now), Err(AuditError::InUse(_))));
            drop(log);
            let found = verify(&path, None).expect("whole");
            assert_eq!((found.first, found.records), (0, 2));
            let text = std::fs::read_to_string(&path).expect("read");
            let first: AuditRecord =
                serde_json::from_str(text.lines().next().expect("a line")).expect("a record");
            let sha256 = hex(&Sha256::digest(&changed));
            let name = format!("audit.jsonl.broken-{number}");
            assert!(
                matches!(&first.act, Act::Anew { kept, sha256: of, .. } if *kept == name && *of == sha256),
                "{first:?}"
            );
            // The undamaged part of the old log can be checked as before.
            std::fs::write(&kept, whole).expect("mended");
            verify(&kept, None).expect("with the files before it");
        }
    }

    #[tokio::test]
    async fn one_log_has_one_server() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let _first = AuditLog::open(&path, LARGE, now).expect("opened");
        assert!(matches!(AuditLog::open(&path, LARGE, now), Err(AuditError::InUse(_))));
    }

    #[tokio::test]
    async fn every_change_breaks_the_chain() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        written(&path).await;
        let whole = std::fs::read_to_string(&path).expect("read");
        let lines: Vec<&str> = whole.lines().collect();
        let check = |what: &str, text: String, line: u64| {
            std::fs::write(&path, text).expect("changed");
            match verify(&path, None) {
                Err(AuditError::Broken { line: found, .. }) => assert_eq!(found, line, "{what}"),
                other => panic!("{what}: {other:?}"),
            }
        };
        check("another user", whole.replacen("anna", "otto", 1), 2);
        check("another outcome", whole.replacen("exit 0", "exit 1", 1), 5);
        check("a blank", whole.replacen("\"act\":", "\"act\": ", 1), 1);
        check("a field", whole.replacen("{\"seq\":2", "{\"x\":1,\"seq\":2", 1), 3);
        let without = |skip: usize| {
            let kept = lines.iter().enumerate().filter(|(line, _)| *line != skip);
            kept.flat_map(|(_, line)| [*line, "\n"]).collect::<String>()
        };
        std::fs::write(&path, without(0)).expect("changed");
        let gone = verify(&path, None);
        assert!(matches!(gone, Err(AuditError::Incomplete { first: 1, .. })), "{gone:?}");
        assert!(
            matches!(continued(&path), Err(AuditError::Broken { .. })),
            "nor is it gone on with"
        );
        check("one is gone", without(3), 4);
        check("one twice", format!("{}\n{}\n", lines[0], lines[0]), 2);
        check("a stranger's line", format!("{whole}hello\n"), 7);
        // Whoever changes a record and recomputes its hash must also change all that follow.
        let mut record: AuditRecord = serde_json::from_str(lines[1]).expect("a record");
        record.actor = Some(Actor { who: "otto".into(), ..actor() });
        record.hash = hash_of(&record);
        check("a hash of its own", whole.replacen(lines[1], &text_of(&record), 1), 3);
    }

    #[tokio::test]
    async fn a_long_prompt_is_kept_in_part_with_the_hash_of_all() {
        let Act::Prompt { text, sha256, .. } = Act::prompt("s", &"x".repeat(100_000)) else {
            panic!("a prompt");
        };
        assert_eq!((text.len(), sha256.len()), (PROMPT_CHARS, 64));
    }

    /// Makes a log of several files, each put aside once it has 2,000 bytes.
    async fn rotated(path: &Path) -> String {
        let log = AuditLog::open(path, 2000, now).expect("opened");
        let pending = log.begin(&actor(), verb("cycle")).await;
        for n in 0..40 {
            let begun = log.begin(&actor(), Act::prompt("s", &format!("question {n}"))).await;
            log.end(begun, "finished".into()).await;
        }
        log.end(pending, "exit 0".into()).await;
        let _never_ends = log.begin(&actor(), verb("reset")).await;
        log.last_hash()
    }

    #[tokio::test]
    async fn the_chain_goes_on_over_files_that_were_put_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let last = rotated(&path).await;
        let aside = archives(&path).expect("listed");
        assert!(aside.len() > 5, "{aside:?}");
        let found = verify(&path, None).expect("whole");
        let continues = aside.len() as u64;
        assert_eq!((found.records, &found.last_hash), (84 + continues, &last));
        assert_eq!(found.open.len(), 1, "the act that began in the first file has ended");
        // The next server ends the acts that were left open, and goes on in the same chain.
        drop(AuditLog::open(&path, 2000, now).expect("opened"));
        let found = verify(&path, None).expect("whole");
        assert_eq!((found.open.len(), found.first), (0, 0));

        // Each file counts: the check reports one that is gone, changed or exchanged.
        for (at, (_, file)) in aside.iter().enumerate() {
            let text = std::fs::read(file).expect("read");
            std::fs::remove_file(file).expect("removed");
            match verify(&path, None) {
                Err(AuditError::Incomplete { .. }) if at == 0 => {}
                Err(AuditError::Broken { line: 1, .. }) if at > 0 => {}
                other => panic!("{at}: {other:?}"),
            }
            std::fs::write(file, &text[..text.len() - 200]).expect("cut");
            assert!(verify(&path, None).is_err(), "{at} was cut");
            std::fs::write(file, text).expect("put back");
        }
        verify(&path, None).expect("whole again");
    }

    #[tokio::test]
    async fn files_that_are_kept_elsewhere_are_vouched_for_by_their_last_hash() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        rotated(&path).await;
        let aside = archives(&path).expect("listed");
        let first = std::fs::read_to_string(&aside[0].1).expect("read");
        let last: AuditRecord =
            serde_json::from_str(first.lines().last().expect("a line")).expect("a record");
        std::fs::remove_file(&aside[0].1).expect("moved away");
        let found = verify(&path, Some(&last.hash)).expect("whole from there on");
        assert_eq!(found.first, last.seq + 1);
        assert!(matches!(verify(&path, Some(GENESIS)), Err(AuditError::Broken { line: 1, .. })));
        // A server can still open the log and go on.
        drop(AuditLog::open(&path, 2000, now).expect("opened"));
    }

    #[tokio::test]
    async fn a_crash_while_a_file_is_put_aside_leaves_the_log_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        written(&path).await;
        // A crash after the old file got its second name, and before the new one took its place.
        std::fs::hard_link(&path, beside(&path, "000000000000")).expect("linked");
        std::fs::write(beside(&path, "new"), "half of a rec").expect("written");
        assert_eq!(verify(&path, None).expect("whole").records, 6);
        let log = AuditLog::open(&path, 100, now).expect("opened");
        let _never_ends = log.begin(&actor(), verb("status")).await;
        let found = verify(&path, None).expect("whole");
        assert!(found.records > 8, "{found:?}");
        assert!(!archives(&path).expect("listed").is_empty());
    }
}
