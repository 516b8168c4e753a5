//! The author of the commits that we land: a name and an address, as the operator writes them.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::forms::{self, text_schema};

/// A name and an address, written `Name <address>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Author {
    name: String,
    address: String,
}

text_schema!(Author, "A name and an address, written `Name <address>`.", forms::author());

/// A text that is no author. It is not quoted, because any value may be a misplaced secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not of the form \"Name <address>\": letters, digits and one pair of angle brackets")]
pub struct NotAnAuthor;

/// Maximum length of the name and of the address, in bytes.
const LONGEST: usize = 200;

impl Author {
    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Default for Author {
    fn default() -> Self {
        Self { name: "afk".to_owned(), address: "afk@localhost".to_owned() }
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <{}>", self.name, self.address)
    }
}

impl FromStr for Author {
    type Err = NotAnAuthor;

    fn from_str(text: &str) -> Result<Self, NotAnAuthor> {
        let (name, rest) = text.split_once('<').ok_or(NotAnAuthor)?;
        let address = rest.trim_end().strip_suffix('>').ok_or(NotAnAuthor)?;
        let (name, address) = (name.trim(), address.trim());
        let strange = |c: char| c.is_control() || crate::text::is_hidden(c) || "<>".contains(c);
        // Git strips these from both ends, and refuses a name that consists of nothing else.
        let bare = |text: &str| text.trim_matches(|c| c <= ' ' || ".,:;\"\\'".contains(c)) == text;
        let fits = |text: &str| {
            !text.is_empty() && text.len() <= LONGEST && bare(text) && !text.contains(strange)
        };
        if fits(name) && fits(address) && !address.contains(char::is_whitespace) {
            Ok(Self { name: name.to_owned(), address: address.to_owned() })
        } else {
            Err(NotAnAuthor)
        }
    }
}

impl Serialize for Author {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Author {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_an_address() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let read = text.parse::<Author>().ok();
            let read = read.as_ref().map(|author| (author.name(), author.address()));
            assert_eq!(read, expected, "{text:?}");
        };
        check("afk <afk@localhost>", Some(("afk", "afk@localhost")));
        check(" The bot of ACME  < bot@acme.io > ", Some(("The bot of ACME", "bot@acme.io")));
        check("Ünal O'Neill <u@x>", Some(("Ünal O'Neill", "u@x")));
        for bad in [
            "",
            "afk",
            "afk@localhost",
            "<afk@localhost>",
            "afk <>",
            "afk <a b>",
            "a\nb <a@b>",
            "a\u{202e}b <a@b>",
            "afk <a@b> x",
            "afk <<a@b>>",
            "., <a@b>",
        ] {
            check(bad, None);
        }
        let longest = "x".repeat(LONGEST);
        check(&format!("{longest} <{longest}>"), Some((longest.as_str(), longest.as_str())));
        check(&format!("{longest}x <a@b>"), None);
        check(&format!("afk <{longest}x>"), None);
    }

    #[test]
    fn it_is_text_in_records() {
        let author = Author::default();
        let json = serde_json::to_string(&author).unwrap();
        assert_eq!(json, "\"afk <afk@localhost>\"");
        assert_eq!(serde_json::from_str::<Author>(&json).unwrap(), author);
        assert!(serde_json::from_str::<Author>("\"hunter2\"").is_err());
        let said = serde_json::from_str::<Author>("\"hunter2\"").unwrap_err().to_string();
        assert!(!said.contains("hunter2"), "{said}");
    }
}
