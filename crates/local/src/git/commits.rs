//! Parses commit objects: pure, from the raw bytes that `cat-file` prints.
//!
//! `read` calls this. Guardrails need the exact bytes of header and message, so these are not
//! decoded, cleaned or wrapped.

use afk_core::ids::{Oid, RunId};

/// A commit as its raw object has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The commit's id.
    pub id: Oid,
    /// The id of its tree.
    pub tree: Oid,
    /// The ids of its parents, first parent first.
    pub parents: Vec<Oid>,
    /// The author.
    pub author: Signature,
    /// The committer.
    pub committer: Signature,
    /// The header, byte for byte, without its last line end.
    pub header: Vec<u8>,
    /// The message, byte for byte.
    pub message: Vec<u8>,
}

/// The author or committer of a commit, as the commit claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// The name, lossily decoded.
    pub name: String,
    /// The address, lossily decoded.
    pub email: String,
    /// The time in seconds since 1970; 0 if it is missing or malformed.
    pub seconds: i64,
}

/// The control plane's own trailers of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trailers {
    /// The value of `AFK-Run`.
    pub run: RunId,
    /// The value of `AFK-Attempt`, if there is a valid one.
    pub attempt: Option<u32>,
}

impl Commit {
    /// Parses a raw commit object; `None` if it is not one.
    pub(crate) fn parse(id: &Oid, raw: &[u8]) -> Option<Self> {
        let split = raw.windows(2).position(|w| w == b"\n\n")?;
        let (head, message) = (raw.get(..split)?, raw.get(split + 2..)?);
        let mut lines = head.split(|b| *b == b'\n');
        let tree = oid(lines.next()?.strip_prefix(b"tree ")?)?;
        let (mut parents, mut author, mut committer) = (Vec::new(), None, None);
        for line in lines {
            if let Some(parent) = line.strip_prefix(b"parent ") {
                parents.push(oid(parent)?);
            } else if let Some(who) = line.strip_prefix(b"author ") {
                author.get_or_insert(signature(who));
            } else if let Some(who) = line.strip_prefix(b"committer ") {
                committer.get_or_insert(signature(who));
            }
        }
        Some(Self {
            id: id.clone(),
            tree,
            parents,
            author: author?,
            committer: committer?,
            header: head.to_vec(),
            message: message.to_vec(),
        })
    }

    /// Returns the control plane's trailers, on whatever lines they are: a forge that squashes
    /// moves them away from the end. If there are several runs, the last counts.
    pub fn trailers(&self) -> Option<Trailers> {
        let mut found: Option<Trailers> = None;
        for line in self.message.split(|b| *b == b'\n') {
            let Some((key, value)) = std::str::from_utf8(line).ok().and_then(|l| l.split_once(':'))
            else {
                continue;
            };
            if key.eq_ignore_ascii_case("AFK-Run") {
                if let Ok(run) = value.trim().parse() {
                    found = Some(Trailers { run, attempt: None });
                }
            } else if key.eq_ignore_ascii_case("AFK-Attempt")
                && let Some(trailers) = &mut found
            {
                trailers.attempt = value.trim().parse().ok();
            }
        }
        found
    }
}

fn oid(bytes: &[u8]) -> Option<Oid> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Parses `Name <address> seconds zone` from the right, because a name may contain anything.
fn signature(bytes: &[u8]) -> Signature {
    let text = String::from_utf8_lossy(bytes);
    let (who, when) = text.rsplit_once('>').unwrap_or((&text, ""));
    let (name, email) = who.rsplit_once('<').unwrap_or((who, ""));
    let seconds = when.split_whitespace().next().and_then(|s| s.parse().ok()).unwrap_or(0);
    Signature { name: name.trim().to_owned(), email: email.to_owned(), seconds }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "0198c0de-0000-7000-8000-000000000001";

    fn commit(message: &str) -> Commit {
        let tree = "a".repeat(40);
        let raw = format!(
            "tree {tree}\nparent {tree}\nauthor A <b> <a@b> 12 +0200\ncommitter C <c@d> 13 +0000\n\
             gpgsig x\n author Evil <e@e> 1 +0000\n\n{message}"
        );
        Commit::parse(&"b".repeat(40).parse().unwrap(), raw.as_bytes()).unwrap()
    }

    fn check(message: &str, expected: &[Option<u32>]) {
        let found = commit(message).trailers();
        assert_eq!(found.map(|t| t.attempt).as_slice(), expected, "{message:?}");
    }

    #[test]
    fn a_commit_is_read_byte_for_byte() {
        let commit = commit("subject\n\nbody \n\n");
        assert_eq!(commit.message, b"subject\n\nbody \n\n");
        assert_eq!((commit.author.name.as_str(), commit.author.seconds), ("A <b>", 12));
        assert_eq!(commit.committer.email, "c@d");
        assert_eq!(commit.parents.len(), 1);
        assert!(commit.header.starts_with(b"tree ") && commit.header.ends_with(b"1 +0000"));
        assert!(Commit::parse(&commit.id, b"blob of text").is_none());
    }

    #[test]
    fn trailers_are_found_wherever_a_line_starts_with_them() {
        check(&format!("s\n\nAFK-Run: {RUN}\nAFK-Attempt: 2\n"), &[Some(2)]);
        check(&format!("s\n\nafk-run: {RUN}\n\nCo-authored-by: x <x@y>\n"), &[None]);
        check(&format!("s\r\n\r\nAFK-Run: {RUN}\r\nAFK-Attempt: 3\r\n"), &[Some(3)]);
        check(&format!("s\n\n see AFK-Run: {RUN}\n"), &[]);
        check("s\n\nAFK-Run: no-uuid\n", &[]);
        check("AFK-Attempt: 1\n", &[]);
    }
}
