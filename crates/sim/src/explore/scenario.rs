//! A scenario as data: the world at the start, what people do to it, and which calls fail how. It
//! is drawn from a seed or read from a file; a failing one can be reduced.
//!
//! Nothing here depends on how many calls the loop makes, except for positions counted over all
//! calls: a kept story names calls instead.

use afk_core::config::{History, Policy};
use afk_core::gates::BaseHealth;
use afk_core::ids::RepoName;
use afk_core::issue::Permission;
use afk_core::usd::Usd;
use serde::{Deserialize, Serialize};

use super::scripts::Work;
use crate::story;
use crate::world::{Claimed, Says, World};

/// Everything that happens, except what the loop does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What a kept story is about, for people; empty in a drawn one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Chooses the interleaving; without a seed the control planes take turns, a tick each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Number of control planes, one or two.
    pub planes: usize,
    /// The world at the start.
    pub setting: Setting,
    /// What happens in the world, and when.
    #[serde(default)]
    pub acts: Vec<(When, Happens)>,
    /// Which calls fail, and how.
    #[serde(default)]
    pub faults: Vec<(Call, Fault)>,
    /// How webhooks arrive, by their number: those of issues and pushes are counted from 0, those
    /// of pull requests and stages from [`DECISIONS`]. A webhook that is not in here is received at
    /// once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<(u64, Delivery)>,
}

/// The number of the first webhook of a pull request or a stage.
pub const DECISIONS: u64 = 1000;

/// The world at the start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Maximum number of live runs.
    pub runs: u32,
    /// Maximum number of times that a failed turn is retried.
    pub retries: u32,
    /// What all runs may spend in a day, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<u64>,
    /// Whether runs land by merging, which keeps the agent's commits.
    #[serde(default)]
    pub merge: bool,
    /// Whether a freeze applies to its issue only, and not to the whole repo.
    #[serde(default)]
    pub alone: bool,
    /// Whether stages run before landing.
    #[serde(default)]
    pub tested: bool,
    /// Whether stages are polled, and not run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub polled: bool,
    /// Whether runs land by pull requests, on which people decide.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pulls: bool,
    /// Whether agents work on another machine, and push by themselves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub far: bool,
    /// Whether agents on another machine that are interrupted report a stop at once, and stop a
    /// moment later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lingering: bool,
    /// The stage's answers to its first polls, whatever they are about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub says: Vec<Says>,
    /// Whether what trees need from outside is fetched before they are judged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fetches: bool,
    /// Whether every hook is configured.
    #[serde(default)]
    pub hooks: bool,
    /// Whether interrupted agents end as their script says.
    #[serde(default)]
    pub unruly: bool,
    /// Whether control planes are daemons, which look by themselves, instead of single ticks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub daemon: bool,
    /// Whether forges send webhooks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hears: bool,
    /// Whether a dead control plane is known to be dead, so that its leases are not waited out.
    #[serde(default)]
    pub buries: bool,
    /// Whether a second doorbell beside the terminal rings what is for people.
    #[serde(default)]
    pub webhook: bool,
    /// Whether that doorbell never works, not even in the calm phase.
    #[serde(default)]
    pub dead_webhook: bool,
    /// Whether repos of one owner share an account at their tracker.
    #[serde(default)]
    pub shared: bool,
    /// Whether the forges have the configured labels in a spelling of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spelled: bool,
    /// Whether nothing is dispatched while the default branch is red.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub base_waits: bool,
    /// The repos.
    pub repos: Vec<RepoSetting>,
}

/// A repo at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepoSetting {
    /// Its name, such as `o/r`.
    pub name: String,
    /// What its agents do, turn by turn; after that they give up.
    pub turns: Vec<Work>,
    /// Its issues.
    pub issues: Vec<IssueSetting>,
}

/// An issue at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IssueSetting {
    /// Its number.
    pub number: u64,
    /// Its body.
    pub body: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Who filed it and put the labels on.
    pub by: String,
}

/// When something happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At this step, or as soon as the story has reached it.
    Step(u64),
    /// After the nth call of this name, from 1.
    After(String, u64),
}

