//! Jobs: what a workspace has uncommitted, resets, verify, fetches, stages and hooks. Each ends
//! when the world steps.
//!
//! `verify` passes if every line `expect <path> <text>` of every file under `tests/` is true of its
//! tree (the file at `<path>` contains `<text>`), and fails if one of these files is unreadable. A
//! stage passes unless a file of its commit contains [`BREAKS`], and cannot run if one contains
//! [`VOIDS`]. Two things print for ever: a `verify` whose tests expect something of a file that
//! contains [`FLOODS`], and a stage whose commit contains [`FLOODS`] and [`BREAKS`]. Fetching fails
//! if a file of the tree contains [`UNFETCHABLE`], or for a package that has a manifest and no code,
//! as with Cargo. Every job says that it took five seconds.

use std::collections::{BTreeMap, BTreeSet};

use afk_core::digest::Digest;
use afk_core::ids::{At, JobKey, Oid, RepoName, RunId};
use afk_core::proof::UNREADABLE;
use afk_engine::ports::{Job, JobEnd, JobKind, JobState, Limit, PortError, PortResult};
use jiff::SignedDuration;

use super::{AgentTurn, TurnState, World};

/// In a file of a commit: a stage of it fails.
pub(crate) const BREAKS: &str = "BREAKS-CI";
/// In a file of a tree: fetching for it fails.
pub(crate) const UNFETCHABLE: &str = "UNFETCHABLE";
/// In a file of a tree or commit: what prints it never stops, see above.
pub(crate) const FLOODS: &str = "PRINTS-FOR-EVER";
/// In a file of a commit: a stage of it cannot run.
pub(crate) const VOIDS: &str = "VOIDS-CI";

/// How long every job says that it took.
const TAKES: SignedDuration = SignedDuration::from_secs(5);

/// A job and its state.
#[derive(Debug, Clone)]
pub struct JobRecord {
    /// What was asked for.
    pub job: Job,
    /// Its state.
    pub state: JobState,
    /// When it was started.
    pub since: At,
}

/// All jobs, and how the programs that they run behave.
#[derive(Debug, Clone, Default)]
pub struct JobWorld {
    /// Jobs by run and key, until they are forgotten.
    pub jobs: BTreeMap<(RunId, JobKey), JobRecord>,
    /// Why jobs cannot be run on this machine, if they cannot.
    pub unfit: Option<String>,
    /// How many jobs of proofs (judging and fetching) may run at once, if that is bounded.
    pub places: Option<usize>,
    /// The most jobs of proofs that ever ran at once.
    pub most_at_once: usize,
    /// Programs and polled stages that hang.
    pub hanging: BTreeSet<String>,
    /// How many of the next stages fail by chance, whatever their commit contains.
    pub flakes: u32,
    /// Programs and polled stages that cannot be run.
    pub absent: BTreeSet<String>,
    /// Programs and polled stages that fail, whatever they work on.
    pub failing: BTreeSet<String>,
    /// What was fetched and is kept, by repo and key.
    pub fetched: BTreeSet<(RepoName, Digest)>,
    /// Whether everything that is asked for counts as fetched, as a known-bad loop believes.
    pub(crate) all_fetched: bool,
    /// The key of every job that was started, oldest first, forgotten jobs included.
    pub started: Vec<JobKey>,
    /// The live runs that the last sweep was told of: their jobs stay.
    pub spared: BTreeSet<RunId>,
    /// The busy repos that the last sweep was told of: their caches stay.
    pub busy: BTreeSet<RepoName>,
}

impl World {
    pub(crate) fn jobs_ready(&self) -> PortResult<()> {
        self.jobs.unfit.clone().map_or(Ok(()), |why| Err(PortError::permanent(why)))
    }

