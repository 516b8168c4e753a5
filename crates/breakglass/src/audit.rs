//! The audit log: who did what when, and how it ended, chained by hashes.
//!
//! Every act has two records: one before it begins, synchronised with the disk, and one when it is
//! over. A record contains the hash of the one before it, so that none can be changed, removed or
//! inserted without breaking the chain; `breakglass audit verify` checks it. Cutting off the end is
//! seen by whoever noted the last hash, which each start of the server logs.
//!
//! An act that cannot be recorded is carried out all the same: in an emergency a full disk must not
//! keep anybody from the power verbs. The record then goes to the server's own log, as an error.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What precedes the first record.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// How much of a prompt is recorded, in characters; its hash is of all of it.
const PROMPT_CHARS: usize = 4000;
/// The longest record that is read, in bytes.
const MAX_RECORD: u64 = 256 * 1024;

/// Who does something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The user, as the edge proxy names them, or that a token was shown.
    pub who: String,
    /// The address of the peer.
    pub peer: String,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// The server started.
    Start {
        /// Its version.
        version: String,
    },
    /// A turn.
    Prompt {
        /// The conversation.
        session: String,
        /// The beginning of the prompt.
        text: String,
        /// The SHA-256 of the whole prompt.
        sha256: String,
    },
    /// A turn is stopped.
    Cancel {
        /// The conversation.
        session: String,
    },
    /// A power verb.
    Verb {
        /// The verb, as it is sent.
        verb: String,
    },
    /// An earlier act is over.
    End {
        /// The number of its record.
        of: u64,
        /// How it ended.
        outcome: String,
    },
}

impl Act {
    /// The act of sending a prompt.
    pub fn prompt(session: &str, prompt: &str) -> Self {
        Self::Prompt {
            session: session.to_owned(),
            text: prompt.chars().take(PROMPT_CHARS).collect(),
            sha256: hex(&Sha256::digest(prompt)),
        }
    }

    /// Whether it takes time, so that an end follows.
    fn has_an_end(&self) -> bool {
        match self {
            Self::Prompt { .. } | Self::Verb { .. } => true,
            Self::Start { .. } | Self::Cancel { .. } | Self::End { .. } => false,
        }
    }
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct AuditRecord {
    /// Its number, from 0.
    seq: u64,
    at: Timestamp,
    /// None for what the server does by itself.
    actor: Option<Actor>,
    #[serde(flatten)]
    act: Act,
    /// The hash of the record before.
    prev: String,
    /// The SHA-256 of this line without this field, which is its last one.
    hash: String,
}

/// Why there is no audit log, or a broken one.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be used.
    #[error("cannot use the audit log {path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another server has it.
    #[error("the audit log {path} is in use by another server: stop that one, or give this one another file", path = .0.display())]
    InUse(PathBuf),
    /// A record does not fit the one before it.
    #[error("the audit log {path} is broken at line {line}: {why}; keep the file for whoever investigates, and start with another one", path = path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What a check of the whole log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many records there are.
    pub records: u64,
    /// The hash of the last one.
    pub last_hash: String,
    /// Acts that have not ended: under way, or cut off by a death of the server.
    pub open: BTreeMap<u64, Act>,
    /// Bytes after the last whole record: one that a crash cut off. They are no record.
    pub torn: u64,
    /// Bytes of whole records.
    bytes: u64,
}

/// The log. Clones are the same log.
#[derive(Clone, Debug)]
pub struct AuditLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    file: File,
    end: Mutex<End>,
    now: fn() -> Timestamp,
}

#[derive(Debug)]
struct End {
    records: u64,
    bytes: u64,
    hash: String,
}

impl AuditLog {
    /// Opens the log, checks all of it, records the start, and ends what the last server left open.
    pub fn open(path: &Path, now: fn() -> Timestamp) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AuditError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let found = verify(path)?;
        file.set_len(found.bytes).map_err(failed)?;
        let end = End { records: found.records, bytes: found.bytes, hash: found.last_hash };
        let end = Mutex::new(end);
        let log = Self(Arc::new(Shared { path: path.to_owned(), file, end, now }));
        log.record(None, Act::Start { version: env!("CARGO_PKG_VERSION").to_owned() });
        for of in found.open.into_keys() {
            let outcome = "unknown: the server died before it ended".to_owned();
            log.record(None, Act::End { of, outcome });
        }
        Ok(log)
    }

    /// Records an act before it begins. The result is for [`AuditLog::end`].
    pub async fn begin(&self, actor: &Actor, act: Act) -> Option<u64> {
        let (log, actor) = (self.clone(), actor.clone());
        tokio::task::spawn_blocking(move || log.record(Some(actor), act)).await.ok().flatten()
    }

    /// Records how an act ended; nothing if its beginning could not be recorded.
    pub async fn end(&self, of: Option<u64>, outcome: String) {
        let (log, Some(of)) = (self.clone(), of) else { return };
        let recorded = move || log.record(None, Act::End { of, outcome });
        let _ = tokio::task::spawn_blocking(recorded).await;
    }

    /// The hash of the newest record, to be noted somewhere else.
    pub fn last_hash(&self) -> String {
        self.0.end.lock().unwrap_or_else(PoisonError::into_inner).hash.clone()
    }

    fn record(&self, actor: Option<Actor>, act: Act) -> Option<u64> {
        let mut end = self.0.end.lock().unwrap_or_else(PoisonError::into_inner);
        let mut record = AuditRecord {
            seq: end.records,
            at: (self.0.now)(),
            actor,
            act,
            prev: end.hash.clone(),
            hash: String::new(),
        };
        record.hash = hash_of(&record);
        let mut line = text_of(&record);
        line.push('\n');
        let written = self.0.file.write_all_at(line.as_bytes(), end.bytes);
        if let Err(error) = written.and_then(|()| self.0.file.sync_data()) {
            let path = self.0.path.display();
            tracing::error!(%error, %path, record = line.trim_end(), "audit record not written");
            return None;
        }
        let seq = end.records;
        *end = End { records: seq + 1, bytes: end.bytes + line.len() as u64, hash: record.hash };
        Some(seq)
    }
}

