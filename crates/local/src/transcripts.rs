//! Transcripts that outlive their run's workspace. The folder `transcripts/<run>/` has an entry for
//! each turn in `index.json`, and each turn's lines in `turn-<n>.jsonl.gz`.
//!
//! A run's folder is written under another name and renamed when it is complete; after a crash it
//! is written anew. It contains what the agent wrote, byte for byte, except the middle of a turn
//! that is longer than [`TURN`]. Everything here blocks: async callers move it to another thread.
//! The executor knows which transcripts a run has.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use afk_agent::agents::AgentKind;
use afk_core::digest::Digest;
use afk_core::ids::RunId;
use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// How much of one turn is kept, in bytes: half from its beginning, half from its end.
pub(super) const TURN: usize = 16 << 20;
/// Maximum size of an index that is read back, in bytes.
const INDEX: u64 = 16 << 20;

/// The folder of all kept transcripts.
#[derive(Debug, Clone)]
pub struct Transcripts {
    root: PathBuf,
}

/// What is recorded about one turn of a kept transcript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptTurn {
    /// The turn's number in its run.
    pub n: u32,
    /// The kind of agent that wrote it.
    pub agent: AgentKind,
    /// How many bytes the agent wrote.
    pub bytes: u64,
    /// The digest of all of these bytes, including those that were cut. The evidence has the same.
    pub sha256: Digest,
    /// How many bytes were cut out of the middle.
    pub cut: u64,
    /// The digest of what is kept; `None` in folders of versions that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Digest>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    turns: Vec<KeptTurn>,
}

impl Transcripts {
    /// Returns the transcripts in `root`, which is created with the first one.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Returns where the transcript of `run` is, once it is kept.
    pub fn path(&self, run: RunId) -> PathBuf {
        self.root.join(run.to_string())
    }

    /// Whether the transcript of `run` is kept.
    pub fn has(&self, run: RunId) -> bool {
        self.path(run).is_dir()
    }

    /// Begins to write the transcript of `run`. An unfinished draft of it is discarded.
    pub fn draft(&self, run: RunId) -> io::Result<Draft> {
        let (to, part) = (self.path(run), self.root.join(format!("{run}.part")));
        remove(&part)?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&part)?;
        Ok(Draft { root: self.root.clone(), part, to, index: Index::default() })
    }

    /// Reads what is kept of turn `n` of `run`: its record, and its lines, which are at most
    /// [`TURN`] bytes and a line that marks a cut. A file that is not as it was written is an
    /// error.
    pub fn read(&self, run: RunId, n: u32) -> io::Result<Option<(KeptTurn, Vec<u8>)>> {
        let folder = self.path(run);
        let index = match File::open(folder.join("index.json")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let index: Index = serde_json::from_reader(index.take(INDEX))?;
        let Some(turn) = index.turns.into_iter().find(|turn| turn.n == n) else {
            return Ok(None);
        };
        let file = folder.join(file_name(n));
        let bytes = decompressed(&file)?;
        let digest = Digest::of(&bytes);
        let same = match &turn.kept {
            Some(kept) => *kept == digest && (turn.cut > 0 || turn.sha256 == digest),
            None => turn.cut > 0 || turn.sha256 == digest,
        };
        if !same {
            let text = format!("turn {n} in {} is not what was kept", folder.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(Some((turn, bytes)))
    }

    /// Removes the oldest transcripts until the rest takes at most `bytes`; returns the runs of
    /// those that were removed.
    pub fn prune(&self, bytes: u64) -> io::Result<Vec<RunId>> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read?,
        };
        let mut kept: Vec<(RunId, u64)> = Vec::new();
        for entry in entries {
            let entry = entry?;
            // A draft belongs to its writer.
            let run = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let Some(run) = run {
                kept.push((run, size(&entry.path())?));
            }
        }
        // A run's id begins with its time.
        kept.sort_unstable();
        let mut total: u64 = kept.iter().map(|(_, bytes)| bytes).sum();
        let mut removed = Vec::new();
        for (run, size) in kept {
            if total <= bytes {
                break;
            }
            remove(&self.path(run))?;
            total = total.saturating_sub(size);
            removed.push(run);
        }
        Ok(removed)
    }
}

/// A transcript that is being written.
#[derive(Debug)]
pub struct Draft {
    root: PathBuf,
    part: PathBuf,
    to: PathBuf,
    index: Index,
}

impl Draft {
    /// Adds what the agent wrote in turn `n`.
    pub fn add(&mut self, n: u32, agent: AgentKind, written: Written) -> io::Result<()> {
        let (bytes, sha256) = (written.bytes, written.digest());
        let (body, cut) = written.kept();
        let mut gz = GzEncoder::new(create(&self.part.join(file_name(n)))?, Compression::default());
        gz.write_all(&body)?;
        gz.finish()?.sync_all()?;
        let kept = Some(Digest::of(&body));
        self.index.turns.push(KeptTurn { n, agent, bytes, sha256, cut, kept });
        Ok(())
    }

