//! The source of a secret, which a configuration contains in place of the secret itself.
//!
//! Only the source is kept, compared and written; the value is read at each use by the engine's
//! `Secrets` port, and is only held in a `SecretString`. People do write a secret where its source
//! belongs, so no error of parsing a source quotes the text, and neither `Debug` nor `Display`
//! shows more of a source than is needed to find it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, Expected, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::forms::{self, text_schema};

/// Where a secret comes from. It is read at each use.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SecretSource {
    /// The name of the environment variable that holds the secret.
    Env(#[schemars(regex(pattern = forms::VARIABLE))] String),
    /// The path of the file that holds the secret; trailing white space is ignored.
    File(#[schemars(regex(pattern = "^/"))] PathBuf),
    /// The command (argv) that prints the secret; it is run without a shell.
    Command(#[schemars(schema_with = "forms::command_schema")] Vec<String>),
    /// The field in Vault or `OpenBao` (KV version 2) that holds the secret, as `mount/path#field`.
    Vault(VaultPlace),
}

/// A field of a secret in Vault or `OpenBao`, written as `mount/path#field`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(into = "String")]
pub struct VaultPlace {
    /// The mount of the KV engine.
    mount: String,
    /// The path below it: one segment or more.
    path: String,
    /// The name of the field of the secret.
    field: String,
}

text_schema!(
    VaultPlace,
    "A field of a secret in Vault or `OpenBao` (KV version 2), written as `mount/path#field`.",
    forms::vault_place()
);

/// A text that names no place in Vault. It is not quoted, because it may be the secret itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a place in Vault is mount/path#field, such as secret/afk/slack#token")]
pub struct NoVaultPlace;

/// Maximum length of a place in Vault, in bytes.
const LONGEST_PLACE: usize = 512;

impl VaultPlace {
    /// Returns the mount of the KV engine.
    pub fn mount(&self) -> &str {
        &self.mount
    }

    /// Returns the segments of the path below the mount.
    pub fn path(&self) -> impl Iterator<Item = &str> {
        self.path.split('/')
    }

    /// Returns the name of the field.
    pub fn field(&self) -> &str {
        &self.field
    }
}

impl FromStr for VaultPlace {
    type Err = NoVaultPlace;

    fn from_str(text: &str) -> Result<Self, NoVaultPlace> {
        let is_part = |part: &str| {
            let is_seen = |c: char| !c.is_whitespace() && !c.is_control() && !"#?%\\".contains(c);
            !part.is_empty() && part != "." && part != ".." && part.chars().all(is_seen)
        };
        let (place, field) = text.split_once('#').ok_or(NoVaultPlace)?;
        let (mount, path) = place.split_once('/').ok_or(NoVaultPlace)?;
        let good = text.len() <= LONGEST_PLACE
            && is_part(mount)
            && path.split('/').all(is_part)
            && is_part(field);
        let owned = || (mount.to_owned(), path.to_owned(), field.to_owned());
        let (mount, path, field) = good.then(owned).ok_or(NoVaultPlace)?;
        Ok(Self { mount, path, field })
    }
}

impl fmt::Display for VaultPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}#{}", self.mount, self.path, self.field)
    }
}

impl fmt::Debug for VaultPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<VaultPlace> for String {
    fn from(place: VaultPlace) -> Self {
        place.to_string()
    }
}

/// What a source looks like, for an error.
const SHAPE: &str = "one of { env = \"NAME\" }, { file = \"/path\" }, \
    { command = [\"program\"] } and { vault = \"mount/path#field\" }: a secret is not written in the \
    configuration";

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            // Arguments may be sensitive: only the program is named.
            Self::Command(argv) => {
                write!(f, "command {}", argv.first().map_or("", String::as_str))
            }
            Self::Vault(place) => write!(f, "Vault {place}"),
        }
    }
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = SecretSource;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHAPE)
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<SecretSource, E> {
        // The default would quote the text, which may be the secret itself.
        Err(E::invalid_value(Unexpected::Other("text"), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SecretSource, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            env: Option<String>,
            file: Option<PathBuf>,
            command: Option<Vec<String>>,
            vault: Option<String>,
        }
        // Nested errors may quote the secret, too: the expected shape says enough.
        let read = Table::deserialize(MapAccessDeserializer::new(map));
        let unlike = |shape: &dyn Expected| {
            A::Error::invalid_value(Unexpected::Other("something else"), shape)
        };
        match read.map_err(|_| unlike(&self))? {
            Table { env: Some(env), file: None, command: None, vault: None } => {
                if is_name(&env) {
                    Ok(SecretSource::Env(env))
                } else {
                    Err(unlike(&VARIABLE))
                }
            }
            Table { env: None, file: Some(file), command: None, vault: None } => {
                if file.is_absolute() { Ok(SecretSource::File(file)) } else { Err(unlike(&FILE)) }
            }
            Table { env: None, file: None, command: Some(command), vault: None }
                if command.first().is_some_and(|program| !program.is_empty()) =>
            {
                Ok(SecretSource::Command(command))
            }
            Table { env: None, file: None, command: None, vault: Some(place) } => {
                place.parse().map(SecretSource::Vault).map_err(|_| unlike(&VAULT))
            }
            Table { .. } => Err(unlike(&self)),
        }
    }
}

