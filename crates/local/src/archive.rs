//! Evidence bundles as files: `evidence/<run>.json` with its journal, the evidence as Markdown
//! (`<run>.md`), and what others can verify: the statement about what landed (`<run>.intoto.json`),
//! and, if a key is configured, the envelope in which that is signed (`<run>.intoto.dsse.json`).
//! Also enforces the limit on kept transcripts.
//!
//! Everything else is written before anything is signed: no evidence is lost if the key cannot be
//! read, but the run does not settle until it is signed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use afk_core::evidence::Evidence;
use afk_core::evidence::bundle::Bundle;
use afk_core::ids::RunId;
use afk_core::secret::SecretSource;
use afk_engine::ports::{Archive, Journals, PortError, PortResult, Secrets};
use async_trait::async_trait;
use tokio::sync::watch;

use super::settings::LocalSettings;
use super::signing::SigningKey;
use super::transcripts::Transcripts;

/// The extension of a statement's file.
const STATEMENT: &str = "intoto.json";
/// The extension of the file of its envelope.
const ENVELOPE: &str = "intoto.dsse.json";

/// The folder of all bundles.
#[derive(Clone)]
pub struct FileArchive {
    folder: PathBuf,
    journals: Arc<dyn Journals>,
    secrets: Arc<dyn Secrets>,
    transcripts: Transcripts,
    settings: watch::Receiver<Arc<LocalSettings>>,
}

impl FileArchive {
    /// Returns the archive in `folder`, which is created with the first bundle. The rows of runs
    /// are read from `journals`, the key from `secrets`; `transcripts` are pruned.
    pub fn new(
        folder: PathBuf,
        journals: Arc<dyn Journals>,
        secrets: Arc<dyn Secrets>,
        transcripts: Transcripts,
        settings: watch::Receiver<Arc<LocalSettings>>,
    ) -> Self {
        Self { folder, journals, secrets, transcripts, settings }
    }

    /// Returns where the bundle of `run` is.
    pub fn path(&self, run: RunId) -> PathBuf {
        self.folder.join(format!("{run}.json"))
    }
}

/// Returns where the statement of the bundle in the file `bundle` is.
pub fn statement_beside(bundle: &Path) -> PathBuf {
    bundle.with_extension(STATEMENT)
}

/// Returns where the envelope of the statement of the bundle in the file `bundle` is.
pub fn envelope_beside(bundle: &Path) -> PathBuf {
    bundle.with_extension(ENVELOPE)
}

impl FileArchive {
    /// Signs a statement with the key from `source`, and returns the bytes of the envelope.
    async fn seal(&self, statement: &[u8], source: &SecretSource) -> PortResult<Vec<u8>> {
        let failed = |why: String| {
            PortError::transient(format!(
                "the evidence is kept, but could not be signed: {why}; correct evidence_key, or \
                 provide what it names: the run settles once it is signed"
            ))
        };
        let pem = self.secrets.read(source).await.map_err(|error| failed(error.chain()))?;
        let signed = SigningKey::from_pem(&pem).and_then(|key| key.seal(statement));
        let envelope = signed.map_err(|why| failed(format!("the secret from {source} {why}")))?;
        envelope.to_bytes().map_err(PortError::permanent)
    }

    /// Writes each file completely or not at all, in this order. A file without content is removed.
    async fn write(&self, files: Vec<(PathBuf, Option<Vec<u8>>)>) -> PortResult<()> {
        let folder = self.folder.clone();
        let write = move || -> std::io::Result<()> {
            std::fs::create_dir_all(&folder)?;
            files.iter().try_for_each(|(path, content)| match content {
                Some(content) => replace(&folder, path, content),
                None => remove(path),
            })
        };
        let written = tokio::task::spawn_blocking(write).await.map_err(PortError::transient)?;
        written.map_err(|error| {
            let folder = self.folder.display();
            PortError::transient(format!("could not keep the evidence in {folder}: {error}"))
        })
    }
}

#[async_trait]
impl Archive for FileArchive {
    async fn keep(&self, evidence: &Evidence) -> PortResult<()> {
        let rows = self.journals.chain(evidence.run).await?;
        let bundle = Bundle::new(evidence.clone(), rows);
        let statement = bundle.statement().map_err(PortError::permanent)?;
        let path = self.path(evidence.run);
        self.write(vec![
            (path.with_extension("md"), Some(bundle.evidence.to_markdown().into_bytes())),
            (statement_beside(&path), statement.clone()),
            (path.clone(), Some(bundle.to_bytes().map_err(PortError::permanent)?)),
        ])
        .await?;
        let source = self.settings.borrow().evidence_key.clone();
        let envelope = match (statement, source) {
            (Some(statement), Some(source)) => Some(self.seal(&statement, &source).await?),
            (None, _) | (_, None) => None,
        };
        self.write(vec![(envelope_beside(&path), envelope)]).await
    }