    pub(crate) fn start_job(&mut self, job: &Job) -> PortResult<()> {
        let at = (job.run, job.key.clone());
        if let Some(known) = self.jobs.jobs.get(&at) {
            return if known.job.kind == job.kind && known.job.argv == job.argv {
                Ok(())
            } else {
                Err(self.complain(format!("{} was started as another job", job.key)))
            };
        }
        let there = match &job.kind {
            JobKind::Status | JobKind::Reset { .. } | JobKind::Hook => {
                self.git.workspaces.contains_key(&job.run)
            }
            JobKind::Judge { tree, history: _, fetched } => {
                let needed = fetched.as_ref().map(|key| (job.repo.clone(), key.clone()));
                if needed.is_some_and(|needed| !self.jobs.fetched.contains(&needed)) {
                    let what = format!("{} was started without what it needs", job.key);
                    return Err(self.complain(what));
                }
                self.git.trees.contains_key(tree)
            }
            JobKind::Fetch { tree, reads: _, key } => {
                if self.jobs.fetched.contains(&(job.repo.clone(), key.clone())) {
                    let what = format!("{} fetches what is kept already", job.key);
                    return Err(self.complain(what));
                }
                self.git.trees.contains_key(tree)
            }
            JobKind::Stage { commit, landed } => {
                if *landed && !self.git.has_landed(commit) {
                    let what =
                        format!("{} may fill the cache of proofs before {commit} landed", job.key);
                    return Err(self.complain(what));
                }
                self.git.commits.contains_key(commit)
            }
        };
        let own = matches!(job.kind, JobKind::Status | JobKind::Reset { .. });
        let empty = job.argv.is_empty() != own;
        if !there || empty {
            return Err(self.complain(format!("{} has nothing to work on or with", job.key)));
        }
        let of_run = |turn: &&AgentTurn| turn.request.run == job.run;
        let at_work = |turn: &AgentTurn| turn.state == TurnState::Running;
        let reset = matches!(job.kind, JobKind::Reset { .. });
        if reset && self.agents.turns.values().filter(of_run).any(at_work) {
            return Err(self.complain(format!("{} resets under a turn", job.key)));
        }
        let of_proof =
            |job: &Job| matches!(job.kind, JobKind::Judge { .. } | JobKind::Fetch { .. });
        if of_proof(job) {
            let all = self.jobs.jobs.values();
            let taken =
                all.filter(|one| matches!(one.state, JobState::Running) && of_proof(&one.job));
            let taken = taken.count();
            if self.jobs.places.is_some_and(|places| taken >= places) {
                return Ok(());
            }
            self.jobs.most_at_once = self.jobs.most_at_once.max(taken + 1);
        }
        self.jobs.started.push(job.key.clone());
        self.jobs
            .jobs
            .insert(at, JobRecord { job: job.clone(), state: JobState::Running, since: self.now });
        Ok(())
    }

    pub(crate) fn observe_job(&mut self, run: RunId, key: &JobKey) -> JobState {
        let known = self.jobs.jobs.get(&(run, key.clone()));
        known.map_or(JobState::Absent, |known| known.state.clone())
    }

    /// The keys of everything of `run` that runs, turns included.
    pub fn alive(&self, run: RunId) -> Vec<JobKey> {
        [self.alive_here(run), self.alive_far(run)].concat()
    }

    /// The keys of those that run on this machine.
    pub(crate) fn alive_here(&self, run: RunId) -> Vec<JobKey> {
        let turns = self.agents.turns.values().filter(|turn| !turn.far);
        let turns = turns.filter(|turn| turn.state == TurnState::Running);
        let turns = turns.filter(|turn| turn.request.run == run).map(|t| t.request.key.clone());
        let jobs = self.jobs.jobs.iter().filter(|((of, _), _)| *of == run);
        let jobs = jobs.filter(|(_, job)| matches!(job.state, JobState::Running));
        turns.chain(jobs.map(|((_, key), _)| key.clone())).collect()
    }