    /// Completes the draft by renaming it to its final place. If the transcript was kept already,
    /// that one stays.
    pub fn keep(self) -> io::Result<()> {
        let mut file = create(&self.part.join("index.json"))?;
        serde_json::to_writer(&mut file, &self.index)?;
        file.sync_all()?;
        File::open(&self.part)?.sync_all()?;
        if self.to.is_dir() {
            return remove(&self.part);
        }
        fs::rename(&self.part, &self.to)?;
        File::open(&self.root)?.sync_all()
    }
}

/// What an agent wrote in one turn, taken in parts. Only its beginning and its end are held in
/// memory.
#[derive(Debug)]
pub struct Written {
    half: usize,
    digest: sha2::Sha256,
    bytes: u64,
    head: Vec<u8>,
    tail: VecDeque<u8>,
    cut: u64,
}

impl Written {
    /// Returns an empty one that keeps at most `limit` bytes.
    pub fn within(limit: usize) -> Self {
        Self {
            half: limit / 2,
            digest: sha2::Sha256::new(),
            bytes: 0,
            head: Vec::new(),
            tail: VecDeque::new(),
            cut: 0,
        }
    }

    /// Takes the next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        let room = self.half.saturating_sub(self.head.len());
        let (head, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend(head);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(self.half);
        self.tail.drain(..over);
        self.cut += over as u64;
    }

    fn digest(&self) -> Digest {
        Digest::of_hash(self.digest.clone())
    }

    /// Returns what is kept, and how many bytes of the middle are not. A cut is between lines if
    /// possible, and is marked by a line of its own.
    fn kept(mut self) -> (Vec<u8>, u64) {
        let mut body = self.head;
        if self.cut > 0 {
            if let Some(end) = body.iter().rposition(|byte| *byte == b'\n') {
                self.cut += (body.len() - end - 1) as u64;
                body.truncate(end + 1);
            } else {
                body.push(b'\n');
            }
            if let Some(end) = self.tail.iter().position(|byte| *byte == b'\n') {
                self.cut += end as u64 + 1;
                self.tail.drain(..=end);
            }
            body.extend(format!("{{\"type\":\"cut\",\"bytes\":{}}}\n", self.cut).into_bytes());
        }
        body.extend(self.tail);
        (body, self.cut)
    }
}

/// Decompresses a file, which must be one whole compressed stream and nothing else.
fn decompressed(path: &Path) -> io::Result<Vec<u8>> {
    let odd = |what: &str| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", path.display()))
    };
    let mut gz = GzDecoder::new(BufReader::new(File::open(path)?));
    let mut bytes = Vec::new();
    // The line that marks a cut comes on top.
    let most = TURN as u64 + 4096;
    gz.by_ref().take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(odd("contains more than is ever kept of a turn"));
    }
    let bare = gz.header().is_some_and(|header| {
        (header.filename(), header.extra(), header.comment()) == (None, None, None)
    });
    if !bare {
        return Err(odd("has a heading that was not written here"));
    }
    if !gz.into_inner().fill_buf()?.is_empty() {
        return Err(odd("goes on behind its end: something was put there"));
    }
    Ok(bytes)
}

fn file_name(n: u32) -> String {
    format!("turn-{n}.jsonl.gz")
}

