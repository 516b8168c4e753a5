//! The stage `checks`, with a fake that answers as GitHub would.

use std::sync::Arc;

use afk_core::config;
use afk_core::ids::Oid;
use afk_core::verdict::StageAnswer;
use afk_engine::ports::{PortResult, StageQuery, StageReport, Stages as _};
use afk_remote::{Ancestry, PolledStages, RemoteSettings};
use afk_sim::fakes::Jumping;
use async_trait::async_trait;
use serde_json::json;

use crate::support::{OnGitHub, repo, run};

pub(crate) struct NoGit;

#[async_trait]
impl Ancestry for NoGit {
    async fn is_descendant(&self, _: &StageQuery, _: &str) -> PortResult<bool> {
        Ok(false)
    }
}

/// The stage on one commit of `o/r`.
struct Stage {
    home: OnGitHub,
    stages: PolledStages,
    table: config::Stage,
    commit: Oid,
}

impl Stage {
    fn new() -> Self {
        let home = OnGitHub::new();
        let commit = home.sim.with(|world| world.somebody_lands(&repo("o/r"), &[("a", "b")]));
        let (secrets, clock) = (home.secrets.clone(), Arc::new(Jumping(home.sim.clone())));
        let forges = Arc::new(home.restarted());
        let stages = PolledStages::new(secrets, clock, Arc::new(NoGit), forges);
        let table = json!({ "name": "ci", "kind": "checks" });
        let settings = json!({ "repos": { "o/r": { "stages": [table] } } });
        let settings: RemoteSettings = serde_json::from_value(settings).unwrap();
        stages.configure(Arc::new(settings));
        Self { home, stages, table: serde_json::from_value(table).unwrap(), commit }
    }

    async fn of(&self, commit: &Oid, again: u32) -> StageReport {
        self.at(commit, true, again).await
    }

    async fn at(&self, commit: &Oid, landed: bool, again: u32) -> StageReport {
        let query = StageQuery {
            run: run(),
            repo: repo("o/r"),
            stage: self.table.clone(),
            commit: commit.clone(),
            landed,
            again,
        };
        self.stages.poll(&query).await.unwrap_or_else(|error| panic!("{}", error.chain()))
    }

    async fn says(&self, again: u32) -> StageAnswer {
        self.of(&self.commit, again).await.answer
    }

    /// Ends each unfinished job with the conclusion `how`. Returns their number.
    fn end(&self, how: &str, log: &str) -> usize {
        let unfinished = self.home.fake.unfinished();
        for job in &unfinished {
            self.home.fake.end_job(job, how, log);
        }
        unfinished.len()
    }

    /// Ends each of these jobs, if it is unfinished, with its conclusion.
    fn end_each(&self, how: &[(&str, &str)]) {
        for job in self.home.fake.unfinished() {
            if let Some((_, how)) = how.iter().find(|(name, _)| *name == job.job) {
                self.home.fake.end_job(&job, how, "");
            }
        }
    }
}

#[tokio::test]
async fn what_a_ruleset_requires_must_have_passed() {
    let stage = Stage::new();
    let (home, repo) = (&stage.home, repo("o/r"));
    home.fake.require(&repo, &["test"]);
    home.fake.protect(&repo, &["docs"]);
    assert_eq!(stage.of(&"f".repeat(40).parse().unwrap(), 0).await.answer, StageAnswer::None);
    assert_eq!(stage.says(0).await, StageAnswer::None);
    home.fake.begin_run(&repo, "main", &stage.commit, &["test"]);
    assert_eq!(stage.says(0).await, StageAnswer::Pending);
    // A check of another app than the ruleset requires does not count.
    home.fake.set_check(&repo, &stage.commit, (7, "test"), Some("success"), "");
    home.fake.set_status(&repo, &stage.commit, "docs", "pending", "");
    assert_eq!(stage.end("success", ""), 1);
    assert_eq!(stage.says(0).await, StageAnswer::Pending);
    for n in 0..120 {
        home.fake.set_status(&repo, &stage.commit, &format!("other {n}"), "failure", "");
    }
    home.fake.set_status(&repo, &stage.commit, "docs", "success", "");
    assert_eq!(stage.says(0).await, StageAnswer::Success);
    stage.home.done("checks_required");
}

