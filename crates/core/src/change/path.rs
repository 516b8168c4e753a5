//! A path inside a git tree: bytes, not text.
//!
//! In records and messages a path is text: bytes that are not printable UTF-8 are escaped as `\xHH`
//! and a backslash as `\\`, so that the text converts back to the same bytes.

use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// A path inside a git tree, components separated by `/`. Never empty.
///
/// Ordered by its bytes, as git orders an index.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TreePath(Box<[u8]>);

/// A text that is not the stored form of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a stored path: empty, or a backslash that starts neither \\\\ nor \\xHH")]
pub struct NotAPath;

impl TreePath {
    /// Takes a path as git prints it; `None` if it is empty.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() { None } else { Some(Self(bytes.into())) }
    }

    /// Returns the path as git prints it.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the path's components.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/')
    }

    /// Returns the path's last component.
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|b| *b == b'/').next().unwrap_or(&self.0)
    }

    /// Returns the folders that contain the path, innermost last, without the root.
    pub fn folders(&self) -> impl Iterator<Item = &[u8]> {
        let slashes = self.0.iter().enumerate().filter(|(_, b)| **b == b'/');
        slashes.map(|(at, _)| self.0.get(..at).unwrap_or_default()).filter(|f| !f.is_empty())
    }

    /// Resolves this path if `link`, which is the path itself or one of its folders, is a symbolic
    /// link to `target`; `None` if `link` is neither, or the result is outside the tree.
    pub fn through(&self, link: &Self, target: &[u8]) -> Option<Self> {
        let rest = self.0.strip_prefix(&*link.0)?;
        if !(rest.is_empty() || rest.starts_with(b"/")) || target.starts_with(b"/") {
            return None;
        }
        let mut parts: Vec<&[u8]> = link.components().collect();
        parts.pop();
        for part in target.split(|b| *b == b'/').chain(rest.split(|b| *b == b'/')) {
            match part {
                b"" | b"." => {}
                b".." => drop(parts.pop()?),
                part => parts.push(part),
            }
        }
        Self::new(&parts.join(&b'/'))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    c if c.is_control() => {
                        let mut buffer = [0; 4];
                        for byte in c.encode_utf8(&mut buffer).bytes() {
                            write!(f, "\\x{byte:02x}")?;
                        }
                    }
                    c => f.write_char(c)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for TreePath {
    type Error = NotAPath;
    fn try_from(text: String) -> Result<Self, NotAPath> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            (rest, ()) = match (first, after) {
                (b'\\', [b'\\', after @ ..]) => (after, bytes.push(b'\\')),
                (b'\\', [b'x', high, low, after @ ..]) => {
                    let digit = |b: u8| char::from(b).to_digit(16).ok_or(NotAPath);
                    let byte = digit(*high)? * 16 + digit(*low)?;
                    (after, bytes.push(byte as u8))
                }
                (b'\\', _) => return Err(NotAPath),
                (plain, after) => (after, bytes.push(*plain)),
            };
        }
        Self::new(&bytes).ok_or(NotAPath)
    }
}

impl From<TreePath> for String {
    fn from(path: TreePath) -> String {
        path.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shows_what_can_be_shown() {
        let shown = |bytes: &[u8]| TreePath::new(bytes).unwrap().to_string();
        assert_eq!(shown("src/grün.rs".as_bytes()), "src/grün.rs");
        assert_eq!(shown(b"a\\b\n\xff"), "a\\\\b\\x0a\\xff");
        assert_eq!(format!("{:?}", TreePath::new(b"a").unwrap()), "a");
        for bad in ["", "\\", "\\x", "\\x0", "\\xzz", "\\n"] {
            assert_eq!(TreePath::try_from(bad.to_owned()), Err(NotAPath), "{bad:?}");
        }
        let folders: Vec<_> =
            TreePath::new(b"a/b/c").unwrap().folders().map(<[u8]>::to_vec).collect();
        assert_eq!(folders, [b"a".to_vec(), b"a/b".to_vec()]);
    }

    proptest! {
        #[test]
        fn the_text_leads_back_to_the_bytes(bytes in proptest::collection::vec(any::<u8>(), 1..40)) {
            let path = TreePath::new(&bytes).unwrap();
            let text = serde_json::to_string(&path).unwrap();
            prop_assert_eq!(serde_json::from_str::<TreePath>(&text).unwrap(), path);
        }
    }

    #[test]
    fn a_link_stands_for_what_it_points_to() {
        let path = |text: &str| TreePath::new(text.as_bytes()).unwrap();
        let check = |named: &str, link: &str, target: &str, expected: Option<&str>| {
            let to = path(named).through(&path(link), target.as_bytes());
            assert_eq!(to, expected.map(path), "{named} by {link} -> {target}");
        };
        check("check", "check", "tools/run-tests", Some("tools/run-tests"));
        check("ci/check", "ci/check", "../tools/run", Some("tools/run"));
        check("ci/check", "ci", "tools/./deep", Some("tools/deep/check"));
        check("check", "che", "tools", None);
        check("check", "other", "tools", None);
        check("check", "check", "/bin/true", None);
        check("check", "check", "../outside", None);
    }
}
