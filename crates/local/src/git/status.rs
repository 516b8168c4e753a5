//! Whether a work tree is dirty, according to git in the box.
//!
//! The caller runs [`Status::argv`] in the box; only its output is parsed here.

use super::error::GitError;

/// What is not committed in a work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Git's two status letters and the path as bytes, for each path.
    pub entries: Vec<([u8; 2], Vec<u8>)>,
}

impl Status {
    /// Returns the command to run in the box, in the clone's folder.
    pub fn argv() -> Vec<&'static str> {
        let neutral = ["git", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"];
        let status = ["status", "--porcelain=v1", "-z", "--untracked-files=normal", "--no-renames"];
        neutral.into_iter().chain(status).chain(["--ignore-submodules=none"]).collect()
    }

    /// Parses the output of [`Status::argv`].
    pub fn parse(bytes: &[u8]) -> Result<Self, GitError> {
        let strange = |detail: String| GitError::Unexpected { command: "status", detail };
        let mut entries = Vec::new();
        for entry in bytes.split(|b| *b == 0).filter(|e| !e.is_empty()) {
            match entry {
                [x, y, b' ', path @ ..] if !path.is_empty() => {
                    entries.push(([*x, *y], path.to_vec()));
                }
                _ => return Err(strange(format!("{:?}", String::from_utf8_lossy(entry)))),
            }
        }
        Ok(Self { entries })
    }

    /// Whether anything is not committed.
    pub fn is_dirty(&self) -> bool {
        !self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_committed_is_read_with_any_path() {
        let status = Status::parse(b" M a b\0?? x\ny\0A  z\0").unwrap();
        assert_eq!(status.entries.len(), 3);
        assert_eq!(status.entries.get(1), Some(&(*b"??", b"x\ny".to_vec())));
        assert!(!Status::parse(b"").unwrap().is_dirty());
        assert!(Status::parse(b"fatal: not a repository").is_err());
    }
}
