//! Evidence bundles as files: `evidence/<run>.json` with its journal, and the same as Markdown
//! beside it. Also enforces the limit on kept transcripts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use afk_core::evidence::Evidence;
use afk_core::evidence::bundle::Bundle;
use afk_core::ids::RunId;
use afk_engine::ports::{Archive, Journals, PortError, PortResult};
use async_trait::async_trait;
use tokio::sync::watch;

use super::settings::LocalSettings;
use super::transcripts::Transcripts;

/// A folder of bundles.
#[derive(Clone)]
pub struct FileArchive {
    folder: PathBuf,
    journals: Arc<dyn Journals>,
    transcripts: Transcripts,
    settings: watch::Receiver<Arc<LocalSettings>>,
}

impl FileArchive {
    /// Bundles in `folder`, which is created with the first one; journals come from `journals`,
    /// transcripts from `transcripts`.
    pub fn new(
        folder: PathBuf,
        journals: Arc<dyn Journals>,
        transcripts: Transcripts,
        settings: watch::Receiver<Arc<LocalSettings>>,
    ) -> Self {
        Self { folder, journals, transcripts, settings }
    }

    /// Where the bundle of `run` is.
    pub fn path(&self, run: RunId) -> PathBuf {
        self.folder.join(format!("{run}.json"))
    }
}

#[async_trait]
impl Archive for FileArchive {
    async fn keep(&self, evidence: &Evidence) -> PortResult<()> {
        let rows = self.journals.chain(evidence.run).await?;
        let bundle = Bundle::new(evidence.clone(), rows);
        let json = bundle.to_bytes().map_err(PortError::permanent)?;
        let text = bundle.evidence.to_markdown();
        let (path, folder) = (self.path(evidence.run), self.folder.clone());
        let write = move || -> std::io::Result<()> {
            std::fs::create_dir_all(&folder)?;
            replace(&folder, &path.with_extension("md"), text.as_bytes())?;
            replace(&folder, &path, &json)
        };
        let written = tokio::task::spawn_blocking(write).await.map_err(PortError::transient)?;
        written.map_err(|error| {
            let folder = self.folder.display();
            PortError::transient(format!("could not keep the evidence in {folder}: {error}"))
        })
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
