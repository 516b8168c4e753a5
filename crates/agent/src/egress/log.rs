//! The record of what was not let out of a box: a file of JSON lines in the job's folder.
//!
//! The process that refuses writes it, and whoever reports on the job reads it. It quotes what a
//! job asked for, so each text is one short printable line, and the number of lines is limited.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::agents::event::bounded_line;

pub(crate) const FILE: &str = "refused.jsonl";
/// Maximum number of lines; later refusals are not recorded.
const LINES: usize = 1000;
/// Maximum number of bytes that are read: lines are short.
const BYTES: u64 = 2 << 20;
/// Maximum length of a target, and of a reason, in characters.
const TARGET: usize = 120;

/// A request, or attempts past the proxy, that were not let out of a box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// When it was refused, or first refused.
    pub at: Timestamp,
    /// Where it wanted to go, in one line.
    pub target: String,
    /// The reason, in one line.
    pub why: String,
    /// How often the same was refused.
    pub times: u64,
}

/// The open file, and the number of lines that were added to it.
pub(super) struct Log(Mutex<(File, usize)>);

impl Log {
    /// Opens the file in `folder` for appending.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600);
        Ok(Self(Mutex::new((options.open(folder.join(FILE))?, 0))))
    }

    /// Adds a line. An error, such as a full disk, is ignored: the request is refused all the same.
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

/// Reads what was refused since `since`, or ever, in the order of the first time. Refusals with the
/// same target and reason become one, with the sum of their counts.
pub(crate) fn read(folder: &Path, since: Option<Timestamp>) -> io::Result<Vec<Refusal>> {
    let file = match File::open(folder.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(BYTES).read_to_end(&mut text)?;
    let mut all: Vec<Refusal> = Vec::new();
    // A line that a crash cut off does not parse, and is skipped.
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
        // An incomplete line at the end is skipped.
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