/// Which call a fault belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// The nth of all calls, from 0.
    Any(u64),
    /// The nth of this name, from 1.
    Named(String, u64),
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It fails before it did anything.
    Fails(Error),
    /// It fails after its effect.
    AnswerLost(Error),
    /// It fails, and its effect comes later, if it is one of [`crate::fakes::LATE`].
    Late,
    /// A read is answered as it would have been a while ago.
    Stale,
    /// A list is answered in another order, and every entry twice.
    Twice,
    /// Its process dies before it did anything.
    DiesBefore,
    /// Its process dies after its effect.
    DiesAfter,
    /// Its process dies, and its effect comes later, if it is one of [`crate::fakes::LATE`].
    DiesLate,
}

/// How a webhook arrives, where not once and at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Not at all.
    Lost,
    /// So many seconds later.
    Late(u64),
    /// At once, and again so many seconds later.
    Twice(u64),
}

/// With which error a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Error {
    /// One that passes.
    Transient,
    /// A rate limit, until so many seconds after the start of the story.
    Limited(u64),
    /// Access is denied.
    Auth,
    /// One that stays.
    Permanent,
}

/// One thing that happens outside the loop. Issues are named like `o/r#7`, repos like `o/r`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happens {
    /// A label is put on an issue, or taken off, by a person: issue, label, on, person.
    Label(String, String, bool, String),
    /// An issue is reopened, or closed, by a person.
    Open(String, bool, String),
    /// The body of an issue is changed by a person: issue, body, person.
    Edit(String, String, String),
    /// A person comments on an issue: issue, comment, person.
    Comment(String, String, String),
    /// Ann makes a request to the live run of an issue, in the words of a comment.
    Ask(String, String),
    /// Somebody else pushes a file to a repo: repo, path, text.
    Push(String, String, String),
    /// Somebody takes the newest commit out of a repo's default branch by force.
    Rewind(String),
    /// A repo's remote refuses every push, or takes pushes again.
    RefusePushes(String, bool),
    /// Somebody else pushes a commit with the trailers of a repo's live run and its newest attempt.
    Forge(String),
    /// Somebody else pushes a commit to a repo that names a run in this way.
    Claim(String, Claimed),
    /// Everything is halted, or the halt is lifted.
    Halt(bool),
    /// Dispatch is paused, or the pause is lifted.
    Pause(bool),
    /// A repo is frozen, or the freeze is lifted.
    Freeze(String, bool),
    /// The kill switch is turned on, or off.
    Kill(bool),
    /// A repo is put on the allowlist, or taken off.
    Enroll(String, bool),
    /// The newest configuration file is invalid, or valid again.
    Bad(bool),
    /// The switches cannot be read, or can again.
    Unreadable(bool),
    /// The next push to a default branch ends like this.
    NextPush(PushEnd),
    /// People decide on the open pull requests of a repo.
    Decide(String, Decided),
    /// Turns that run are lost.
    LoseTurns,
    /// Jobs that run are lost.
    LoseJobs,
    /// The agents' program disappears, or comes back.
    NoAgent(bool),
    /// Interrupts stop no agent any more, or stop them again.
    Stubborn(bool),
    /// All doorbells break, or work again.
    Bells(bool),
    /// The doorbell of this name breaks, or works again.
    Bell(String, bool),
    /// A repo's tracker fails all calls, or answers again.
    Mute(String, bool),
    /// The tracker of a repo refuses the account's calls for so many seconds, and says so.
    Limit(String, i64),
    /// The tracker of a repo answers so many calls more, and then refuses them for so many seconds.
    Quota(String, u64, i64),
    /// The tracker of a repo refuses the account's calls until nobody has asked for a minute.
    Slow(String),
    /// Somebody sends so many webhooks about a repo, or saying that an issue was released; the
    /// control planes take them for the forge's.
    Hook(String, u64),
    /// Somebody sends a webhook about a repo that says what is not true.
    HookLie(String, Lie),
    /// No webhook reaches the control plane of this number any more, or they do again.
    Deaf(usize, bool),
    /// The next stage to end fails by chance.
    Flake,
    /// Stages hang, or do so no longer.
    HangStages(bool),
    /// Stages cannot be run, or can again.
    NoStages(bool),
    /// Ann gets permission to write, or loses it.
    Permit(bool),
    /// The clock goes forward by so many seconds, or, if negative, back.
    Jump(i64),
    /// The control plane of this number dies between two calls.
    Crash(usize),
}

