//! Where a secret comes from: what a configuration contains in place of the secret itself.
//!
//! Only the source is kept, compared and written; the value is read at each use by the engine's
//! `Secrets` port, and is only held in a `SecretString`. People do write a secret where its source
//! belongs, so no error of reading a source quotes the text, and neither `Debug` nor `Display`
//! shows more than is needed to fix it.

use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// The source of a secret.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SecretSource {
    /// The environment variable that holds it.
    Env(String),
    /// The file that holds it; trailing white space is ignored.
    File(PathBuf),
    /// The command (argv) that prints it; no shell.
    Command(Vec<String>),
}

/// What a source looks like, for an error.
const SHAPE: &str = "one of { env = \"NAME\" }, { file = \"/path\" } and \
    { command = [\"program\"] }: a secret is not written in the configuration";

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            // Arguments may be sensitive: only the program is named.
            Self::Command(argv) => {
                write!(f, "command {}", argv.first().map_or("", String::as_str))
            }
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
        }
        // Nested errors may quote it, too: the shape says enough.
        let read = Table::deserialize(MapAccessDeserializer::new(map));
        let wrong = |_| A::Error::invalid_value(Unexpected::Other("something else"), &self);
        match read.map_err(wrong)? {
            Table { env: Some(env), file: None, command: None } if is_name(&env) => {
                Ok(SecretSource::Env(env))
            }
            Table { env: Some(_), file: None, command: None } => {
                Err(A::Error::invalid_value(Unexpected::Other("something else"), &VARIABLE))
            }
            Table { env: None, file: Some(file), command: None } if file.is_absolute() => {
                Ok(SecretSource::File(file))
            }
            Table { env: None, file: Some(_), command: None } => {
                Err(A::Error::invalid_value(Unexpected::Other("something else"), &FILE))
            }
            Table { env: None, file: None, command: Some(command) }
                if command.first().is_some_and(|program| !program.is_empty()) =>
            {
                Ok(SecretSource::Command(command))
            }
            Table { .. } => {
                Err(A::Error::invalid_value(Unexpected::Other("something else"), &self))
            }
        }
    }
}

/// What `env` must be. Most secrets put there by mistake contain other characters.
const VARIABLE: &str = "the name of an environment variable: letters, digits and underscores, as \
    in { env = \"NAME\" }";
/// What `file` must be.
const FILE: &str = "the absolute path of a file, as in { file = \"/path\" }";

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
    fn a_source_is_one_of_three_and_no_error_repeats_what_stood_there() {
        check(&json!({ "env": "TOKEN" }), Some(&SecretSource::Env("TOKEN".into())));
        check(&json!({ "file": "/run/token" }), Some(&SecretSource::File("/run/token".into())));
        let command = SecretSource::Command(vec!["pass".into(), "x".into()]);
        check(&json!({ "command": ["pass", "x"] }), Some(&command));
        for wrong in [
            json!("hunter2"),
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
    fn a_source_is_read_as_it_was_written_and_shows_no_argument() {
        for source in [
            SecretSource::Env("TOKEN".into()),
            SecretSource::File("/run/token".into()),
            SecretSource::Command(vec!["vault".into(), "--token=hunter2".into()]),
        ] {
            let text = serde_json::to_string(&source).unwrap();
            assert_eq!(serde_json::from_str::<SecretSource>(&text).unwrap(), source);
            let shown = format!("{source} {source:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }
}
