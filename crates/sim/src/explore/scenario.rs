//! A scenario as data: the world at the start, what people do to it, what calls suffer. Drawn from
//! a seed, or read from a file; a failing one can be reduced.
//!
//! Nothing here depends on how many calls the loop makes, except for positions counted over all
//! calls: a kept story names the call instead.

use afk_core::config::{History, Policy};
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
    /// What a kept story is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// Chooses the interleaving; without a seed the control planes take turns, a tick each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Control planes, one or two.
    pub planes: usize,
    /// The world at the start.
    pub setting: Setting,
    /// What happens in the world.
    #[serde(default)]
    pub acts: Vec<(When, Happens)>,
    /// What calls suffer.
    #[serde(default)]
    pub faults: Vec<(Call, Fault)>,
    /// What webhooks suffer, by their number: from 0 those of issues and pushes, from [`DECISIONS`]
    /// those of pull requests and stages. The others are heard at once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<(u64, Delivery)>,
}

/// The number of the first webhook of a pull request or a stage.
pub const DECISIONS: u64 = 1000;

/// The world at the start.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Runs that may be live at once.
    pub runs: u32,
    /// Executor retries.
    pub retries: u32,
    /// What all runs may spend in a day, in US dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<u64>,
    /// Keeps the agent's commits.
    #[serde(default)]
    pub merge: bool,
    /// A freeze only applies to its issue.
    #[serde(default)]
    pub alone: bool,
    /// Stages run before landing.
    #[serde(default)]
    pub tested: bool,
    /// Stages are polled.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub polled: bool,
    /// People decide in pull requests what lands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pulls: bool,
    /// Agents work on another machine, and push by themselves.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub far: bool,
    /// Interrupted agents report a stop at once, and stop a moment later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lingering: bool,
    /// What the stage says at its first polls, whatever they are about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub says: Vec<Says>,
    /// What trees need from outside is fetched.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fetches: bool,
    /// Every hook is set.
    #[serde(default)]
    pub hooks: bool,
    /// Interrupted agents end in their own way.
    #[serde(default)]
    pub unruly: bool,
    /// Control planes are daemons, which look by themselves, instead of ticks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub daemon: bool,
    /// Forges send webhooks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hears: bool,
    /// A dead control plane is known to be dead: its leases are not waited out.
    #[serde(default)]
    pub buries: bool,
    /// A second doorbell beside the terminal, for what concerns people.
    #[serde(default)]
    pub webhook: bool,
    /// It never works, not even in the calm phase.
    #[serde(default)]
    pub dead_webhook: bool,
    /// Repos of one owner share an account at their tracker.
    #[serde(default)]
    pub shared: bool,
    /// The forges spell the labels of the configuration in their own way.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spelled: bool,
    /// The repos.
    pub repos: Vec<RepoSetting>,
}

/// A repo at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepoSetting {
    /// Its name.
    pub name: String,
    /// What its agents do, turn by turn; afterwards they give up.
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
    /// Who wrote it and added them.
    pub by: String,
}

/// When something happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// At this step.
    Step(u64),
    /// After the nth call of this name, from 1.
    After(String, u64),
}

/// Which call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// The nth of all calls, from 0.
    Any(u64),
    /// The nth of this name, from 1.
    Named(String, u64),
}

/// What a call suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// It fails before it did anything.
    Fails(Error),
    /// It fails after its effect.
    AnswerLost(Error),
    /// It fails, and its effect comes later, if it can.
    Late,
    /// A read is answered as it would have been a while ago.
    Stale,
    /// A read of many is answered in another order, and each twice.
    Twice,
    /// Its process dies before it did anything.
    DiesBefore,
    /// Its process dies after its effect.
    DiesAfter,
    /// Its process dies, and its effect comes later, if it can.
    DiesLate,
}

/// How a webhook comes.
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

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Error {
    /// For a moment.
    Transient,
    /// Until so many seconds after the start.
    Limited(u64),
    /// Access is denied.
    Auth,
    /// For good.
    Permanent,
}

/// One thing that happens outside the loop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happens {
    /// A person adds a label to an issue, or removes it.
    Label(String, String, bool, String),
    /// A person closes or reopens an issue.
    Open(String, bool, String),
    /// A person changes an issue's text.
    Edit(String, String, String),
    /// A person comments on an issue.
    Comment(String, String, String),
    /// A person makes a request to the run of an issue, in the words of a comment.
    Ask(String, String),
    /// Somebody else pushes a file and its text.
    Push(String, String, String),
    /// Somebody takes the newest commit out of the default branch by force.
    Rewind(String),
    /// The remote refuses every push, or takes them again.
    RefusePushes(String, bool),
    /// Somebody else pushes a commit with the trailers of a repo's run.
    Forge(String),
    /// Somebody else pushes a commit that names a run in another way.
    Claim(String, Claimed),
    /// Everything is halted, or the halt is lifted.
    Halt(bool),
    /// Dispatch is paused, or the pause is lifted.
    Pause(bool),
    /// A repo is frozen, or the freeze is lifted.
    Freeze(String, bool),
    /// The kill switch.
    Kill(bool),
    /// A repo is taken off the allowlist, or put on.
    Enroll(String, bool),
    /// The newest configuration is invalid, or fixed.
    Bad(bool),
    /// The switches cannot be read, or can again.
    Unreadable(bool),
    /// How the next push ends.
    NextPush(Pushed),
    /// People decide on what is open on a repo.
    Decide(String, Decided),
    /// Running agents are lost.
    LoseTurns,
    /// Running jobs are lost.
    LoseJobs,
    /// The agents' program disappears, or comes back.
    NoAgent(bool),
    /// No interrupt stops an agent any more, or it does again.
    Stubborn(bool),
    /// Bells are out of order, or fixed.
    Bells(bool),
    /// One of them is, or is fixed.
    Bell(String, bool),
    /// A tracker does not answer, or answers again.
    Mute(String, bool),
    /// A tracker answers nothing for so many seconds, and says so.
    Limit(String, i64),
    /// A tracker answers so many calls more, and then nothing for so many seconds.
    Quota(String, u64, i64),
    /// A tracker answers nothing until nobody has asked it for a minute.
    Slow(String),
    /// Somebody sends so many webhooks about a repo, or that an issue was released; the control
    /// planes take them for the forge's.
    Hook(String, u64),
    /// Somebody sends one about a repo that says what is not true.
    HookLie(String, Lie),
    /// No webhook reaches a control plane any more, or they do again.
    Deaf(usize, bool),
    /// The next stage fails by chance.
    Flake,
    /// Stages hang, or go on.
    HangStages(bool),
    /// Stages cannot be run, or can again.
    NoStages(bool),
    /// Ann loses her permission to write, or gets it back.
    Permit(bool),
    /// The clock goes forward by so many seconds, or back.
    Jump(i64),
    /// A control plane dies between two calls.
    Crash(usize),
}

/// What a webhook says that is not true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lie {
    /// Whatever is open was merged.
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
    /// They replace it by another.
    Superseded,
}

/// How a push ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pushed {
    /// Somebody else was first.
    Overtaken,
    /// It lands, and somebody else on top of it.
    Followed,
    /// It lands, and the answer is lost.
    AnswerLost,
    /// It is lost.
    Lost,
    /// The remote refuses.
    Refused,
}

impl Setting {
    /// The world that it describes.
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

    /// The repos' names.
    pub(super) fn repos(&self) -> Vec<RepoName> {
        self.repos.iter().map(|repo| story::repo(&repo.name)).collect()
    }
}