/// What a forged webhook says that is not true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// Every open pull request was merged.
    Merged,
    /// Every stage has passed.
    Passed,
}

/// What people decide about a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// They merge it.
    Merged,
    /// They close it.
    Closed,
    /// They close it, in favour of another.
    Superseded,
}

/// How a push ends, where not normally.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushEnd {
    /// Somebody else lands first.
    Overtaken,
    /// It lands, and somebody else lands on top of it.
    Followed,
    /// It lands, and the answer is lost.
    AnswerLost,
    /// It does not land, and the answer is lost, too.
    Lost,
    /// The remote refuses it.
    Refused,
}

impl Setting {
    /// The world at the start.
    pub(super) fn world(&self) -> World {
        let mut world = World::new(self.config(), story::start());
        world.tracker.permissions.insert("ann".to_owned(), Permission::Write);
        world.tracker.permissions.insert("bob".to_owned(), Permission::Read);
        world.agents.unruly = self.unruly;
        world.agents.lingering = self.lingering;
        if self.far {
            story::far(&mut world);
        }
        world.stages.says.insert("ci".to_owned(), self.says.iter().copied().collect());
        if self.webhook {
            world.add_webhook();
        }
        if self.dead_webhook {
            world.doorbells.broken.insert("webhook".to_owned());
        }
        for repo in &self.repos {
            let name = story::repo(&repo.name);
            if self.shared {
                let owner = repo.name.split('/').next().unwrap_or_default();
                world.tracker.homes.insert(name.clone(), owner.to_owned());
            }
            if self.spelled {
                for label in ["Ready-For-Agent", "Agent-In-Progress", "READY-FOR-HUMAN"] {
                    world.tracker.make_label(&name, label);
                }
            }
            world.somebody_lands(&name, &[("README.md", "hello"), ("src/lib", "one")]);
            let scripts = repo.turns.iter().map(Work::script).collect();
            world.agents.scripts.insert(name, scripts);
            for issue in &repo.issues {
                let labels: Vec<&str> = issue.labels.iter().map(String::as_str).collect();
                let name = format!("{}#{}", repo.name, issue.number);
                world.file(&name, &issue.body, &labels, &issue.by);
            }
        }
        world.replicate();
        world
    }

    fn config(&self) -> Policy {
        let mut config = Policy {
            kill_switch: false,
            max_concurrent_runs: self.runs,
            budget_usd: Usd::dollars(3),
            landing_refusals_max: 2,
            fix_forward_max_attempts: 2,
            fix_forward_max_seconds: 300,
            executor_retries_max: self.retries,
            stall_timeout_seconds: 60,
            stage_timeout_seconds: 120,
            run_timeout_seconds: 900,
            poll_seconds: 5,
            base_health: if self.base_waits { BaseHealth::Wait } else { BaseHealth::Attribute },
            day_budget_usd: self.day.map(Usd::dollars),
            ..Policy::default()
        };
        for repo in &self.repos {
            story::enroll(&mut config, &repo.name);
        }
        for repo in config.repos.values_mut() {
            repo.verify_timeout_seconds = 60;
            repo.freeze_repo = !self.alone;
            if self.fetches {
                repo.proof.fetch = Some(vec!["fetch".to_owned()]);
            }
            if self.merge {
                repo.history = History::Merge;
            }
            if self.hooks {
                let hook = || Some(vec!["hook".to_owned()]);
                repo.hooks.after_create = hook();
                repo.hooks.before_run = hook();
                repo.hooks.after_run = hook();
                repo.hooks.before_remove = hook();
            }
        }
        if self.tested && !self.pulls && !self.far {
            story::tested(&mut config);
        }
        if self.pulls && !self.far {
            story::pulls(&mut config);
        }
        if self.polled {
            story::polled(&mut config);
        }
        config
    }

    /// The names of the repos.
    pub(super) fn repos(&self) -> Vec<RepoName> {
        self.repos.iter().map(|repo| story::repo(&repo.name)).collect()
    }
}
