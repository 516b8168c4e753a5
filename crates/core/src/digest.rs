//! SHA-256 digests: of pinned texts, transcripts, and commands.
//!
//! Used wherever a text must be recognised later without being kept. A digest identifies content;
//! it is not secret and protects nothing.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The SHA-256 of some bytes, as 64 lowercase hex digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Box<str>);

/// Text that is not a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a digest (64 lowercase hex digits)")]
pub struct NotADigest;

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self::of_hash(Sha256::new_with_prefix(bytes.as_ref()))
    }

    /// The digest of bytes that were hashed in parts.
    pub fn of_hash(hash: Sha256) -> Self {
        let mut hex = String::with_capacity(64);
        for byte in hash.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
        }
        Self(hex.into())
    }

    /// The digest of a list of texts; different lists never give the same bytes.
    pub fn of_list<T: AsRef<str>>(texts: &[T]) -> Self {
        let mut bytes = Vec::new();
        for text in texts {
            let text = text.as_ref();
            bytes.extend_from_slice(format!("{}:", text.len()).as_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        Self::of(bytes)
    }

    /// The hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = NotADigest;
    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex && text.len() == 64 { Ok(Self(text.into())) } else { Err(NotADigest) }
    }
}

impl TryFrom<String> for Digest {
    type Error = NotADigest;
    fn try_from(text: String) -> Result<Self, NotADigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        assert_eq!(
            Digest::of("abc").as_str(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(Digest::of("abc").to_string().parse(), Ok(Digest::of("abc")));
        assert_eq!("abc".parse::<Digest>(), Err(NotADigest));
        assert_eq!(Digest::of("abc").short(), "ba7816bf8f01");
        assert_eq!(format!("{:?}", Digest::of("abc")), Digest::of("abc").to_string());
    }

    #[test]
    fn lists_that_differ_only_in_their_cuts_differ() {
        assert_ne!(Digest::of_list(&["ab", "c"]), Digest::of_list(&["a", "bc"]));
        assert_ne!(Digest::of_list(&["a"]), Digest::of_list(&["a", ""]));
    }
}
