//! What tests and the demo do with a fake forge, whichever forge it is.

use std::collections::BTreeMap;
use std::path::Path;

use afk_core::ids::{Oid, RepoName};

use crate::bare::MergeAs;
use crate::forgejo::{self, ForgejoFake, Protection};
use crate::frame::Fault;
use crate::git_http::RecordedGitRequest;
use crate::github::{self, GitHubFake};
use crate::hmac::hmac;

/// A job of CI that has not ended yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedJob {
    /// The number of the workflow run that it belongs to.
    pub run: u64,
    /// The repo.
    pub repo: RepoName,
    /// The commit.
    pub commit: Oid,
    /// The job's name.
    pub job: String,
    /// Which attempt of the run this is, from 1.
    pub attempt: u32,
}

/// A webhook as it is sent.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Its headers, without those of the connection.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// What may be wrong with an account or a repo, for `doctor` to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// The token may not do what the loop does with issues.
    MissingScope,
    /// The token has expired.
    ExpiredToken,
    /// The default branch takes no push by our account.
    RefusesPushes,
    /// The permissions of other accounts on the repo cannot be read.
    HiddenPermissions,
}

/// A fake forge, driven by a test or the demo.
pub trait ForgeFake: Send + Sync {
    /// Returns the address at which it is served.
    fn url(&self) -> String;

    /// Sets the world's time to the real one at every request from now on.
    fn live(&self);

    /// Makes the repo's branches those of the bare git folder at `path`, from now on.
    fn on_git(&self, repo: &RepoName, path: &Path);

    /// Returns the branches of a repo's git folder with their heads.
    ///
    /// # Panics
    ///
    /// If the repo has no git folder, or git fails.
    fn heads(&self, repo: &RepoName) -> BTreeMap<String, Oid>;

    /// Merges the open pull request of `branch` in the repo's git folder, as a person does. Returns
    /// the commit that this made.
    ///
    /// # Panics
    ///
    /// If it is not open, or does not merge.
    fn merge_pull(&self, repo: &RepoName, branch: &str, as_: MergeAs) -> Oid;

    /// Begins a workflow run with one job on `commit`, the head of `branch`.
    fn begin_job(&self, repo: &RepoName, branch: &str, commit: &Oid, job: &str);

    /// Returns the jobs that have not ended; those of one repo by run, in the order in which the
    /// runs began.
    fn unfinished(&self) -> Vec<UnfinishedJob>;

    /// Ends a job with this log, and its run if that was its last job.
    ///
    /// # Panics
    ///
    /// If this job has ended already, or there is none like it.
    fn end_job(&self, job: &UnfinishedJob, passed: bool, log: &str);

    /// Makes the default branch require that this job has passed.
    fn require(&self, repo: &RepoName, job: &str);

    /// Makes a label of the repo, which is on no issue yet.
    fn add_label(&self, repo: &RepoName, label: &str);

    /// Breaks something about the account or the repo, from now on.
    fn plant(&self, repo: &RepoName, flaw: Flaw);

    /// Returns the path and query of every request so far.
    fn targets(&self) -> Vec<String>;

    /// Returns the path and query of every request since the last call, which are then forgotten.
    fn take_targets(&self) -> Vec<String>;

    /// Whether a request to an address with these words was answered with this status.
    fn refused(&self, words: &str, status: u16) -> bool;

    /// Returns what git asked for over HTTP, in that order.
    fn git_requests(&self) -> Vec<RecordedGitRequest>;

    /// Returns every credential that the fake accepts, so that a test can look for them where none
    /// may be.
    fn credentials(&self) -> Vec<String>;

    /// Whether a credential ever came to the other host, to which the fake redirects.
    fn leaked(&self) -> bool;

    /// Returns the webhook of an event in a repo, signed with `secret`; none if the forge has no
    /// webhook for it. Events are named as GitHub names them.
    fn delivery(&self, event: &str, repo: &RepoName, secret: &str) -> Option<Delivery>;

    /// Judges everything that was asked and answered so far: nothing may have been recorded as
    /// wrong, and the official description, where it is at hand, must agree.
    ///
    /// # Panics
    ///
    /// If something is wrong.
    fn check(&self, test: &str);
}

impl ForgeFake for GitHubFake {
    fn url(&self) -> String {
        self.url()
    }

    fn live(&self) {
        self.live();
    }

    fn on_git(&self, repo: &RepoName, path: &Path) {
        self.on_git(repo, path);
    }

    fn heads(&self, repo: &RepoName) -> BTreeMap<String, Oid> {
        self.heads(repo)
    }

    fn merge_pull(&self, repo: &RepoName, branch: &str, as_: MergeAs) -> Oid {
        self.merge_pull(repo, branch, as_)
    }

    fn begin_job(&self, repo: &RepoName, branch: &str, commit: &Oid, job: &str) {
        self.begin_run(repo, branch, commit, &[job]);
    }

    fn unfinished(&self) -> Vec<UnfinishedJob> {
        self.unfinished()
    }

    fn end_job(&self, job: &UnfinishedJob, passed: bool, log: &str) {
        self.end_job(job, if passed { "success" } else { "failure" }, log);
    }

    fn require(&self, repo: &RepoName, job: &str) {
        self.require(repo, &[job]);
    }

    fn add_label(&self, repo: &RepoName, label: &str) {
        self.add_label(repo, label);
    }

    fn plant(&self, repo: &RepoName, flaw: Flaw) {
        match flaw {
            Flaw::MissingScope => self.has_scopes("gist, notifications"),
            Flaw::ExpiredToken => self.rotate("another token"),
            Flaw::RefusesPushes => self.wants_pulls(repo),
            Flaw::HiddenPermissions => {
                self.fail(github::Route::Permission, Fault::Status(403));
            }
        }
    }