#[tokio::test]
async fn without_rules_all_must_have_passed_and_be_still() {
    let stage = Stage::new();
    let (home, repo) = (&stage.home, repo("o/r"));
    home.fake.begin_run(&repo, "main", &stage.commit, &["lint", "test"]);
    stage.end("success", "");
    assert_eq!(stage.says(0).await, StageAnswer::Pending);
    home.later(61);
    assert_eq!(stage.says(0).await, StageAnswer::Success);
    home.fake.set_check(&repo, &stage.commit, (7, "scan"), Some("failure"), "3 holes");
    let said = stage.of(&stage.commit, 0).await;
    assert_eq!((said.answer, said.tail.as_deref()), (StageAnswer::Failure, Some("scan\n3 holes")));
    stage.home.done("checks_all");
}

/// The candidate that was tested is the very commit that lands, and jobs for the default branch
/// alone were skipped on the candidate's branch.
#[tokio::test]
async fn ci_of_a_candidates_branch_does_not_answer_for_what_has_landed() {
    let stage = Stage::new();
    let (home, repo) = (&stage.home, repo("o/r"));
    let branch = format!("afk/try/{}/1", run());
    home.fake.begin_run(&repo, &branch, &stage.commit, &["test", "deploy"]);
    stage.end_each(&[("test", "success"), ("deploy", "skipped")]);
    home.later(61);
    assert_eq!(stage.at(&stage.commit, false, 0).await.answer, StageAnswer::Success);
    assert_eq!(stage.says(0).await, StageAnswer::None);
    home.fake.begin_run(&repo, "main", &stage.commit, &["test", "deploy"]);
    assert_eq!(stage.says(0).await, StageAnswer::Pending);
    stage.end_each(&[("test", "success"), ("deploy", "failure")]);
    assert_eq!(stage.says(0).await, StageAnswer::Failure);
    stage.home.done("checks_landed");
}

#[tokio::test]
async fn what_failed_is_started_again_and_shows_its_log() {
    let stage = Stage::new();
    let (home, repo) = (&stage.home, repo("o/r"));
    home.fake.require(&repo, &["test"]);
    home.fake.begin_run(&repo, "main", &stage.commit, &["test"]);
    assert_eq!(stage.end("failure", "\u{1b}[31m1 failed\u{1b}[0m\n"), 1);
    let said = stage.of(&stage.commit, 0).await;
    assert_eq!(said.answer, StageAnswer::Failure);
    assert_eq!(said.tail.as_deref(), Some("1 failed\n\njob test failed"));
    assert!(said.link.unwrap().contains("/actions/runs/"));
    // The host of the log saw no credential.
    let strayed = home.fake.strayed();
    assert_eq!(strayed.len(), 1);
    assert!(strayed.iter().all(|(path, with)| path.starts_with("/logs/") && !with), "{strayed:?}");
    assert_eq!(stage.says(1).await, StageAnswer::Pending);
    let again = home.fake.unfinished();
    assert_eq!(again.iter().map(|job| job.attempt).collect::<Vec<_>>(), [2]);
    assert_eq!(stage.says(1).await, StageAnswer::Pending);
    assert_eq!(stage.end("success", ""), 1);
    assert_eq!(stage.says(1).await, StageAnswer::Success);
    stage.home.done("checks_again");
}

#[tokio::test]
async fn a_workflow_without_jobs_and_a_token_without_checks_are_told() {
    let stage = Stage::new();
    let (home, repo) = (&stage.home, repo("o/r"));
    home.fake.begin_run(&repo, "main", &stage.commit, &[]);
    assert_eq!(stage.says(0).await, StageAnswer::Failure);
    home.fake.hide_checks();
    home.fake.require(&repo, &["test"]);
    home.later(301);
    home.fake.begin_run(&repo, "main", &stage.commit, &["test"]);
    assert_eq!(stage.says(0).await, StageAnswer::Pending);
    assert_eq!(stage.end("success", ""), 1);
    let said = stage.of(&stage.commit, 0).await;
    assert_eq!(said.answer, StageAnswer::Success);
    assert!(said.tail.unwrap().contains("may not read check runs"));
    stage.home.done("checks_hidden");
}

