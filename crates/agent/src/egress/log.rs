//! The record of what was not let out of a box: a file of lines in the job's folder.
//!
//! Written by the process that refuses, read by whoever reports on the job. What a job asked for is in
//! it, so each text is one short printable line, and the file's size is limited.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agents::event::bounded_line;

/// The file's name.
pub(crate) const FILE: &str = "refused.jsonl";
/// Maximum number of lines; what comes later is refused just the same.
const LINES: usize = 1000;
/// Maximum number of bytes that are read: lines are short.
const BYTES: u64 = 2 << 20;
/// Maximum length of a target, in characters.
const TARGET: usize = 120;

/// Something that was not let out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// When, or when first.
    pub at: Timestamp,
    /// Where it wanted to go, in one line.
    pub target: String,
    /// Why it may not.
    pub why: String,
    /// How often.
    pub times: u64,
}

/// The file, while it is written.
pub(super) struct Log(Mutex<(File, usize)>);

impl Log {
    /// Appends to the file in `folder`.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        Ok(Self(Mutex::new((options.open(folder.join(FILE))?, 0))))
    }

    /// Adds a line. A full disk refuses nothing less.
    pub(super) fn add(&self, target: &str, why: &str, times: u64) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, lines) = &mut *held;
        *lines += 1;
        if *lines > LINES {
            return;
        }
        let refusal = Refusal {
            at: Timestamp::now(),
            target: bounded_line(target, TARGET),
            why: bounded_line(why, TARGET),
            times,
        };
        let Ok(mut line) = serde_json::to_vec(&refusal) else { return };
        line.push(b'\n');
        let _ = file.write_all(&line);
    }
}

/// What was refused since a moment, in the order of its first time; the same again counts up.
pub(crate) fn read(folder: &Path, since: Option<Timestamp>) -> io::Result<Vec<Refusal>> {
    let file = match File::open(folder.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(BYTES).read_to_end(&mut text)?;
    let mut all: Vec<Refusal> = Vec::new();
    // A line that was cut off by a crash is none.
    let lines = text.split(|byte| *byte == b'\n');
    for new in lines.filter_map(|line| serde_json::from_slice::<Refusal>(line).ok()) {
        if since.is_some_and(|since| new.at < since) {
            continue;
        }
        let same = |old: &&mut Refusal| old.target == new.target && old.why == new.why;
        match all.iter_mut().find(same) {
            Some(old) => old.times = old.times.saturating_add(new.times),
            None => all.push(new),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_read_again_and_repeats_count_up() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path(), None).unwrap(), []);
        let log = Log::open(folder.path()).unwrap();
        log.add("a.example:443", "no", 1);
        log.add("b\u{1b}[2J\n.example:443", "no", 2);
        log.add("a.example:443", "no", 1);
        let told = |since| -> Vec<(String, u64)> {
            let all = read(folder.path(), since).unwrap();
            all.into_iter().map(|one| (one.target, one.times)).collect()
        };
        let both = [("a.example:443".to_owned(), 2), ("b [2J .example:443".to_owned(), 2)];
        assert_eq!(told(None), both);
        let now = Timestamp::now();
        log.add("a.example:443", "no", 1);
        assert_eq!(told(Some(now)), [("a.example:443".to_owned(), 1)]);
        // A torn line at the end is not read.
        let mut file = OpenOptions::new().append(true).open(folder.path().join(FILE)).unwrap();
        file.write_all(b"{\"at\":\"20").unwrap();
        assert_eq!(told(Some(now)).len(), 1);
    }

    #[test]
    fn a_job_cannot_fill_the_disk_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path()).unwrap();
        for n in 0..LINES * 2 {
            log.add(&format!("{n}{}", "x".repeat(10_000)), &"y".repeat(10_000), 1);
        }
        assert_eq!(read(folder.path(), None).unwrap().len(), LINES);
        assert!(folder.path().join(FILE).metadata().unwrap().len() < BYTES);
    }
}