    fn targets(&self) -> Vec<String> {
        self.requests().into_iter().map(|one| one.target).collect()
    }

    fn take_targets(&self) -> Vec<String> {
        self.take_requests().into_iter().map(|one| one.target).collect()
    }

    fn refused(&self, words: &str, status: u16) -> bool {
        self.requests().iter().any(|one| one.status == status && one.target.contains(words))
    }

    fn git_requests(&self) -> Vec<RecordedGitRequest> {
        self.git_requests()
    }

    fn credentials(&self) -> Vec<String> {
        self.credentials()
    }

    fn leaked(&self) -> bool {
        self.strayed().iter().any(|(_, with)| *with)
    }

    /// The body only says which repo it is from: the adapter takes nothing else from one.
    fn delivery(&self, event: &str, repo: &RepoName, secret: &str) -> Option<Delivery> {
        let body = serde_json::json!({ "action": "edited", "repository": { "full_name": repo } });
        let body = body.to_string().into_bytes();
        let signature = format!("sha256={}", hmac(secret.as_bytes(), &body));
        let headers = [
            ("content-type", "application/json"),
            ("x-github-event", event),
            ("x-github-delivery", &self.fresh_delivery()),
            ("x-hub-signature-256", &signature),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Some(Delivery { headers, body })
    }

    fn check(&self, test: &str) {
        self.check(test);
    }
}

/// How Forgejo names a job of the workflow `ci.yml` in the status of a commit.
fn context(job: &str) -> String {
    format!("ci / {job} (push)")
}

impl ForgeFake for ForgejoFake {
    fn url(&self) -> String {
        self.url()
    }

    fn live(&self) {
        self.live();
    }

    fn on_git(&self, repo: &RepoName, path: &Path) {
        self.on_git(repo, path);
    }

    fn heads(&self, repo: &RepoName) -> BTreeMap<String, Oid> {
        self.heads(repo)
    }

    fn merge_pull(&self, repo: &RepoName, branch: &str, as_: MergeAs) -> Oid {
        self.merge_pull(repo, branch, as_)
    }

    fn begin_job(&self, repo: &RepoName, branch: &str, commit: &Oid, job: &str) {
        let number = self.attempts(repo).keys().max().map_or(1, |last| last + 1);
        let (status, event) = ("waiting".to_owned(), "push".to_owned());
        let branch = Some(branch.to_owned());
        let run = forgejo::Run { number, status, event, branch, jobs: Vec::new() };
        self.put_run(repo, commit, run);
        self.stands(repo, commit, number, job, "waiting", "");
    }

    fn unfinished(&self) -> Vec<UnfinishedJob> {
        self.waiting()
    }

    fn end_job(&self, of: &UnfinishedJob, passed: bool, log: &str) {
        assert!(self.waiting().contains(of), "{of:?} has ended");
        let status = if passed { "success" } else { "failure" };
        self.stands(&of.repo, &of.commit, of.run, &of.job, status, log);
    }

    fn require(&self, repo: &RepoName, job: &str) {
        let contexts = Some(vec![context(job)]);
        self.protect(repo, Protection { may_push: true, contexts, approvals: 0 });
    }

    fn add_label(&self, repo: &RepoName, label: &str) {
        self.add_label(repo, label);
    }

    fn plant(&self, repo: &RepoName, flaw: Flaw) {
        match flaw {
            Flaw::MissingScope => self.lacks_issues(),
            Flaw::ExpiredToken => self.rotate("another token"),
            Flaw::RefusesPushes => self.protect(repo, Protection::default()),
            Flaw::HiddenPermissions => self.administers_nothing(),
        }
    }

    fn targets(&self) -> Vec<String> {
        self.requests().into_iter().map(|one| one.target).collect()
    }

    fn take_targets(&self) -> Vec<String> {
        self.take_requests().into_iter().map(|one| one.target).collect()
    }

    fn refused(&self, words: &str, status: u16) -> bool {
        self.requests().iter().any(|one| one.status == status && one.target.contains(words))
    }

    fn git_requests(&self) -> Vec<RecordedGitRequest> {
        self.git_requests()
    }

    fn credentials(&self) -> Vec<String> {
        self.credentials()
    }

    fn leaked(&self) -> bool {
        self.strayed().iter().any(|(_, with)| *with)
    }

    fn delivery(&self, event: &str, repo: &RepoName, secret: &str) -> Option<Delivery> {
        // No webhook of Forgejo tells of runs of Actions.
        if event == "workflow_run" {
            return None;
        }
        self.sign_with(repo, secret);
        let (headers, body) = self.hook(event, repo);
        Some(Delivery { headers, body })
    }

    fn check(&self, test: &str) {
        self.check(test);
    }
}

impl ForgejoFake {
    /// Puts a run with one job in place of the one of the same number, on the same branch, and
    /// gives the commit a status of that job.
    fn stands(
        &self,
        repo: &RepoName,
        commit: &Oid,
        number: u64,
        job: &str,
        status: &str,
        log: &str,
    ) {
        let job_ =
            forgejo::Job { name: job.to_owned(), status: status.to_owned(), log: log.to_owned() };
        let (status_, event) = (status.to_owned(), "push".to_owned());
        self.put_run(
            repo,
            commit,
            forgejo::Run { number, status: status_, event, branch: None, jobs: vec![job_] },
        );
        let (state, description) = match status {
            "success" => ("success", "Successful in 1s"),
            "failure" => ("failure", "Failing after 1s"),
            _ => ("pending", "Waiting to run"),
        };
        self.give_status(
            repo,
            commit,
            forgejo::Status {
                context: context(job),
                state: state.to_owned(),
                description: description.to_owned(),
                run: Some(number),
            },
        );
    }
}