/// Fault 6 of other bots: a job that was skipped because another one failed looked green.
#[tokio::test]
async fn fault_6_a_required_check_that_was_skipped_after_its_needs_failed_is_red() {
    let stage = Stage::new();
    let (home, repo) = (&stage.home, repo("o/r"));
    home.fake.require(&repo, &["test"]);
    home.fake.begin_run(&repo, "main", &stage.commit, &["build", "test"]);
    stage.end_each(&[("build", "failure"), ("test", "skipped")]);
    assert_eq!(stage.says(0).await, StageAnswer::Failure);
    // A job that had nothing to do is skipped, too, and has passed.
    let other = home.sim.with(|world| world.somebody_lands(&repo, &[("a", "c")]));
    home.fake.begin_run(&repo, "main", &other, &["build", "test"]);
    stage.end_each(&[("build", "success"), ("test", "skipped")]);
    assert_eq!(stage.of(&other, 0).await.answer, StageAnswer::Success);
    stage.home.done("fault_6");
}

/// Fault 7 of other bots: between two jobs no check ran, for longer than the bot waited.
#[tokio::test]
async fn fault_7_no_check_for_90_seconds_between_two_jobs_is_not_the_end() {
    let stage = Stage::new();
    let (home, repo) = (&stage.home, repo("o/r"));
    let run = home.fake.begin_run(&repo, "main", &stage.commit, &["build"]);
    home.fake.goes_on(run);
    assert_eq!(stage.end("success", ""), 1);
    home.later(90);
    assert_eq!(stage.says(0).await, StageAnswer::Pending);
    home.fake.begin_last_job(run, "test");
    assert_eq!(stage.says(0).await, StageAnswer::Pending);
    assert_eq!(stage.end("failure", ""), 1);
    assert_eq!(stage.says(0).await, StageAnswer::Failure);
    stage.home.done("fault_7");
}

/// Fault 9 of other bots: a check that failed was hidden by a newer one of its name, in another
/// suite.
#[tokio::test]
async fn fault_9_a_failed_check_beside_a_running_sibling_of_its_name_is_red() {
    let stage = Stage::new();
    let (home, repo) = (&stage.home, repo("o/r"));
    home.fake.begin_run(&repo, "main", &stage.commit, &["test"]);
    assert_eq!(stage.end("failure", "1 failed"), 1);
    home.fake.begin_run_of("Nightly", &repo, "main", &stage.commit, &["test"]);
    let said = stage.of(&stage.commit, 0).await;
    assert_eq!(said.answer, StageAnswer::Failure);
    assert_eq!(said.tail.as_deref(), Some("1 failed\njob test failed"));
    // A check that passes later does not make up for the one that failed.
    assert_eq!(stage.end("success", ""), 1);
    home.later(61);
    assert_eq!(stage.says(0).await, StageAnswer::Failure);
    stage.home.done("fault_9");
}

/// Fault 17 of other bots: the first page of 51 contexts was green.
#[tokio::test]
async fn fault_17_of_51_contexts_the_last_is_red() {
    let stage = Stage::new();
    let (home, repo) = (&stage.home, repo("o/r"));
    home.fake.set_status(&repo, &stage.commit, "first", "failure", "broken");
    // Newest first, two for each context: the red one is on the second page.
    for state in ["pending", "success"] {
        for n in 0..50 {
            home.fake.set_status(&repo, &stage.commit, &format!("context {n}"), state, "");
        }
    }
    home.later(61);
    let said = stage.of(&stage.commit, 0).await;
    assert_eq!((said.answer, said.tail.as_deref()), (StageAnswer::Failure, Some("broken")));
    stage.home.done("fault_17");
}
