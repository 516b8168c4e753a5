//! A job as callers see it and as it is kept: one file each, replaced as a whole.
//!
//! Invariant: a job that was answered with 202 is in a file before that, and stays there until its
//! time is over. After a restart a job that ran is told as an error, and one that waited waits
//! again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::tokens::replace;

/// The largest file of a job that is read, in bytes: output twice, escaped.
const FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Queued,
    Running,
    /// Its process ended with exit code 0.
    Completed,
    /// Its process ended with another exit code.
    Failed,
    /// It ran out of time.
    Timeout,
    /// It did not run to an end: it could not be started, was cancelled, or the service ended.
    Error,
}

impl Status {
    pub(crate) fn is_final(self) -> bool {
        match self {
            Self::Queued | Self::Running => false,
            Self::Completed | Self::Failed | Self::Timeout | Self::Error => true,
        }
    }
}

/// What a job is to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) prompt: String,
    pub(crate) agent: String,
    pub(crate) max_budget_usd: f64,
    pub(crate) timeout_seconds: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    pub(crate) metadata: Value,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
// `job_id` is the name that callers know.
#[allow(clippy::struct_field_names)]
pub(crate) struct Job {
    pub(crate) job_id: String,
    pub(crate) status: Status,
    #[serde(flatten)]
    pub(crate) order: Order,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Option<Timestamp>,
    pub(crate) exit_code: Option<i32>,
    /// Lines of standard output, each with its newline.
    pub(crate) output: Vec<String>,
    /// Whether there was more.
    pub(crate) output_truncated: bool,
    pub(crate) stderr: String,
    pub(crate) error: Option<String>,
    /// Whether the turn succeeded, which an exit code does not tell: succeeded, failed, stopped.
    pub(crate) outcome: Option<String>,
    /// Why it did not.
    pub(crate) outcome_reason: Option<String>,
    pub(crate) cost_usd: Option<f64>,
    /// The token that it counts on.
    pub(crate) token: String,
}

impl Job {
    /// A new one.
    pub(crate) fn new(job_id: String, order: Order, token: &str, now: Timestamp) -> Self {
        Self {
            job_id,
            status: Status::Queued,
            order,
            created_at: now,
            started_at: None,
            finished_at: None,
            exit_code: None,
            output: Vec::new(),
            output_truncated: false,
            stderr: String::new(),
            error: None,
            outcome: None,
            outcome_reason: None,
            cost_usd: None,
            token: token.to_owned(),
        }
    }

    /// Ends it.
    pub(crate) fn end(&mut self, status: Status, error: Option<String>, now: Timestamp) {
        self.status = status;
        self.error = error;
        self.finished_at = Some(now);
    }
}

/// The files of jobs.
#[derive(Debug, Clone)]
pub(crate) struct JobFiles(PathBuf);

impl JobFiles {
    pub(crate) fn new(state: &Path) -> Self {
        Self(state.join("jobs"))
    }

    pub(crate) fn write(&self, job: &Job) -> io::Result<()> {
        replace(&self.file(&job.job_id), &serde_json::to_vec(job)?)
    }

    /// The job of that id; none if there is none, whatever the id looks like.
    pub(crate) fn read(&self, id: &str) -> io::Result<Option<Job>> {
        if !is_id(id) {
            return Ok(None);
        }
        match fs::metadata(self.file(id)) {
            Ok(file) if file.len() <= FILE_BYTES => {}
            Ok(_) => return Err(io::Error::other("the file is too large")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        Ok(Some(serde_json::from_slice(&fs::read(self.file(id))?)?))
    }

    pub(crate) fn remove(&self, id: &str) {
        // One that is left is removed after the next start.
        let _ = fs::remove_file(self.file(id));
    }

    /// All jobs, the oldest first. A file that cannot be read is passed over and told.
    pub(crate) fn all(&self) -> io::Result<Vec<Job>> {
        fs::create_dir_all(&self.0)?;
        let mut jobs = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")) else {
                continue;
            };
            match self.read(id) {
                Ok(found) => jobs.extend(found),
                Err(error) => tracing::error!(job = id, %error, "a job cannot be read"),
            }
        }
        jobs.sort_by(|a, b| (a.created_at, &a.job_id).cmp(&(b.created_at, &b.job_id)));
        Ok(jobs)
    }

    fn file(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.json"))
    }
}

/// Whether a text looks like a job's id: 12 hexadecimal digits.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
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
            metadata: json!({"k": [1, null]}),
        };
        Job::new(id.into(), order, "t", Timestamp::from_second(1_800_000_000).unwrap())
    }

    #[test]
    fn a_job_is_kept_and_found_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let files = JobFiles::new(folder.path());
        assert_eq!(files.all().unwrap(), []);
        let kept = job("0123456789ab");
        files.write(&kept).unwrap();
        assert_eq!(files.read("0123456789ab").unwrap(), Some(kept.clone()));
        std::fs::write(folder.path().join("secret.json"), "{}").unwrap();
        for id in ["0123456789ac", "../secret", "", "0123456789AB", "x/../0123456"] {
            assert_eq!(files.read(id).unwrap(), None, "{id}");
        }
        std::fs::write(folder.path().join("jobs/ffffffffffff.json"), "{").unwrap();
        assert_eq!(files.all().unwrap(), [kept]);
        files.remove("0123456789ab");
        assert_eq!(files.read("0123456789ab").unwrap(), None);
    }

    #[test]
    fn a_job_has_the_fields_that_callers_know() {
        let shown = serde_json::to_value(job("0123456789ab")).unwrap();
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
