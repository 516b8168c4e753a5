//! Checks the audit log: the files that were put aside, in their order, and then the newest one.
//!
//! Only reads, and may be called while a server writes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use super::{Act, AuditError, AuditRecord, GENESIS, hash_of, same_file, text_of};

/// The longest record that is read, in bytes.
const MAX_RECORD: u64 = 256 * 1024;

/// What a check of the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The number of the first record that was checked.
    pub first: u64,
    /// The number after that of the last record, counted from record 0 even if it was not checked.
    pub records: u64,
    /// The hash of the last record, in hexadecimal.
    pub last_hash: String,
    /// Acts without an end, by the number of their record: under way, or cut off by a death of the
    /// server. The act is `None` if it began in a file that was not checked.
    pub open: BTreeMap<u64, Option<Act>>,
    /// The newest file of a damaged log that this log took the place of, if it did.
    pub anew: Option<String>,
    /// How many bytes there are after the last whole record: a record that a crash cut off.
    pub torn: u64,
    /// Bytes of whole records in the newest file.
    pub(super) bytes: u64,
}

impl Verified {
    fn nothing() -> Self {
        let last_hash = GENESIS.to_owned();
        let open = BTreeMap::new();
        Self { first: 0, records: 0, last_hash, open, anew: None, torn: 0, bytes: 0 }
    }
}

/// Checks the whole log whose newest file is `path`. `after` is the hash of the last record that is
/// not here, if the oldest files are kept somewhere else.
pub fn verify(path: &Path, after: Option<&str>) -> Result<Verified, AuditError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| AuditError::Io { path, source }
    };
    // The newest file is opened first, so that it is still read if it is put aside meanwhile.
    let newest = File::open(path).map_err(failed(path))?;
    let mut found = Verified::nothing();
    if let Some(after) = after {
        after.clone_into(&mut found.last_hash);
    }
    let mut files = Vec::new();
    for (_, archive) in archives(path).map_err(failed(path))? {
        // Leave out a second name of the newest file, which is about to be put aside.
        if !same_file(&archive, path).map_err(failed(&archive))? {
            let file = File::open(&archive).map_err(failed(&archive))?;
            files.push((archive, file));
        }
    }
    files.push((path.to_owned(), newest));
    for (at, (path, file)) in files.into_iter().enumerate() {
        let is_oldest = at == 0;
        let begins = first_of(&path, &file)?;
        if is_oldest && let Some(first) = begins.filter(|first| *first > 0) {
            if after.is_none() {
                return Err(AuditError::Incomplete { path, first });
            }
            (found.first, found.records) = (first, first);
        }
        check_file(&path, file, &mut found)?;
    }
    Ok(found)
}

/// Checks the newest file alone, which may continue others.
pub(super) fn continued(path: &Path) -> Result<Verified, AuditError> {
    let failed = |source| AuditError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let mut found = Verified::nothing();
    if let Some(record) = first_record(path, &file)? {
        (found.first, found.records) = (record.seq, record.seq);
        found.last_hash = record.prev;
        if let Act::Continue { open } = record.act {
            found.open = open.into_iter().map(|seq| (seq, None)).collect();
        } else if record.seq > 0 {
            let why = "records before it are missing, and it does not continue another file";
            return Err(AuditError::Broken { path: path.to_owned(), line: 1, why });
        } else {
            GENESIS.clone_into(&mut found.last_hash);
        }
    }
    check_file(path, file, &mut found)?;
    Ok(found)
}

/// Lists the files that were put aside with the numbers of their first records, the oldest first.
pub(super) fn archives(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned() + ".";
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let entry = entry?;
        let number = entry.file_name().to_string_lossy().strip_prefix(&name).map(str::to_owned);
        let number = number.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        if let Some(number) = number.and_then(|text| text.parse().ok()) {
            found.push((number, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Reads the number of a file's first record.
fn first_of(path: &Path, file: &File) -> Result<Option<u64>, AuditError> {
    Ok(first_record(path, file)?.map(|record| record.seq))
}

fn first_record(path: &Path, file: &File) -> Result<Option<AuditRecord>, AuditError> {
    let failed = |source| AuditError::Io { path: path.to_owned(), source };
    let mut line = Vec::new();
    let read = (|| {
        let mut start = file.try_clone()?;
        io::Seek::rewind(&mut start)?;
        io::Read::take(BufReader::new(&start), MAX_RECORD).read_until(b'\n', &mut line)?;
        io::Seek::rewind(&mut start)
    })();
    read.map_err(failed)?;
    // The check of the whole file reports whatever is wrong with the line.
    Ok(line.strip_suffix(b"\n").and_then(|line| serde_json::from_slice(line).ok()))
}

/// Checks the records of one file, which must follow those in `found`, and adds them there.
fn check_file(path: &Path, file: File, found: &mut Verified) -> Result<(), AuditError> {
    let failed = |source| AuditError::Io { path: path.to_owned(), source };
    let mut reader = BufReader::new(file);
    let mut lines = 0;
    if found.torn > 0 {
        let why = "the file before it ends within a record";
        return Err(AuditError::Broken { path: path.to_owned(), line: 1, why });
    }
    found.bytes = 0;
    loop {
        let mut line = Vec::new();
        let mut limited = io::Read::take(&mut reader, MAX_RECORD);
        let read = limited.read_until(b'\n', &mut line).map_err(failed)? as u64;
        if read == 0 {
            return Ok(());
        }
        lines += 1;
        let broken = |why| AuditError::Broken { path: path.to_owned(), line: lines, why };
        let Some(text) = line.strip_suffix(b"\n") else {
            if read == MAX_RECORD {
                return Err(broken("it is too long for a record"));
            }
            found.torn = read;
            return Ok(());
        };
        let record = check(text, found.records, &found.last_hash).map_err(broken)?;
        match record.act {
            Act::End { of, .. } => {
                found.open.remove(&of);
            }
            Act::Continue { open } => {
                // Acts that began in files that are not here are only known from this record.
                for seq in open {
                    found.open.entry(seq).or_insert(None);
                }
            }
            act if act.has_an_end() => {
                found.open.insert(record.seq, Some(act));
            }
            Act::Anew { kept, .. } => found.anew = Some(kept),
            Act::Start { .. } | Act::Prompt { .. } | Act::Cancel { .. } | Act::Verb { .. } => {}
        }
        found.records += 1;
        found.bytes += read;
        found.last_hash = record.hash;
    }
}

/// Reads a line that must be the record with number `seq` after the one with hash `prev`.
fn check(line: &[u8], seq: u64, prev: &str) -> Result<AuditRecord, &'static str> {
    let record: AuditRecord =
        serde_json::from_slice(line).map_err(|_| "it is not a record of an audit log")?;
    // Byte for byte: not even what the JSON reader ignores may be changed.
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
