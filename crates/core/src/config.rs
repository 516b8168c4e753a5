//! The part of the configuration that decisions depend on, as types with the shipped defaults.
//!
//! The defaults are inert: the kill switch is on and the allowlist is empty, and a person has to
//! edit both to arm it. Each crate reads its own keys of the one document and ignores the others;
//! programs, folders and addresses belong to the adapters. The app composes the parts and refuses
//! unknown keys.

mod problems;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use indexmap::IndexSet;
pub use problems::{Mistake, NO_STAGES, dotted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ask::Permissions;
use crate::author::Author;
use crate::doorbell::{DoorbellKind, DoorbellPriority};
use crate::forms;
use crate::gates::{BaseHealth, TrustPolicy};
use crate::guardrails::GuardrailPolicy;
use crate::ids::{AdapterName, RepoName};
use crate::network::AgentNetwork;
use crate::proof::{Conditions, Permits, ProofPolicy, ProofPolicyConfig, ProofPolicyError, Verify};
use crate::run::{Limits, Run};
use crate::shared::{Shared, alike};
use crate::usd::Usd;
use crate::verdict::StageNames;

/// The kind of stage that runs a command as a job.
const COMMAND: &str = "command";

/// The kinds of stages that look at what is deployed.
const DEPLOYERS: [&str; 2] = ["rollout", "http"];

/// The name of the executor of a repo that names none.
const EXECUTOR: &str = "claude";
/// The name of the tracker of a repo that names none.
const TRACKER: &str = "local";
/// The kind of the doorbell that rings where none is configured.
const DOORBELL: &str = "terminal";

/// The configuration that decisions depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Policy {
    /// The kill switch: while it is true, the loop starts no new run. Live runs continue. `afk arm`
    /// turns it off.
    pub kill_switch: bool,
    /// The repos, as `owner/name`, on whose issues the loop may start runs. If it is empty, the
    /// loop starts none.
    #[schemars(with = "Vec<RepoName>")]
    pub allowlist: Shared<IndexSet<RepoName>>,
    /// Whether to plan everything and record what would be done, but do nothing.
    pub shadow: bool,
    /// The label that releases an issue: a trusted person adds it to let the loop work on the
    /// issue.
    #[schemars(regex(pattern = forms::NOT_BLANK))]
    pub ready_label: String,
    /// The label that afk puts on an issue while a run is live on it.
    #[schemars(regex(pattern = forms::NOT_BLANK))]
    pub in_progress_label: String,
    /// The label that afk puts on an issue that it has handed to a person.
    #[schemars(regex(pattern = forms::NOT_BLANK))]
    pub human_label: String,
    /// The label by which a trusted person allows a change to land although no test fails without
    /// it.
    #[schemars(regex(pattern = forms::NOT_BLANK))]
    pub no_test_label: String,
    /// The label by which a trusted person allows a change to remove, skip or reconfigure tests.
    #[schemars(regex(pattern = forms::NOT_BLANK))]
    pub tests_label: String,
    /// The priority of an issue without a label `priority:N` or `PN`. If unset, such an issue comes
    /// after all that have one.
    pub default_priority: Option<i64>,
    /// Maximum number of runs at work at once. A run whose pull request waits for people does not
    /// count.
    pub max_concurrent_runs: u32,
    /// Budget of one run, in US dollars.
    pub budget_usd: Usd,
    /// Budget of each repo for a day (UTC), in US dollars. If unset, there is no limit.
    pub repo_day_budget_usd: Option<Usd>,
    /// Budget of all repos together for a day (UTC), in US dollars. If unset, there is no limit.
    pub day_budget_usd: Option<Usd>,
    /// Number of refusals before landing (by `verify`, the proof or a merge conflict) after which a
    /// run is handed to a person.
    pub landing_refusals_max: u32,
    /// Maximum number of corrective turns after a landed commit failed a stage.
    pub fix_forward_max_attempts: u32,
    /// Seconds after the first failed stage of a landed commit in which corrective turns may begin.
    pub fix_forward_max_seconds: u64,
    /// Maximum number of consecutive retries of a failed turn of the agent.
    pub executor_retries_max: u32,
    /// Seconds without output from the agent, outside of a tool call, after which its turn is
    /// interrupted.
    pub stall_timeout_seconds: u64,
    /// Seconds without output from the agent during a tool call, such as a long build, after which
    /// its turn is interrupted.
    pub tool_timeout_seconds: u64,
    /// Seconds that one stage may take to answer.
    pub stage_timeout_seconds: u64,
    /// Seconds that an agent's question waits for a person, with `permissions = "ask"`. After that,
    /// a permission is refused, and other questions are left to the agent.
    pub question_timeout_seconds: u64,
    /// Seconds that a whole run may take.
    pub run_timeout_seconds: u64,
    /// Seconds for which a run tries again to land a change while others push to the default branch
    /// faster than the change can be tested. After that, and at least three tries, the run is
    /// handed to a person.
    pub race_timeout_seconds: u64,
    /// Seconds between two looks for new issues in the trackers.
    pub poll_seconds: u64,
    /// Seconds after which the doorbells ring again for a frozen repo, until somebody acknowledges
    /// the freeze with `afk ack`; 0 rings only once.
    pub page_again_seconds: u64,
    /// Whether runs are refused on a machine without bubblewrap ("required"), or use the strongest
    /// sandbox that the machine has ("preferred").
    pub sandbox: SandboxRequirement,
    /// What to do while the default branch is red: start runs and record which failures were there
    /// before ("attribute"), or start none while a run or a polled stage finds its head red
    /// ("wait"). Where `verify` itself fails, "attribute" starts runs only with `proof.junit`.
    pub base_health: BaseHealth,
    /// Which accounts may release an issue with the ready label.
    pub trust: TrustPolicy,
    /// The doorbells, which tell people how runs end and what waits for them.
    pub notify: Vec<DoorbellPolicy>,
    /// The executors, by the names that repos choose them by, as far as they decide.
    #[schemars(skip)]
    pub agents: BTreeMap<AdapterName, ExecutorPolicy>,
    /// The repos, by `owner/name`.
    #[serde(deserialize_with = "alike")]
    pub repos: Shared<BTreeMap<RepoName, Shared<Repo>>>,
}

