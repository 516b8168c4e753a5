//! Reads secrets of this machine, anew at each use, so that a rotated one takes effect at once.
//! Their values are in no error and in no `Debug`.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use afk_core::secret::SecretSource;
use afk_engine::ports::{PortError, PortResult, Secrets};
use async_trait::async_trait;
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::known::KnownSecrets;

/// Maximum length of a secret, in bytes.
const MAX_SECRET: u64 = 64 * 1024;
/// How long reading a secret may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a secret could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the secret from {from} {why}")]
pub struct SecretError {
    from: SecretSource,
    why: String,
}

/// Secrets in the environment, in files, or printed by commands. A secret that was read is masked
/// from then on.
#[derive(Debug, Clone, Default)]
pub struct LocalSecrets {
    known: KnownSecrets,
}

impl LocalSecrets {
    /// Returns the port; `known` remembers the secrets that are read.
    pub fn new(known: KnownSecrets) -> Self {
        Self { known }
    }
}

#[async_trait]
impl Secrets for LocalSecrets {
    async fn read(&self, source: &SecretSource) -> PortResult<SecretString> {
        let value = read(source).await.map_err(PortError::transient)?;
        self.known.learn_from(source, &value);
        Ok(value)
    }
}

/// Reads a secret, without trailing white space.
async fn read(source: &SecretSource) -> Result<SecretString, SecretError> {
    let failed = |why: String| SecretError { from: source.clone(), why };
    let read = async {
        match source {
            SecretSource::Env(name) => match std::env::var(name) {
                Ok(value) => Ok(value.into_bytes()),
                Err(std::env::VarError::NotPresent) => Err("is not set".to_owned()),
                Err(std::env::VarError::NotUnicode(_)) => Err("is not text".to_owned()),
            },
            SecretSource::File(path) => {
                let opened = tokio::fs::File::open(path).await;
                let opened = opened.map_err(|e| format!("cannot be read: {e}"))?;
                read_bounded(opened).await
            }
            SecretSource::Command(argv) => run(argv).await,
            SecretSource::Vault(_) => Err("is not on this machine".to_owned()),
        }
    };
    let bytes = tokio::time::timeout(PATIENCE, read)
        .await
        .unwrap_or_else(|_| Err(format!("did not arrive within {} s", PATIENCE.as_secs())))
        .map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|_| failed("is not text".to_owned()))?;
    let text = text.trim_end();
    if text.is_empty() {
        return Err(failed("is empty".to_owned()));
    }
    Ok(SecretString::from(text))
}

/// Kills the command and all its children when dropped.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.take() {
            // An error means that the group is gone already, which is a success.
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
        // Standard error may contain secrets.
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("could not be requested: {e}"))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn command(words: &[&str]) -> SecretSource {
        SecretSource::Command(words.iter().map(ToString::to_string).collect())
    }

    #[tokio::test]
    async fn each_source_is_read_at_each_use() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let secret = SecretSource::File(file.clone());
        for value in ["first", "second"] {
            std::fs::write(&file, format!("{value}\n")).unwrap();
            assert_eq!(read(&secret).await.unwrap().expose_secret(), value);
        }
        let printed = read(&command(&["printf", "%s\n", "third"])).await.unwrap();
        assert_eq!(printed.expose_secret(), "third");
        let home = read(&SecretSource::Env("PATH".into())).await.unwrap();
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
            (SecretSource::Env("AFK_NOT_SET".into()), "is not set"),
            (SecretSource::File(dir.path().join("none")), "cannot be read"),
            (SecretSource::File(long), "is longer than 65536 bytes"),
            (SecretSource::File(blank), "is empty"),
            (SecretSource::File(binary), "is not text"),
            (command(&["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 3"]), "exit status: 3"),
            (command(&["/no/such/program"]), "could not be requested"),
            (command(&["sh", "-c", "yes hunter2"]), "is longer than 65536 bytes"),
        ] {
            let error = read(&secret).await.unwrap_err();
            let told = format!("{error} {error:?}");
            assert!(error.to_string().contains(expected), "{told}");
            assert!(!error.to_string().contains("hunter2"), "{told}");
        }
    }
}