/// Checks a whole log. Does not change it, and may be called while a server writes to it.
pub fn verify(path: &Path) -> Result<Verified, AuditError> {
    let failed = |source| AuditError::Io { path: path.to_owned(), source };
    let mut reader = BufReader::new(File::open(path).map_err(failed)?);
    let mut found = Verified {
        records: 0,
        last_hash: GENESIS.to_owned(),
        open: BTreeMap::new(),
        torn: 0,
        bytes: 0,
    };
    loop {
        let mut line = Vec::new();
        let mut limited = io::Read::take(&mut reader, MAX_RECORD);
        let read = limited.read_until(b'\n', &mut line).map_err(failed)? as u64;
        if read == 0 {
            return Ok(found);
        }
        let broken =
            |why| AuditError::Broken { path: path.to_owned(), line: found.records + 1, why };
        let Some(text) = line.strip_suffix(b"\n") else {
            if read == MAX_RECORD {
                return Err(broken("it is too long for a record"));
            }
            found.torn = read;
            return Ok(found);
        };
        let record = check(text, found.records, &found.last_hash).map_err(broken)?;
        match record.act {
            Act::End { of, .. } => {
                found.open.remove(&of);
            }
            act if act.has_an_end() => {
                found.open.insert(record.seq, act);
            }
            Act::Start { .. } | Act::Prompt { .. } | Act::Cancel { .. } | Act::Verb { .. } => {}
        }
        found.records += 1;
        found.bytes += read;
        found.last_hash = record.hash;
    }
}

/// Whether a line is the record that follows.
fn check(line: &[u8], seq: u64, prev: &str) -> Result<AuditRecord, &'static str> {
    let record: AuditRecord =
        serde_json::from_slice(line).map_err(|_| "it is not a record of an audit log")?;
    // Byte for byte: whatever a reader would pass over must not be changeable either.
    if text_of(&record).as_bytes() != line {
        return Err("it is not written as this program writes records");
    }
    if record.seq != seq {
        return Err("its number is not the next one: records are missing or were added");
    }
    if record.prev != prev {
        return Err("it does not follow the record before it: one of them was changed");
    }
    if record.hash != hash_of(&record) {
        return Err("its hash is not its own: it was changed");
    }
    Ok(record)
}

fn hash_of(record: &AuditRecord) -> String {
    let bare = AuditRecord { hash: String::new(), ..record.clone() };
    hex(&Sha256::digest(text_of(&bare)))
}

fn text_of(record: &AuditRecord) -> String {
    // Text keys and numbers alone: it cannot fail.
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
    use super::*;

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
        let log = AuditLog::open(path, now).expect("opened");
        let begun = log.begin(&actor(), Act::prompt("s", "what is wrong?")).await;
        log.end(begun, "finished".into()).await;
        let begun = log.begin(&actor(), verb("cycle")).await;
        log.end(begun, "exit 0".into()).await;
        log.begin(&actor(), verb("reset")).await;
    }

    #[tokio::test]
    async fn what_a_dead_server_left_open_is_told_by_the_next() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        written(&path).await;
        let found = verify(&path).expect("whole");
        assert_eq!((found.records, found.torn), (6, 0));
        assert_eq!(found.open, BTreeMap::from([(5, verb("reset"))]));
        assert!(matches!(AuditLog::open(&path, now).map(drop), Ok(())));
        let found = verify(&path).expect("whole");
        assert_eq!((found.records, found.open.len()), (8, 0));
    }

    #[tokio::test]
    async fn a_torn_record_is_cut_off_and_the_chain_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        written(&path).await;
        let mut text = std::fs::read(&path).expect("read");
        text.extend_from_slice(b"{\"seq\":6,\"at\":");
        std::fs::write(&path, &text).expect("torn");
        assert_eq!(verify(&path).expect("whole").torn, 14);
        drop(AuditLog::open(&path, now).expect("opened"));
        assert_eq!(verify(&path).expect("whole").torn, 0);
    }

    #[tokio::test]
    async fn one_log_has_one_server() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("audit.jsonl");
        let _first = AuditLog::open(&path, now).expect("opened");
        assert!(matches!(AuditLog::open(&path, now), Err(AuditError::InUse(_))));
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
            match verify(&path) {
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
        check("the first is gone", without(0), 1);
        check("one is gone", without(3), 4);
        check("one twice", format!("{}\n{}\n", lines[0], lines[0]), 2);
        check("a stranger's line", format!("{whole}hello\n"), 7);
        // Whoever recomputes the hash of a changed record must change all that follow.
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
}