/// The part of an executor's table that decisions depend on; the rest is its adapter's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecutorPolicy {
    /// What the executor's agents may do without asking.
    pub permissions: Permissions,
}

/// What to do on a machine without bubblewrap, the strongest sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SandboxRequirement {
    /// Refuse to run.
    #[default]
    Required,
    /// Use the strongest sandbox that the machine has, and report how strong it is.
    Preferred,
}

/// One repo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Repo {
    /// The command (argv) that tests the repo's files and exits with 0 if they are in order, or
    /// "none" for a repo without one.
    pub verify: Verify,
    /// The agent that works on the repo: a name in `agents`, or "claude", "codex" or "scripted".
    #[serde(default = "executor")]
    pub agent: AdapterName,
    /// The tracker that has the repo's issues: "local", or a name in `forges`.
    #[serde(default = "tracker")]
    pub tracker: AdapterName,
    /// How a change gets to the default branch.
    #[serde(default)]
    pub landing: Landing,
    /// Whether a change lands as one commit or as a merge.
    #[serde(default)]
    pub history: History,
    /// The author of the commit with which a change lands, as "Name <address>", whatever author the
    /// agent's own commits name.
    #[serde(default)]
    pub author: Author,
    /// The stages (CI, deployment and the like) that a landed commit must pass, in order. A repo
    /// needs at least one.
    #[schemars(length(min = 1))]
    pub stages: Vec<Stage>,
    /// How a change must be proved.
    #[serde(default)]
    pub proof: ProofPolicyConfig,
    /// What a change must never contain.
    #[serde(default)]
    pub guardrails: GuardrailPolicy,
    /// Budget of one run on this repo, in US dollars, if it is below the general `budget_usd`. If
    /// unset, that applies.
    #[serde(default)]
    pub budget_usd: Option<Usd>,
    /// Time limit of one run of `verify`, in seconds.
    #[serde(default = "verify_timeout")]
    pub verify_timeout_seconds: u64,
    /// Whether a run that ends frozen freezes the whole repo (true) or only its issue (false).
    #[serde(default = "yes")]
    pub freeze_repo: bool,
    /// What the agent, `verify` and the stages of this repo may reach on the network.
    #[serde(default)]
    pub network: NetworkPolicy,
    /// Folders outside of the repo that its agent, `verify` and its stages may read, such as
    /// toolchains.
    #[serde(default)]
    pub read: Vec<PathBuf>,
    /// Commands that are run before and after the agent's work, in the sandbox.
    #[serde(default)]
    pub hooks: Hooks,
}