    async fn prune(&self) -> PortResult<u32> {
        let limit = self.settings.borrow().kept_transcripts_mib << 20;
        let transcripts = self.transcripts.clone();
        let pruned = tokio::task::spawn_blocking(move || transcripts.prune(limit)).await;
        let pruned = pruned.map_err(PortError::transient)?.map_err(PortError::transient)?;
        for run in &pruned {
            tracing::info!(run.id = %run, "kept transcript removed: the limit is reached");
        }
        Ok(pruned.len() as u32)
    }
}

/// Writes a file completely or not at all.
fn replace(folder: &Path, path: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    std::fs::File::open(folder)?.sync_all()
}

/// Removes a file that an earlier attempt left.
fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use afk_core::chain::Link;
    use afk_core::evidence::dsse::Envelope;
    use secrecy::SecretString;

    use super::*;
    use crate::signing::tests::PRIVATE;

    /// A store without rows.
    struct NoRows;

    #[async_trait]
    impl Journals for NoRows {
        async fn chain(&self, _: RunId) -> PortResult<Vec<Link>> {
            Ok(Vec::new())
        }
    }

    /// Secrets that are all this text, which may be a key or not; reading fails if it is empty.
    struct Text(&'static str);

    #[async_trait]
    impl Secrets for Text {
        async fn read(&self, source: &SecretSource) -> PortResult<SecretString> {
            if self.0.is_empty() {
                return Err(PortError::transient(format!("the secret from {source} is not set")));
            }
            Ok(SecretString::from(self.0))
        }
    }

    /// Returns an archive in `folder` whose key is `text`; without one, no key is configured.
    fn archive(folder: &Path, text: Option<&'static str>) -> FileArchive {
        let evidence_key = text.map(|_| SecretSource::Env("KEY".to_owned()));
        let settings = LocalSettings { evidence_key, ..LocalSettings::default() };
        let (_, settings) = watch::channel(Arc::new(settings));
        let transcripts = Transcripts::new(folder.join("transcripts"));
        let secrets = Arc::new(Text(text.unwrap_or_default()));
        FileArchive::new(folder.join("evidence"), Arc::new(NoRows), secrets, transcripts, settings)
    }

    fn evidence(landed: bool) -> Evidence {
        let run = "01900000-0000-7000-8000-000000000001".parse().unwrap();
        let mut evidence = Evidence::new("o/r#7".parse().unwrap(), run);
        evidence.landed = landed.then(|| "b".repeat(40).parse().unwrap());
        evidence
    }

    /// Returns the extensions of the archived files in `folder`, in order.
    fn endings(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder.join("evidence")).unwrap();
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.split_once('.').unwrap().1.to_owned()
        };
        let mut endings: Vec<String> = entries.map(name).collect();
        endings.sort();
        endings
    }

    #[tokio::test]
    async fn what_landed_is_stated_and_signed_if_there_is_a_key() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path();
        let signing = archive(folder, Some(PRIVATE));
        signing.keep(&evidence(true)).await.unwrap();
        assert_eq!(endings(folder), ["intoto.dsse.json", "intoto.json", "json", "md"]);
        let bundle = signing.path(evidence(true).run);
        let read = |path: PathBuf| std::fs::read(path).unwrap();
        let opened = Envelope::open(&read(envelope_beside(&bundle))).unwrap();
        assert_eq!(opened.statement, read(statement_beside(&bundle)));
        let key = SigningKey::from_pem(&SecretString::from(PRIVATE)).unwrap();
        assert!(key.public().unwrap().signed(&opened));

        // Files of an earlier attempt do not stay beside a bundle that they do not belong to.
        archive(folder, None).keep(&evidence(true)).await.unwrap();
        assert_eq!(endings(folder), ["intoto.json", "json", "md"]);
        signing.keep(&evidence(true)).await.unwrap();
        signing.keep(&evidence(false)).await.unwrap();
        assert_eq!(endings(folder), ["json", "md"]);
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_used_costs_no_evidence_and_is_told() {
        for (text, told) in [("", "is not set"), ("hunter2", "is not a private key in PEM")] {
            let dir = tempfile::tempdir().unwrap();
            let kept = archive(dir.path(), Some(text));
            let error = kept.keep(&evidence(true)).await.unwrap_err().chain();
            assert!(error.contains(told) && error.contains("correct evidence_key"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
            assert_eq!(endings(dir.path()), ["intoto.json", "json", "md"]);
            // A run that landed nothing needs no key.
            kept.keep(&evidence(false)).await.unwrap();
        }
    }
}
