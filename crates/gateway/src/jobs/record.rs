//! A job as callers see it and as it is kept: a folder with the job's record, which is replaced as
//! a whole, and the log of its output.
//!
//! Invariant: a job is recorded before it is answered with 202, recorded as running before its
//! agent starts, and stays recorded until it is evicted. After a restart a job that ran has the
//! status `error`, with what it had printed, and one that waited waits again.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use afk_agent::sessions::{Durability, EventLog, LogError, LogStore, StoreLimits};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::path::Path;

use super::output;
use crate::tokens::replace;

/// The file with a job's record, in the job's folder.
const RECORD: &str = "job.json";
/// The largest record that is read, in bytes.
const RECORD_BYTES: u64 = 64 * 1024 * 1024;
/// How many jobs are kept, and how many bytes of output. Before there are more, the jobs that ended
/// first are removed, even if their `gateway.job_ttl_seconds` are not over.
pub(super) const KEPT: StoreLimits =
    StoreLimits { logs: 10_000, bytes: 2 << 30, log: output::LIMITS };

/// How far a job has come, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Queued,
    Running,
    /// The job's process ended with exit code 0.
    Completed,
    /// The job's process ended with another exit code.
    Failed,
    /// The job ran for longer than its `timeout_seconds`.
    Timeout,
    /// It did not run to an end: not started, cancelled, no dollars left, its token no longer
    /// valid, or the service ended.
    Error,
}

/// What a caller orders, as in the body of `/execute`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) prompt: String,
    pub(crate) agent: String,
    pub(crate) max_budget_usd: f64,
    pub(crate) timeout_seconds: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
}

/// A caller's JSON exactly as it was written, since it may have numbers larger than ours can be.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Verbatim(pub(crate) Box<RawValue>);

impl PartialEq for Verbatim {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// A job as its record keeps it. Callers get the same fields.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
// `job_id` is the name that callers know.
#[allow(clippy::struct_field_names)]
pub(crate) struct Job {
    pub(crate) job_id: String,
    pub(crate) status: Status,
    #[serde(flatten)]
    pub(crate) order: Order,
    /// The caller's own data. Not in [`Order`], because serde cannot flatten a raw value.
    pub(crate) metadata: Verbatim,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) exit_code: Option<i32>,
    /// Whether there was more output than is kept.
    pub(crate) output_truncated: bool,
    pub(crate) stderr: String,
    pub(crate) error: Option<String>,
    /// Whether the turn succeeded, which no exit code tells: succeeded, failed, stopped.
    pub(crate) outcome: Option<String>,
    /// Why the turn failed.
    pub(crate) outcome_reason: Option<String>,
    pub(crate) cost_usd: Option<f64>,
    /// The name of the token that the job counts against.
    pub(crate) token: String,
    /// The idempotency key that the job was ordered with, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) idempotency_key: Option<String>,
}

/// A job with what it printed, as callers see it.
#[derive(Debug, Serialize)]
pub(crate) struct ShownJob {
    #[serde(flatten)]
    pub(crate) job: Job,
    /// Lines of standard output, each with its newline.
    pub(crate) output: Vec<String>,
}

/// A job in a list.
#[derive(Debug, Serialize)]
// As for [`Job`].
#[allow(clippy::struct_field_names)]
pub(crate) struct ListedJob {
    job_id: String,
    status: Status,
    agent: String,
    metadata: Verbatim,
    created_at: Timestamp,
    started_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    exit_code: Option<i32>,
    outcome: Option<String>,
}

impl From<Job> for ListedJob {
    fn from(job: Job) -> Self {
        Self {
            job_id: job.job_id,
            status: job.status,
            agent: job.order.agent,
            metadata: job.metadata,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
            exit_code: job.exit_code,
            outcome: job.outcome,
        }
    }
}

impl Job {
    /// A new job, which is queued.
    pub(crate) fn new(
        job_id: String,
        (order, metadata): (Order, Verbatim),
        token: &str,
        now: Timestamp,
    ) -> Self {
        Self {
            job_id,
            status: Status::Queued,
            order,
            metadata,
            created_at: now,
            started_at: None,
            finished_at: None,
            exit_code: None,
            output_truncated: false,
            stderr: String::new(),
            error: None,
            outcome: None,
            outcome_reason: None,
            cost_usd: None,
            token: token.to_owned(),
            idempotency_key: None,
        }
    }

    /// Ends the job. If it did not run to an end and has no outcome yet, its outcome is `stopped`.
    pub(crate) fn end(&mut self, status: Status, error: Option<String>, now: Timestamp) {
        self.status = status;
        self.error = error;
        self.finished_at = Some(now);
        if !matches!(status, Status::Completed | Status::Failed) && self.outcome.is_none() {
            self.outcome = Some("stopped".to_owned());
        }
    }
}

/// The folders of all jobs, in `jobs` in the state's folder.
#[derive(Debug, Clone)]
pub(crate) struct JobFiles(LogStore);

impl JobFiles {
    pub(crate) async fn open(state: &Path) -> Result<Self, LogError> {
        Ok(Self(LogStore::at(state.join("jobs"), KEPT, Durability::Process).await?))
    }

    /// Records a new job, and returns the log for its output.
    pub(crate) async fn create(&self, job: &Job) -> io::Result<EventLog> {
        let log = self.0.create(&job.job_id).await.map_err(io::Error::other)?;
        if let Err(error) = self.write(job).await {
            self.remove(&job.job_id).await;
            return Err(error);
        }
        Ok(log)
    }