/// How a change gets to the default branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Landing {
    /// It is pushed once it is proved. A commit that fails a stage after that is fixed by further
    /// commits.
    #[default]
    Direct,
    /// It is pushed to a branch of its own first, and to the default branch once the stages marked
    /// `before_landing` have passed there.
    Tested,
    /// A pull request is opened for it, which people merge or close.
    PullRequest,
}

/// Whether a change lands as one commit or as a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum History {
    /// One commit with one parent.
    #[default]
    Squash,
    /// A merge commit that keeps the agent's commits.
    Merge,
}

/// A stage that a landed commit must pass, such as CI or a deployment. Its kind decides which
/// further keys apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stage {
    /// The stage's name, unique among the repo's stages.
    pub name: String,
    /// The stage's kind: "command" runs `command` on this machine; "checks", "forgejo-status",
    /// "woodpecker", "rollout" and "http" ask another system about the commit.
    #[serde(default = "command")]
    pub kind: AdapterName,
    /// Of "command": the command (argv), which is run in a clean clone of the commit. The stage
    /// passes if it exits with 0.
    #[serde(default)]
    pub command: Vec<String>,
    /// Of "command": time limit of the command, in seconds. If unset, `stage_timeout_seconds`
    /// applies.
    #[serde(default)]
    pub timeout_seconds: Option<u64>,
    /// Whether the stage must pass before a commit lands; needs `landing = "tested"`.
    #[serde(default)]
    pub before_landing: bool,
    /// Whether the stage deploys the commit or checks that it is deployed. If so, the checklist of
    /// a run has the line "Deployed / rolled out". If unset, true for the kinds "rollout" and
    /// "http".
    #[serde(default)]
    pub deploys: Option<bool>,
}

/// What processes may reach on the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkPolicy {
    /// What the agent may reach: "open" (or true) for everything, "model" for the model's API
    /// alone, a list of hosts that it may reach besides the model's API, or "none" (or false). It
    /// can only narrow `network` in the agent's own table.
    pub agent: AgentNetwork,
    /// Whether `verify`, also in the runs that prove a change, may use the network.
    pub verify: bool,
    /// Whether stages of kind "command" may use the network.
    pub stages: bool,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        Self { agent: AgentNetwork::Open, verify: false, stages: false }
    }
}

/// Commands (argv) before and after the agent's work. Each runs in the sandbox, for at most 60
/// seconds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hooks {
    /// Runs after the workspace was created; a failure ends the run. If unset, nothing is run.
    #[schemars(schema_with = "forms::command_schema")]
    pub after_create: Option<Vec<String>>,
    /// Runs before each turn of the agent; a failure ends the run. If unset, nothing is run.
    #[schemars(schema_with = "forms::command_schema")]
    pub before_run: Option<Vec<String>>,
    /// Runs after each turn of the agent; a failure is only recorded. If unset, nothing is run.
    #[schemars(schema_with = "forms::command_schema")]
    pub after_run: Option<Vec<String>>,
    /// Runs before the workspace is removed; a failure is only recorded. If unset, nothing is run.
    #[schemars(schema_with = "forms::command_schema")]
    pub before_remove: Option<Vec<String>>,
}

/// A doorbell, which tells people how runs end and what waits for them. Its kind decides which
/// further keys apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DoorbellPolicy {
    /// The doorbell's name. If unset, it is the kind, with "-2" and so on for further doorbells of
    /// the same kind.
    #[serde(default)]
    pub name: Option<AdapterName>,
    /// The way in which people are told: "terminal", "webhook", "slack" or "ntfy".
    pub kind: AdapterName,
    /// Whether the doorbell also rings for runs that ended well. If false, it rings only when a
    /// person is needed.
    #[serde(default = "yes")]
    pub done: bool,
}

impl DoorbellPolicy {
    /// A doorbell of that kind, without a name of its own, that rings for everything.
    pub fn of_kind(kind: AdapterName) -> Self {
        Self { name: None, kind, done: true }
    }

