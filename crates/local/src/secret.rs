//! Where a secret comes from, and how it is read: at each use, so that a rotated
//! one takes effect at once. Its value is in no error and in no `Debug`.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use afk_core::config::SecretSource;
use afk_engine::ports::{PortError, PortResult, Secrets};
use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::known::KnownSecrets;

/// A secret is at most this long.
const MAX_SECRET: u64 = 64 * 1024;
/// A command or a file has this long to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The source of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Secret {
    /// `{ env = "NAME" }`
    Env {
        /// The environment variable that holds it.
        env: String,
    },
    /// `{ file = "/path" }`
    File {
        /// The file that holds it.
        file: PathBuf,
    },
    /// `{ command = ["program", "argument"] }`
    Command {
        /// The program that prints it, with its arguments; no shell.
        command: Vec<String>,
    },
}

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the secret from {from} {why}")]
pub struct SecretError {
    from: Secret,
    why: String,
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env { env } => write!(f, "environment variable {env}"),
            Self::File { file } => write!(f, "file {}", file.display()),
            // Arguments may be telling: the program alone is named.
            Self::Command { command } => {
                write!(f, "command {}", command.first().map_or("", String::as_str))
            }
        }
    }
}

impl Secret {
    /// Reads it, without the white space at its end.
    pub async fn read(&self) -> Result<SecretString, SecretError> {
        let failed = |why: String| SecretError { from: self.clone(), why };
        let read = async {
            match self {
                Self::Env { env } => match std::env::var(env) {
                    Ok(value) => Ok(value.into_bytes()),
                    Err(std::env::VarError::NotPresent) => Err("is not set".to_owned()),
                    Err(std::env::VarError::NotUnicode(_)) => Err("is not text".to_owned()),
                },
                Self::File { file } => {
                    let opened = tokio::fs::File::open(file).await;
                    let opened = opened.map_err(|e| format!("cannot be read: {e}"))?;
                    read_bounded(opened).await
                }
                Self::Command { command } => run(command).await,
            }
        };
        let bytes = tokio::time::timeout(PATIENCE, read)
            .await
            .unwrap_or_else(|_| Err(format!("did not come within {} s", PATIENCE.as_secs())))
            .map_err(failed)?;
        let text = String::from_utf8(bytes).map_err(|_| failed("is not text".to_owned()))?;
        let text = text.trim_end();
        if text.is_empty() {
            return Err(failed("is empty".to_owned()));
        }
        Ok(SecretString::from(text))
    }
}

/// Secrets as this machine has them: in the environment, in files, printed by commands.
/// What is read is known from then on, to be masked.
#[derive(Debug, Clone, Default)]
pub struct LocalSecrets {
    known: KnownSecrets,
}

impl LocalSecrets {
    /// Secrets that `known` remembers when they are read.
    pub fn new(known: KnownSecrets) -> Self {
        Self { known }
    }
}

#[async_trait]
impl Secrets for LocalSecrets {
    async fn read(&self, source: &SecretSource) -> PortResult<SecretString> {
        let from = match source.clone() {
            SecretSource::Env(env) => Secret::Env { env },
            SecretSource::File(file) => Secret::File { file },
            SecretSource::Command(command) => Secret::Command { command },
        };
        let value = from.read().await.map_err(PortError::transient)?;
        self.known.learn_from(source, &value);
        Ok(value)
    }
}

/// Kills the command and all it started when it is dropped before its time.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.take() {
            // Gone already is what is wanted.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

async fn run(command: &[String]) -> Result<Vec<u8>, String> {
    let (program, arguments) = command.split_first().ok_or("names no program")?;
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // What it complains of may hold what it should keep to itself.
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("could not be asked for: {e}"))?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let _group = Group(pid);
    let stdout = child.stdout.take().ok_or("gave no output")?;
    let bytes = read_bounded(stdout).await?;
    let status = child.wait().await.map_err(|e| format!("could not be waited for: {e}"))?;
    if status.success() { Ok(bytes) } else { Err(format!("failed: {status}")) }
}

async fn read_bounded(source: impl AsyncRead + Unpin) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read: io::Result<usize> = source.take(MAX_SECRET + 1).read_to_end(&mut bytes).await;
    read.map_err(|e| format!("cannot be read: {e}"))?;
    if bytes.len() as u64 > MAX_SECRET {
        return Err(format!("is longer than {MAX_SECRET} bytes"));
    }
    Ok(bytes)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    env: Option<String>,
    file: Option<PathBuf>,
    command: Option<Vec<String>>,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor)
    }
}

struct SecretVisitor;

const SHAPE: &str = "one of { env = \"NAME\" }, { file = \"/path\" } and \
    { command = [\"program\"] }";

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SHAPE)
    }

    fn visit_str<E: de::Error>(self, _text: &str) -> Result<Secret, E> {
        // The default would quote the text, and this may be the secret itself.
        Err(E::custom(format!("must be {SHAPE}: a secret is not written in the configuration")))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Secret, A::Error> {
        let raw = Raw::deserialize(MapAccessDeserializer::new(map))?;
        match raw {
            Raw { env: Some(env), file: None, command: None } if !env.is_empty() => {
                Ok(Secret::Env { env })
            }
            Raw { env: None, file: Some(file), command: None } if file.is_absolute() => {
                Ok(Secret::File { file })
            }
            Raw { env: None, file: None, command: Some(command) } if !command.is_empty() => {
                Ok(Secret::Command { command })
            }
            Raw { .. } => Err(de::Error::custom(format!("must be {SHAPE}, not empty"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn command(words: &[&str]) -> Secret {
        Secret::Command { command: words.iter().map(ToString::to_string).collect() }
    }

    #[tokio::test]
    async fn each_source_is_read_at_each_use() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let secret = Secret::File { file: file.clone() };
        for value in ["first", "second"] {
            std::fs::write(&file, format!("{value}\n")).unwrap();
            assert_eq!(secret.read().await.unwrap().expose_secret(), value);
        }
        let printed = command(&["printf", "%s\n", "third"]).read().await.unwrap();
        assert_eq!(printed.expose_secret(), "third");
        let home = Secret::Env { env: "PATH".into() }.read().await.unwrap();
        assert!(!home.expose_secret().is_empty());
    }

    #[tokio::test]
    async fn a_failure_names_the_source_and_never_what_it_gave() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("long");
        std::fs::write(&long, "hunter2".repeat(10_000)).unwrap();
        let blank = dir.path().join("blank");
        std::fs::write(&blank, " \n").unwrap();
        let binary = dir.path().join("binary");
        std::fs::write(&binary, b"hunter2\xff").unwrap();
        for (secret, expected) in [
            (Secret::Env { env: "AFK_NOT_SET".into() }, "is not set"),
            (Secret::File { file: dir.path().join("none") }, "cannot be read"),
            (Secret::File { file: long }, "is longer than 65536 bytes"),
            (Secret::File { file: blank }, "is empty"),
            (Secret::File { file: binary }, "is not text"),
            (command(&["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 3"]), "exit status: 3"),
            (command(&["/no/such/program"]), "could not be asked for"),
            (command(&["sh", "-c", "yes hunter2"]), "is longer than 65536 bytes"),
        ] {
            let error = secret.read().await.unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(error.to_string().contains(expected), "{told}");
            assert!(!error.to_string().contains("hunter2"), "{told}");
        }
    }
}