    pub(crate) fn stop_jobs(&mut self, run: RunId) {
        let now = self.now;
        for ((of, _), job) in &mut self.jobs.jobs {
            if *of == run && matches!(job.state, JobState::Running) {
                job.state = JobState::Ended(JobEnd { stopped: true, code: None, ..end(now, 0) });
            }
        }
        let keys: Vec<JobKey> = self.alive_here(run);
        for key in keys {
            // No job is alive any more, so these are turns.
            let _ = self.interrupt_turn(&key);
        }
    }

    pub(crate) fn forget_job(&mut self, run: RunId, key: &JobKey) -> PortResult<()> {
        let at = (run, key.clone());
        match self.jobs.jobs.get(&at).map(|job| &job.state) {
            Some(JobState::Running) => Err(self.complain(format!("{key} is alive"))),
            Some(JobState::Ended(_) | JobState::Lost | JobState::Absent) | None => {
                self.jobs.jobs.remove(&at);
                Ok(())
            }
        }
    }

    pub(crate) fn is_fetched(&self, repo: &RepoName, key: &Digest) -> bool {
        self.jobs.all_fetched || self.jobs.fetched.contains(&(repo.clone(), key.clone()))
    }

    pub(crate) fn keep_fetched(&mut self, job: &Job) -> PortResult<bool> {
        let JobKind::Fetch { key, .. } = &job.kind else {
            return Err(self.complain(format!("{} fetches nothing", job.key)));
        };
        let at = (job.run, job.key.clone());
        let passed = |record: &JobRecord| matches!(&record.state, JobState::Ended(end) if end.code == Some(0));
        match self.jobs.jobs.get(&at).map(passed) {
            Some(true) => {
                self.jobs.fetched.insert((job.repo.clone(), key.clone()));
                Ok(true)
            }
            Some(false) => Err(self.complain(format!("{} has brought nothing", job.key))),
            None => Ok(false),
        }
    }

    /// Ends every job that does not hang, or whose time is up.
    pub(super) fn step_jobs(&mut self) {
        let running = |(at, job): (&(RunId, JobKey), &JobRecord)| {
            matches!(job.state, JobState::Running).then(|| (at.clone(), job.job.clone(), job.since))
        };
        let running: Vec<_> = self.jobs.jobs.iter().filter_map(running).collect();
        for (at, job, since) in running {
            let hangs = job.argv.first().is_some_and(|program| self.jobs.hanging.contains(program));
            let late = self.now.duration_since(since).unsigned_abs() >= job.timeout;
            if hangs && !late {
                continue;
            }
            if let JobKind::Reset { step } = &job.kind {
                self.reset(job.run, step);
            }
            let end = if hangs {
                over(self.now, Limit::Time)
            } else if matches!(job.kind, JobKind::Stage { .. }) && self.jobs.flakes > 0 {
                self.jobs.flakes -= 1;
                end(self.now, 1)
            } else {
                self.end_of(&job)
            };
            if let Some(job) = self.jobs.jobs.get_mut(&at) {
                job.state = JobState::Ended(end);
            }
        }
    }

    fn end_of(&self, job: &Job) -> JobEnd {
        let now = self.now;
        if job.argv.first().is_some_and(|program| self.jobs.absent.contains(program)) {
            return end(now, 127);
        }
        if job.argv.first().is_some_and(|program| self.jobs.failing.contains(program)) {
            return end(now, 1);
        }
        match &job.kind {
            JobKind::Status => {
                let dirty = self.git.workspaces.get(&job.run).map(|w| w.dirty.clone());
                let mut stdout = Vec::new();
                for path in dirty.unwrap_or_default() {
                    stdout.extend_from_slice(format!(" M {path}\0").as_bytes());
                }
                JobEnd { stdout, ..end(now, 0) }
            }
            JobKind::Judge { tree, .. } if self.floods(tree) => over(now, Limit::Output),
            JobKind::Judge { tree, .. } => end(now, i32::from(!self.verifies(tree))),
            JobKind::Fetch { tree, .. } => {
                let files = self.git.files(tree);
                let unfetchable = files.values().any(|text| text.contains(UNFETCHABLE));
                let has_code = |folder: &str| {
                    let code = format!("{folder}/src/");
                    files.keys().any(|path| path.starts_with(&code))
                };
                let mut packages = files.keys().filter_map(|path| path.strip_suffix("/Cargo.toml"));
                end(now, i32::from(unfetchable || !packages.all(has_code)))
            }
            JobKind::Stage { commit, landed: _ } => {
                let files = self.git.files_of(commit).unwrap_or_default();
                let holds = |what| files.values().any(|text| text.contains(what));
                if holds(FLOODS) && holds(BREAKS) {
                    return over(now, Limit::Output);
                }
                end(now, if holds(VOIDS) { 127 } else { i32::from(holds(BREAKS)) })
            }
            JobKind::Reset { .. } | JobKind::Hook => end(now, 0),
        }
    }