    /// Whether it rings for doorbells of `kind`.
    pub fn wants(&self, kind: DoorbellKind) -> bool {
        match kind.priority() {
            DoorbellPriority::Low => self.done,
            DoorbellPriority::High => true,
        }
    }
}

/// Returns the names of doorbells in the order of the configuration. Each is given as its own name,
/// if it has one, and its kind. The same list always gives the same names.
pub fn doorbell_names<'a>(
    given: impl IntoIterator<Item = (Option<&'a AdapterName>, &'a AdapterName)>,
) -> Vec<AdapterName> {
    let mut of_kind: BTreeMap<&AdapterName, u32> = BTreeMap::new();
    let names = given.into_iter().map(|(name, kind)| {
        let nth = of_kind.entry(kind).or_default();
        *nth += 1;
        match (name, *nth) {
            (Some(name), _) => name.clone(),
            (None, 1) => kind.clone(),
            // A kind too long for a suffix gives the same name again, which is refused as a repeat.
            (None, nth) => format!("{kind}-{nth}").parse().unwrap_or_else(|_| kind.clone()),
        }
    });
    names.collect()
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            kill_switch: true,
            allowlist: Shared::default(),
            shadow: false,
            ready_label: "ready-for-agent".to_owned(),
            in_progress_label: "agent-in-progress".to_owned(),
            human_label: "ready-for-human".to_owned(),
            no_test_label: "no-test-needed".to_owned(),
            tests_label: "tests-may-change".to_owned(),
            default_priority: None,
            max_concurrent_runs: 2,
            budget_usd: Usd::dollars(100),
            repo_day_budget_usd: None,
            day_budget_usd: None,
            landing_refusals_max: 3,
            fix_forward_max_attempts: 5,
            fix_forward_max_seconds: 3600,
            executor_retries_max: 3,
            stall_timeout_seconds: 30 * 60,
            tool_timeout_seconds: 2 * 60 * 60,
            stage_timeout_seconds: 60 * 60,
            question_timeout_seconds: 60 * 60,
            run_timeout_seconds: 12 * 60 * 60,
            race_timeout_seconds: 30 * 60,
            poll_seconds: 30,
            page_again_seconds: 3600,
            sandbox: SandboxRequirement::default(),
            base_health: BaseHealth::default(),
            trust: TrustPolicy::default(),
            notify: vec![DoorbellPolicy::of_kind(AdapterName::known(DOORBELL))],
            agents: BTreeMap::new(),
            repos: Shared::default(),
        }
    }
}

impl Policy {
    /// The largest budget that the caps of a day allow for `run`; none without a cap. `spent` is
    /// what was spent today or is reserved: by all repos, and by the run's repo.
    pub fn budget_room(&self, run: &Run, spent: [Usd; 2]) -> Option<Usd> {
        let own = run.reserved();
        let caps = [self.day_budget_usd, self.repo_day_budget_usd];
        let room = caps.into_iter().zip(spent).filter_map(|(cap, spent)| {
            // What is reserved for this run already does not take room from it.
            Some(run.spent() + cap?.saturating_sub(spent.saturating_sub(own)))
        });
        room.min()
    }

    /// The limits of a run on `repo`.
    pub fn limits(&self, repo: &Repo) -> Limits {
        Limits {
            landing_refusals: self.landing_refusals_max,
            fix_forwards: self.fix_forward_max_attempts,
            fix_forward_clock: Duration::from_secs(self.fix_forward_max_seconds),
            executor_retries: self.executor_retries_max,
            stall: Duration::from_secs(self.stall_timeout_seconds),
            tool: Duration::from_secs(self.tool_timeout_seconds),
            stage: Duration::from_secs(self.stage_timeout_seconds),
            question: match self.permissions(repo) {
                // Under full access nobody is waited for.
                Permissions::FullAccess => Duration::ZERO,
                Permissions::Ask => Duration::from_secs(self.question_timeout_seconds),
            },
            run: Duration::from_secs(self.run_timeout_seconds),
            // Longer than a lease, so that a control plane that takes over can still stop it.
            stop_grace: Duration::from_mins(1),
            stages: StageNames::new(repo.stages.iter().map(|stage| stage.name.clone()).collect())
                .ok(),
            candidate: Duration::from_mins(10),
            before_landing: repo.before_landing(),
            pull_request: repo.landing == Landing::PullRequest,
            race: Duration::from_secs(self.race_timeout_seconds),
        }
    }

