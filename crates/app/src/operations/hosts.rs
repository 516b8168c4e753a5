//! Stops agents and jobs by their hosts' folders alone, when the store or git cannot be used: on a
//! full disk, or with a store that is locked or damaged.
//!
//! Reads the folders and talks to the hosts; writes nothing itself. What runs on other machines is
//! not reached.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use afk_agent::host::{Job, KilledBy, StopSignal};
use afk_core::ids::RunId;
use futures_util::future::join_all;

use super::switches::STOPPED_WITHIN;
use crate::Error;

/// How long a stopped agent or job may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// The result of stopping hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostsStopped {
    /// How many agents and jobs have stopped.
    pub stopped: usize,
    /// The folders of those that were still alive when the time was up.
    pub alive: Vec<PathBuf>,
}

/// Stops every agent and job below the data folder, or those of one run, and waits until they are
/// gone or the time is up. Fails if it cannot be told what runs.
pub async fn stop_hosts(data_dir: &Path, run: Option<RunId>) -> Result<HostsStopped, Error> {
    let begun = Instant::now();
    let mut seen = BTreeSet::new();
    loop {
        let mut alive = Vec::new();
        for (of, job) in jobs(&data_dir.join("work"))? {
            // Whatever else cannot be read, a job lives by its host.
            if run.is_none_or(|run| run == of) && job.has_host().await.unwrap_or(false) {
                alive.push(job);
            }
        }
        seen.extend(alive.iter().map(Job::dir));
        if alive.is_empty() || begun.elapsed() >= STOPPED_WITHIN {
            let alive: Vec<PathBuf> = alive.iter().map(Job::dir).collect();
            return Ok(HostsStopped { stopped: seen.len() - alive.len(), alive });
        }
        // An error may only mean that the end could not be recorded; the next look tells.
        let told =
            alive.iter().map(|job| job.interrupt(StopSignal::Terminate, GRACE, KilledBy::Halt));
        join_all(told).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The jobs whose folders are below the root of the workspaces, each with its run.
pub(crate) fn jobs(work: &Path) -> Result<Vec<(RunId, Job)>, Error> {
    let root = work.join("jobs");
    let runs = match std::fs::read_dir(&root) {
        Ok(runs) => runs,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let root = root.display();
            return Err(Error::failed(format!("what runs cannot be listed in {root}: {error}")));
        }
    };
    let named = runs
        .flatten()
        .filter_map(|run| Some((run.file_name().to_str()?.parse::<RunId>().ok()?, run.path())));
    let jobs = named.flat_map(|(run, folder)| {
        let jobs = std::fs::read_dir(folder).into_iter().flatten().flatten();
        jobs.filter_map(move |job| Some((run, Job::open(job.path())?)))
    });
    Ok(jobs.collect())
}
