//! Bearer tokens: read from a request, kept as hashes, compared in constant time.

use std::fmt;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The token of `Authorization: Bearer TOKEN`; none if the header is absent, given twice, of
/// another scheme, or without a token.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The SHA-256 of a token, in place of the token itself. Written as 64 hexadecimal digits.
///
/// A plain hash is enough: tokens are random and long, so that nobody finds one by trying.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of `token`.
    pub fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether `token` is the one that was hashed; takes equally long in both cases. The empty
    /// token never matches.
    pub fn matches(&self, token: &str) -> bool {
        let equal: bool = Self::of(token).0.ct_eq(&self.0).into();
        equal && !token.is_empty()
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

impl From<TokenHash> for String {
    fn from(hash: TokenHash) -> Self {
        hash.to_string()
    }
}

/// A text that is not the hash of a token.
#[derive(Debug, thiserror::Error)]
#[error("not 64 hexadecimal digits")]
pub struct NotAHash;

impl TryFrom<String> for TokenHash {
    type Error = NotAHash;

    fn try_from(text: String) -> Result<Self, NotAHash> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NotAHash);
        }
        for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| NotAHash)?;
        }
        Ok(Self(hash))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_read_from_its_header_alone() {
        let read = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(read(&["Bearer abc"]).as_deref(), Some("abc"));
        assert_eq!(read(&["bearer  abc "]).as_deref(), Some("abc"));
        for wrong in ["Bearer", "Bearer ", "Basic abc", "abc", ""] {
            assert_eq!(read(&[wrong]), None, "{wrong}");
        }
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["Bearer abc", "Bearer abc"]), None, "which of the two counts?");
    }

    #[test]
    fn a_hash_matches_its_token_alone_and_never_the_empty_one() {
        let hash = TokenHash::of("secret");
        assert!(hash.matches("secret"));
        for wrong in ["", "Secret", "secret ", "secre"] {
            assert!(!hash.matches(wrong), "{wrong}");
        }
        assert!(!TokenHash::of("").matches(""));
    }

    #[test]
    fn a_hash_is_kept_as_text_and_read_again() {
        let text = serde_json::to_string(&TokenHash::of("secret")).unwrap();
        let read: TokenHash = serde_json::from_str(&text).unwrap();
        assert!(read.matches("secret"));
        assert!(!format!("{read:?}").contains(&read.to_string()));
        for wrong in [r#""""#, r#""abc""#, &format!("\"{}\"", "é".repeat(32))] {
            assert!(serde_json::from_str::<TokenHash>(wrong).is_err(), "{wrong}");
        }
    }
}