    /// The stages of `repo`, in order; none if it has no table any more.
    pub fn stages_of(&self, repo: &RepoName) -> &[Stage] {
        self.repos.get(repo).map_or(&[], |repo| &repo.stages)
    }

    /// The name of the executor that works on `repo`; the default one if it has no table any more.
    pub fn executor_of(&self, repo: &RepoName) -> AdapterName {
        self.repos.get(repo).map_or_else(executor, |repo| repo.agent.clone())
    }

    /// The name of the tracker that has the issues of `repo`; the default one if it has no table
    /// any more.
    pub fn tracker_of(&self, repo: &RepoName) -> AdapterName {
        self.repos.get(repo).map_or_else(tracker, |repo| repo.tracker.clone())
    }

    /// The doorbells by their names, in the order of the configuration.
    pub fn doorbells(&self) -> impl Iterator<Item = (AdapterName, &DoorbellPolicy)> {
        let given = self.notify.iter().map(|one| (one.name.as_ref(), &one.kind));
        doorbell_names(given).into_iter().zip(&self.notify)
    }

    /// What the agent of `repo` may do without asking.
    pub fn permissions(&self, repo: &Repo) -> Permissions {
        self.agents.get(&repo.agent).map(|executor| executor.permissions).unwrap_or_default()
    }

    /// The labels that permit something for one issue, none of them granted yet.
    pub fn permits(&self) -> Permits {
        Permits::none(&self.no_test_label, &self.tests_label)
    }

    /// What a proof's jobs on `repo` may reach.
    pub fn conditions(&self, repo: &Repo) -> Conditions {
        Conditions {
            network: repo.network.verify,
            lax: self.sandbox == SandboxRequirement::Preferred,
            read: repo.read.clone(),
        }
    }

    /// The budget of a run on `repo`.
    pub fn budget(&self, repo: &Repo) -> Usd {
        repo.budget_usd.map_or(self.budget_usd, |own| own.min(self.budget_usd))
    }
}

impl Repo {
    /// Whether no run may begin on a head on which `verify` fails. That is so unless there is no
    /// command, or a red branch is not waited for and reports tell what failed before.
    pub fn waits_for_verify(&self, health: BaseHealth) -> bool {
        match (&self.verify, health) {
            (Verify::None, _) => false,
            (Verify::Command(_), BaseHealth::Wait) => true,
            (Verify::Command(_), BaseHealth::Attribute) => self.proof.junit.is_none(),
        }
    }
}

impl Stage {
    /// Whether it runs as a job; every other stage is polled.
    pub fn is_run(&self) -> bool {
        self.kind.as_str() == COMMAND
    }

    /// Whether it brings a commit to its users, or sees it there.
    pub fn deploys(&self) -> bool {
        self.deploys.unwrap_or_else(|| DEPLOYERS.contains(&self.kind.as_str()))
    }
}

impl Repo {
    /// The stages that a candidate must pass before it lands; none if it lands directly.
    pub fn before_landing(&self) -> Option<StageNames> {
        let marked = self.stages.iter().filter(|stage| stage.before_landing);
        match self.landing {
            Landing::Direct | Landing::PullRequest => None,
            Landing::Tested => {
                StageNames::new(marked.map(|stage| stage.name.clone()).collect()).ok()
            }
        }
    }

    /// How a change is proved. Files that a stage's command names judge the change as those of
    /// `verify` do, so they are protected too.
    pub fn proof_policy(&self) -> Result<ProofPolicy, ProofPolicyError> {
        let stages = self.stages.iter().map(|stage| &stage.command[..]);
        let stages = stages.chain(self.proof.fetch.as_deref());
        ProofPolicy::compile(self.proof.clone(), self.verify.clone(), stages)
    }
}

fn command() -> AdapterName {
    AdapterName::known(COMMAND)
}

fn executor() -> AdapterName {
    AdapterName::known(EXECUTOR)
}

fn tracker() -> AdapterName {
    AdapterName::known(TRACKER)
}

const fn verify_timeout() -> u64 {
    30 * 60
}

const fn yes() -> bool {
    true
}