    /// Writes a job's record, in place of the earlier one.
    pub(crate) async fn write(&self, job: &Job) -> io::Result<()> {
        let path = self.0.folder(&job.job_id).map_err(io::Error::other)?.join(RECORD);
        let record = serde_json::to_vec(job)?;
        blocking(move || replace(&path, &record)).await
    }

    /// Reads the job of that id; `None` if there is none, whatever the id looks like.
    pub(crate) async fn read(&self, id: &str) -> io::Result<Option<Job>> {
        let Ok(folder) = self.0.folder(id) else { return Ok(None) };
        blocking(move || {
            let path = folder.join(RECORD);
            match fs::metadata(&path) {
                Ok(file) if file.len() <= RECORD_BYTES => {}
                Ok(_) => return Err(io::Error::other("the record is too large")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
            Ok(Some(serde_json::from_slice(&fs::read(path)?)?))
        })
        .await
    }

    /// Opens the log of a job's output; `None` if there is no such job.
    pub(crate) async fn log(&self, id: &str) -> Result<Option<EventLog>, LogError> {
        self.0.open(id).await
    }

    pub(crate) async fn remove(&self, id: &str) {
        if let Err(error) = self.0.remove(id).await {
            tracing::warn!(job = id, %error, "a job was not removed");
        }
    }

    /// Returns the ids of all jobs that are kept.
    pub(crate) async fn ids(&self) -> Result<BTreeSet<String>, LogError> {
        Ok(self.0.names().await?.into_iter().collect())
    }

    /// Reads all jobs, the oldest first. A job that cannot be read is logged and left out; a folder
    /// without a record is removed, because its job was never promised to anybody.
    pub(crate) async fn all(&self) -> Result<Vec<Job>, LogError> {
        let mut jobs = Vec::new();
        for id in self.ids().await? {
            match self.read(&id).await {
                Ok(Some(job)) => jobs.push(job),
                Ok(None) => self.remove(&id).await,
                Err(error) => tracing::error!(job = id, %error, "a job cannot be read"),
            }
        }
        jobs.sort_by(|a, b| (a.created_at, &a.job_id).cmp(&(b.created_at, &b.job_id)));
        Ok(jobs)
    }
}

/// Does file work on a blocking thread, where it holds up no request.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(id: &str) -> Job {
        let order = Order {
            prompt: "p".into(),
            agent: "a".into(),
            max_budget_usd: 5.0,
            timeout_seconds: 2700.0,
            model: None,
        };
        let metadata = RawValue::from_string(r#"{"k": [1, null]}"#.to_owned()).unwrap();
        let ordered = (order, Verbatim(metadata));
        Job::new(id.into(), ordered, "t", Timestamp::from_second(1_800_000_000).unwrap())
    }

    #[tokio::test]
    async fn a_job_is_kept_and_found_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let files = JobFiles::open(folder.path()).await.unwrap();
        assert_eq!(files.all().await.unwrap(), []);
        let mut kept = job("0123456789ab");
        let log = files.create(&kept).await.unwrap();
        log.append(vec![r#"{"line":"a\n"}"#.to_owned()]).await.unwrap();
        kept.end(Status::Completed, None, Timestamp::from_second(1_800_000_001).unwrap());
        files.write(&kept).await.unwrap();
        assert_eq!(files.read("0123456789ab").await.unwrap(), Some(kept.clone()));
        std::fs::write(folder.path().join("job.json"), "{}").unwrap();
        for id in ["0123456789ac", "..", "", "../0123456789ab", "0123456789ab/"] {
            assert_eq!(files.read(id).await.unwrap(), None, "{id}");
        }
        // A job with a broken record, and one that a crash cut short before it was promised.
        let broken = files.create(&job("ffffffffffff")).await.unwrap();
        std::fs::write(folder.path().join("jobs/ffffffffffff/job.json"), "{").unwrap();
        std::fs::create_dir(folder.path().join("jobs/eeeeeeeeeeee")).unwrap();
        std::fs::write(folder.path().join("jobs/eeeeeeeeeeee/events.jsonl"), "").unwrap();
        drop((log, broken));
        let files = JobFiles::open(folder.path()).await.unwrap();
        assert_eq!(files.all().await.unwrap(), [kept]);
        assert!(!folder.path().join("jobs/eeeeeeeeeeee").exists());
        let log = files.log("0123456789ab").await.unwrap().unwrap();
        assert_eq!(output::read(&log).await.unwrap(), ["a\n"]);
        files.remove("0123456789ab").await;
        assert_eq!(files.read("0123456789ab").await.unwrap(), None);
    }

    #[test]
    fn a_job_has_the_fields_that_callers_know() {
        let shown = ShownJob { job: job("0123456789ab"), output: vec!["a\n".to_owned()] };
        let shown = serde_json::to_value(shown).unwrap();
        assert_eq!(shown["metadata"], json!({"k": [1, null]}));
        assert_eq!(shown["created_at"], "2027-01-15T08:00:00Z");
        for name in [
            "status",
            "prompt",
            "agent",
            "started_at",
            "finished_at",
            "exit_code",
            "output",
            "stderr",
            "error",
            "outcome",
        ] {
            assert!(shown.get(name).is_some(), "{name}");
        }
    }
}