fn create(path: &Path) -> io::Result<File> {
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn size(folder: &Path) -> io::Result<u64> {
    fs::read_dir(folder)?.try_fold(0, |sum, entry| Ok(sum + entry?.metadata()?.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(n: u8) -> RunId {
        format!("0198c0de-0000-7000-8000-0000000000{n:02}").parse().unwrap()
    }

    /// How much of a turn is kept in these tests, in bytes.
    const LIMIT: usize = 1 << 14;

    fn keep(kept: &Transcripts, run: RunId, parts: &[&[u8]]) {
        let mut written = Written::within(LIMIT);
        for part in parts {
            written.take(part);
        }
        let mut draft = kept.draft(run).unwrap();
        draft.add(1, AgentKind::Scripted, written).unwrap();
        draft.keep().unwrap();
    }

    #[test]
    fn what_was_written_is_read_again_and_is_nobody_elses() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let kept = Transcripts::new(folder.path().join("transcripts"));
        // An unfinished draft of a process that died does not get in the way.
        drop(kept.draft(run(1)).unwrap());
        assert_eq!((kept.has(run(1)), kept.read(run(1), 1).unwrap()), (false, None));
        keep(&kept, run(1), &[b"{\"a\":1}\n", b"", b"{\"b\"", b":2}"]);
        let (turn, bytes) = kept.read(run(1), 1).unwrap().unwrap();
        assert_eq!(bytes, b"{\"a\":1}\n{\"b\":2}");
        assert_eq!((turn.bytes, turn.cut, turn.sha256), (15, 0, Digest::of(&bytes)));
        assert_eq!(kept.read(run(1), 2).unwrap(), None);
        // If it is kept again, the first one stays: the workspace may be gone by then.
        keep(&kept, run(1), &[]);
        assert_eq!(kept.read(run(1), 1).unwrap().unwrap().1, bytes);

        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&kept.root), 0o700);
        assert_eq!(mode(&kept.path(run(1))), 0o700);
        for entry in fs::read_dir(kept.path(run(1))).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
        assert!(!kept.root.join(format!("{}.part", run(1))).exists());
    }

    #[test]
    fn a_file_that_is_not_what_was_kept_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Transcripts::new(folder.path().to_owned());
        keep(&kept, run(1), &[b"{\"a\":1}\n"]);
        let file = kept.path(run(1)).join(file_name(1));
        let whole = fs::read(&file).unwrap();
        let member = |text: &[u8]| {
            let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
            gz.write_all(text).unwrap();
            gz.finish().unwrap()
        };
        let named = || {
            let gz = flate2::GzBuilder::new().comment("hidden");
            let mut gz = gz.write(Vec::new(), Compression::fast());
            gz.write_all(b"{\"a\":1}\n").unwrap();
            gz.finish().unwrap()
        };
        let check = |bytes: Vec<u8>, expected: &str| {
            fs::write(&file, bytes).unwrap();
            let error = kept.read(run(1), 1).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected:?}: {error}");
        };
        check(member(b"another"), "is not what was kept");
        check([whole.as_slice(), b"x"].concat(), "goes on behind its end");
        check([whole.as_slice(), &[0]].concat(), "goes on behind its end");
        // A second member, which a decompressor would join to the first one.
        check([whole.clone(), member(b"more\n")].concat(), "goes on behind its end");
        check([whole.clone(), member(b"")].concat(), "goes on behind its end");
        check(named(), "has a heading that was not written here");
        check(member(&vec![b'x'; TURN + 4097]), "more than is ever kept");
        check(whole[..whole.len() - 1].to_vec(), "");
        fs::write(&file, &whole).unwrap();
        assert!(kept.read(run(1), 1).unwrap().is_some());

        // If the middle of a turn was cut, the digest of what is kept is checked.
        keep(&kept, run(2), &[&vec![b'x'; LIMIT * 2]]);
        let file = kept.path(run(2)).join(file_name(1));
        let (_, mut bytes) = kept.read(run(2), 1).unwrap().unwrap();
        bytes[0] = b'y';
        fs::write(&file, member(&bytes)).unwrap();
        let error = kept.read(run(2), 1).unwrap_err().to_string();
        assert!(error.contains("is not what was kept"), "{error}");
    }

    #[test]
    fn a_long_one_keeps_its_ends_and_says_how_much_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Transcripts::new(folder.path().to_owned());
        let line = |n: usize| format!("{{\"n\":{n:>90}}}\n");
        let all: String = (0..LIMIT / 50).map(line).collect();
        let parts: Vec<&[u8]> = all.as_bytes().chunks(LIMIT / 3).collect();
        keep(&kept, run(1), &parts);
        let (turn, bytes) = kept.read(run(1), 1).unwrap().unwrap();
        assert_eq!((turn.bytes, turn.sha256), (all.len() as u64, Digest::of(&all)));
        assert!(turn.cut > 0 && bytes.len() <= LIMIT + 100, "{} of {}", turn.cut, bytes.len());
        let text = String::from_utf8(bytes).unwrap();
        let note = format!("{{\"type\":\"cut\",\"bytes\":{}}}\n", turn.cut);
        let (head, tail) = text.split_once(&note).unwrap();
        assert!(all.starts_with(head) && all.ends_with(tail));
        assert_eq!(head.len() as u64 + turn.cut + tail.len() as u64, turn.bytes);
        assert!(head.ends_with('\n') && tail.starts_with('{'), "whole lines");

        // If there are no lines, both ends are kept as they are.
        keep(&kept, run(2), &[&vec![b'x'; LIMIT], b"y"]);
        let (turn, bytes) = kept.read(run(2), 1).unwrap().unwrap();
        assert_eq!(turn.cut, 1);
        assert!(bytes.starts_with(b"xx") && bytes.ends_with(b"xy"));
    }

    #[test]
    fn the_oldest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let kept = Transcripts::new(folder.path().join("none"));
        assert_eq!(kept.prune(0).unwrap(), vec![]);
        for n in [3, 1, 2] {
            keep(&kept, run(n), &[b"{}\n"]);
        }
        drop(kept.draft(run(4)).unwrap());
        let one = size(&kept.path(run(1))).unwrap();
        assert_eq!(kept.prune(3 * one).unwrap(), vec![]);
        assert_eq!(kept.prune(2 * one).unwrap(), vec![run(1)]);
        assert_eq!(kept.prune(0).unwrap(), vec![run(2), run(3)]);
        assert!(kept.root.join(format!("{}.part", run(4))).exists());
    }
}