/// What `env` must be. Most secrets put there by mistake contain other characters.
const VARIABLE: &str = "the name of an environment variable: letters, digits and underscores, as \
    in { env = \"NAME\" }";
/// What `file` must be.
const FILE: &str = "the absolute path of a file, as in { file = \"/path\" }";
/// What `vault` must be.
const VAULT: &str = "a place in Vault, as in { vault = \"secret/afk/slack#token\" }: the mount of the KV \
    engine, the path without \"data\", and the field";

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(written: &serde_json::Value, expected: Option<&SecretSource>) {
        match SecretSource::deserialize(written) {
            Ok(source) => assert_eq!(Some(&source), expected, "{written}"),
            Err(error) => {
                assert_eq!(expected, None, "{written}: {error}");
                assert!(!error.to_string().contains("hunter2"), "{error}");
            }
        }
    }

    #[test]
    fn a_source_is_one_of_four_and_no_error_repeats_what_stood_there() {
        check(&json!({ "env": "TOKEN" }), Some(&SecretSource::Env("TOKEN".into())));
        check(&json!({ "file": "/run/token" }), Some(&SecretSource::File("/run/token".into())));
        let command = SecretSource::Command(vec!["pass".into(), "x".into()]);
        check(&json!({ "command": ["pass", "x"] }), Some(&command));
        let place = "secret/afk/slack#token";
        let vault = SecretSource::Vault(place.parse().unwrap());
        check(&json!({ "vault": place }), Some(&vault));
        for wrong in [
            json!("hunter2"),
            json!({ "vault": "hunter2" }),
            json!({ "vault": "hunter2/x" }),
            json!({ "vault": "hunter2#x" }),
            json!({ "vault": "/hunter2#x" }),
            json!({ "vault": "secret/#hunter2" }),
            json!({ "vault": "secret/hunter2/#x" }),
            json!({ "vault": "secret/hunter2#" }),
            json!({ "vault": "secret/../hunter2#x" }),
            json!({ "vault": "secret/hunter2?version=1#x" }),
            json!({ "vault": "secret/a hunter2#x" }),
            json!({ "vault": "secret/x#hunter2#y" }),
            json!({ "vault": format!("secret/{}#hunter2", "x".repeat(600)) }),
            json!({ "vault": ["secret/hunter2#x"] }),
            json!({ "vault": "secret/x#y", "env": "HUNTER2" }),
            json!(["hunter2"]),
            json!({ "value": "hunter2" }),
            json!({ "env": "" }),
            json!({ "env": "sk-hunter2" }),
            json!({ "env": ["hunter2"] }),
            json!({ "file": "hunter2" }),
            json!({ "command": [] }),
            json!({ "command": "hunter2" }),
            json!({ "command": [["hunter2"]] }),
            json!({ "command": ["", "hunter2"] }),
            json!({ "env": "A", "file": "/hunter2" }),
            json!({}),
        ] {
            check(&wrong, None);
        }
    }

    #[test]
    fn what_is_no_source_is_told_what_one_looks_like() {
        let check = |written: serde_json::Value, got: &str, expected: &str| {
            let error = SecretSource::deserialize(&written).unwrap_err().to_string();
            assert_eq!(error, format!("invalid value: {got}, expected {expected}"), "{written}");
        };
        check(json!("hunter2"), "text", SHAPE);
        check(json!({}), "something else", SHAPE);
        check(json!({ "env": "a-b" }), "something else", VARIABLE);
        check(json!({ "file": "a" }), "something else", FILE);
        check(json!({ "vault": "a" }), "something else", VAULT);
        let shown = |source: SecretSource| source.to_string();
        assert_eq!(shown(SecretSource::Env("TOKEN".into())), "environment variable TOKEN");
        assert_eq!(shown(SecretSource::File("/run/token".into())), "file /run/token");
        assert_eq!(shown(SecretSource::Command(vec!["pass".into(), "x".into()])), "command pass");
        let place = "secret/afk/slack#token";
        assert_eq!(shown(SecretSource::Vault(place.parse().unwrap())), format!("Vault {place}"));
    }

    #[test]
    fn a_place_in_vault_has_a_longest_length() {
        let place = |length: usize| format!("a/{}#b", "x".repeat(length - 4)).parse::<VaultPlace>();
        assert!(place(LONGEST_PLACE).is_ok() && place(LONGEST_PLACE + 1).is_err());
    }

    #[test]
    fn a_place_in_vault_has_a_mount_a_path_and_a_field() {
        let place: VaultPlace = "kv/team-1/afk/slack#bot_token".parse().unwrap();
        assert_eq!((place.mount(), place.field()), ("kv", "bot_token"));
        assert_eq!(place.path().collect::<Vec<_>>(), ["team-1", "afk", "slack"]);
        assert_eq!(format!("{place} {place:?}"), "kv/team-1/afk/slack#bot_token ".repeat(2).trim());
    }

    #[test]
    fn a_source_is_read_as_it_was_written_and_shows_no_argument() {
        for source in [
            SecretSource::Env("TOKEN".into()),
            SecretSource::File("/run/token".into()),
            SecretSource::Command(vec!["vault".into(), "--token=hunter2".into()]),
            SecretSource::Vault("secret/afk/slack#token".parse().unwrap()),
        ] {
            let text = serde_json::to_string(&source).unwrap();
            assert_eq!(serde_json::from_str::<SecretSource>(&text).unwrap(), source);
            let shown = format!("{source} {source:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