    /// Whether `verify` passes on `tree`.
    pub(crate) fn verifies(&self, tree: &Oid) -> bool {
        self.tests(tree).into_iter().all(|(_, passes)| passes)
    }

    /// Whether a test of `tree` expects something of a file that prints for ever.
    fn floods(&self, tree: &Oid) -> bool {
        let files = self.git.files(tree);
        let prints = |path: &str| files.get(path).is_some_and(|text| text.contains(FLOODS));
        let mut tests = files.iter().filter(|(path, _)| path.starts_with("tests/"));
        let of = |line: &str| Some(line.strip_prefix("expect ")?.split_once(' ')?.0.to_owned());
        tests.any(|(_, text)| text.lines().filter_map(of).any(|path| prints(&path)))
    }

    /// The tests of `tree`, and whether each passes.
    fn tests(&self, tree: &Oid) -> Vec<(String, bool)> {
        let files = self.git.files(tree);
        let tests = files.iter().filter(|(path, _)| path.starts_with("tests/"));
        let expects = |line: &str| {
            let expected = line.strip_prefix("expect ").and_then(|rest| rest.split_once(' '));
            expected.is_none_or(|(path, text)| files.get(path).is_some_and(|f| f.contains(text)))
        };
        let passes = |text: &str| {
            let unreadable = UNREADABLE.lines().any(|line| text.contains(line));
            !unreadable && text.lines().all(expects)
        };
        tests.map(|(path, text)| (path.clone(), passes(text))).collect()
    }

    /// The report that a job which has judged a tree left behind.
    pub(crate) fn report_of(&self, run: RunId, key: &JobKey) -> Option<Vec<u8>> {
        let record = self.jobs.jobs.get(&(run, key.clone()))?;
        let (JobKind::Judge { tree, .. }, JobState::Ended(_)) = (&record.job.kind, &record.state)
        else {
            return None;
        };
        let case = |(name, passes): (String, bool)| {
            let failure = if passes { "" } else { "<failure/>" };
            format!("<testcase name=\"{name}\">{failure}</testcase>")
        };
        let cases: String = self.tests(tree).into_iter().map(case).collect();
        Some(format!("<testsuite>{cases}</testsuite>").into_bytes())
    }
}

/// The end of a job that exceeded a limit.
fn over(now: At, limit: Limit) -> JobEnd {
    let why = match limit {
        Limit::Time => "it ran out of time",
        Limit::Memory => "it used more memory than it may",
        Limit::Processes => "it ran more processes than it may",
        Limit::Output => "it wrote more output than it may",
    };
    let (could_not_run, limit) = (Some(why.to_owned()), Some(limit));
    JobEnd { code: None, could_not_run, limit, ..end(now, 1) }
}

fn end(now: At, code: i32) -> JobEnd {
    JobEnd {
        code: Some(code),
        could_not_run: None,
        limit: None,
        stopped: false,
        stdout: Vec::new(),
        tail: if code == 0 { String::new() } else { format!("it failed with {code}") },
        span: (now - TAKES, now),
        sandbox: "full".to_owned(),
    }
}
