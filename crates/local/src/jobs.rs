//! The engine's jobs port: each job in a box under its own host.
//!
//! A job is found by its folder alone. What it works on (a checkout, a clean clone) is created
//! before it starts and named after it, so that no two jobs share one.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use afk_agent::host::{self, EndHow, Job as Hosted, JobSpec, KilledBy, StopSignal};
use afk_agent::sandbox::{Access, Bind, BoxSpec};
use afk_core::digest::Digest;
use afk_core::ids::{JobKey, Oid, RepoName, RunId};
use afk_engine::ports::{
    Job, JobEnd, JobKind, JobState, Jobs, Limit, PortError, PortResult, ResetStep,
};
use async_trait::async_trait;
use uuid::Uuid;

use super::boxes::{Cache, boxed, network};
use super::executor::{LocalExecutor, idle_too_long, is_thread, keep_transcripts};
use super::fetched::{self, FetchFolder, mount_fetched};
use super::git::{self, Identity, RunClone};
use super::git_words::fault;
use super::slots::JobSlots;
use super::world::{FREE, Local, blocking};

/// How much of the beginning of standard output is read for parsing, in bytes.
const STDOUT: usize = 4 << 20;
/// How much of the ends of both outputs is shown to people, in bytes.
const TAIL: usize = 6 << 10;
/// Maximum size of a file that a job left, in bytes; the rest is cut off.
const KEPT: u64 = 8 << 20;
/// Where a tree that is judged is in its box.
const JUDGED: &str = "/afk/tree";
/// How long to wait before running jobs are polled again: at first, and at most.
const LOOK: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(250)];
/// How long jobs must be untouched to count as leftovers: another process may have admitted their
/// run a moment ago.
const LEFTOVER: Duration = Duration::from_hours(1);
/// How long to wait if only a thread is alive, which may have ended a moment ago.
const STOPPING: Duration = Duration::from_millis(100);
/// How long a stopped job may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// Jobs on this machine.
pub struct LocalJobs {
    local: Local,
    /// The agents' executor, through which their turns are asked to end before they are stopped.
    agents: LocalExecutor,
    /// The slots for the jobs of all proofs.
    slots: JobSlots,
}

impl LocalJobs {
    /// Returns the jobs port whose jobs work in the folders of `local`, with a slot for a proof's
    /// job on each core.
    pub fn new(local: Local) -> Self {
        Self::with_slots(local, cores())
    }

    /// As [`LocalJobs::new`], but with this number of jobs of proofs at work at once.
    pub fn with_slots(local: Local, slots: usize) -> Self {
        let agents = LocalExecutor::new(local.clone());
        Self { agents, local, slots: JobSlots::new(slots) }
    }

    /// Creates what the job works on, and returns its box and the lock that it must hold.
    async fn prepare(&self, job: &Job) -> PortResult<(BoxSpec, Option<PathBuf>)> {
        let repo = self.local.repo(&job.repo)?;
        let folders = self.local.workspaces.run(job.run);
        let mirror = self.local.mirror(&job.repo)?;
        let lock = folders.dir.join("workspace.lock");
        let put = |argv, cwd: &Path, cache| {
            boxed(&self.local, &job.repo, &repo, argv, cwd, cache).map_err(io)
        };
        Ok(match &job.kind {
            JobKind::Status => {
                let argv = git::status_argv().into_iter().map(str::to_owned).collect();
                let spec = put(argv, &folders.clone, Cache::None)?
                    .bind(&folders.clone, Access::ReadWrite)
                    .bind(mirror.objects(), Access::ReadOnly);
                (spec, Some(lock))
            }
            JobKind::Reset { step } => {
                let argv = match step {
                    ResetStep::Unlock => git::reset::unlock(),
                    ResetStep::Abandon => git::reset::abandon(),
                    ResetStep::Add => git::reset::add(),
                    ResetStep::Commit => git::reset::commit(),
                    ResetStep::Checkout { onto } => git::reset::checkout(onto),
                    ResetStep::Clean { .. } => git::reset::clean(),
                };
                let spec = put(argv, &folders.clone, Cache::None)?
                    .bind(&folders.clone, Access::ReadWrite)
                    .bind(mirror.objects(), Access::ReadOnly);
                (spec, Some(lock))
            }
            JobKind::Hook => {
                let mut spec = put(job.argv.clone(), &folders.clone, Cache::Agent)?
                    .bind(&folders.clone, Access::ReadWrite)
                    .bind(mirror.objects(), Access::ReadOnly);
                // It may run code that the agent left, which is not to reach what the agent could
                // not. An agent elsewhere has no table here.
                let agent = self.local.agent(&job.repo);
                let open = agent.map_or(true, |agent| agent.network().is_open());
                spec.network = network(job.network && open);
                (spec, Some(lock))
            }
            JobKind::Judge { tree, history, fetched } => {
                let dir = self.folder_of(job.run, &job.key);
                match history {
                    None => mirror.checkout(tree, &dir).await.map_err(fault)?,
                    Some(base) => {
                        mirror.checkout_with_history(tree, base, &dir).await.map_err(fault)?;
                    }
                }
                // A report that is part of the tree was not written by this run.
                if let Some(report) = &repo.proof.junit {
                    remove_below(&dir, Path::new(report)).map_err(io)?;
                }
                // Every tree is at the same path, so that code cannot tell one run from another.
                let inside = match self.local.sandbox.found().bubblewrap {
                    Ok(_) => PathBuf::from(JUDGED),
                    Err(_) => dir.clone(),
                };
                let mut spec = put(job.argv.clone(), &inside, Cache::None)?;
                let (source, target) = (dir.clone(), inside.clone());
                spec.binds.push(Bind { source, target, access: Access::ReadWrite });
                if let Some(key) = fetched {
                    let kept = self.kept(&job.repo, key);
                    let laid = blocking(move || mount_fetched(spec, &kept, &dir, &inside));
                    spec = laid.await?.map_err(io)?;
                }
                if history.is_some() {
                    spec = spec.bind(mirror.objects(), Access::ReadOnly);
                }
                spec.network = network(job.network);
                (spec, None)
            }
            JobKind::Fetch { tree, reads, key: _ } => {
                // Only bubblewrap can show what was fetched at the path where it will be used.
                self.local.sandbox.found().bubblewrap.as_ref().map_err(|why| {
                    PortError::permanent(format!("proof.fetch needs bubblewrap: {why}"))
                })?;
                let dir = self.folder_of(job.run, &job.key);
                std::fs::create_dir_all(&dir).map_err(io)?;
                let (folder, reads) = (FetchFolder::new(dir), reads.clone());
                mirror.checkout(tree, &folder.tree()).await.map_err(fault)?;
                let spec = put(job.argv.clone(), Path::new(JUDGED), Cache::None)?;
                let prepared = move || {
                    folder.prepare(&reads)?;
                    Ok(folder.mount_tree(spec, PathBuf::from(JUDGED)))
                };
                let mut spec = blocking(prepared).await?.map_err(io)?;
                spec.network = network(job.network);
                (spec, None)
            }
            JobKind::Stage { commit, landed } => {
                let dir = self.clean_clone(job, commit).await?;
                let cache = if *landed { Cache::Landed } else { Cache::None };
                let mut spec = put(job.argv.clone(), &dir, cache)?
                    .bind(&dir, Access::ReadWrite)
                    .bind(mirror.objects(), Access::ReadOnly);
                spec.network = network(job.network);
                (spec, None)
            }
        })
    }

    /// Returns the folder that a job works in, if it does not work in the run's clone.
    fn folder_of(&self, run: RunId, key: &JobKey) -> PathBuf {
        self.local.workspaces.run(run).checkouts.join(git::sanitise(key.as_str()))
    }

    /// Returns where what was fetched under `key` is kept.
    fn kept(&self, repo: &RepoName, key: &Digest) -> PathBuf {
        self.local.workspaces.caches(repo).fetched.join(key.as_str())
    }

    /// Creates a clean clone of `commit`. In the mirror it has an id derived from run and commit,
    /// so that it has its own refs.
    async fn clean_clone(&self, job: &Job, commit: &Oid) -> PortResult<PathBuf> {
        let mirror = self.local.mirror(&job.repo)?;
        let own = stage_id(job.run, commit);
        let dir = self.folder_of(job.run, &job.key);
        let afk = Identity::new("afk", "afk@localhost");
        let made = RunClone::create(&mirror, own, &dir, commit, "landed", &afk).await;
        made.map(|clone| clone.dir).map_err(fault)
    }

    fn hosted(&self, run: RunId, key: &JobKey) -> Option<Hosted> {
        Hosted::open(self.local.job(run, key))
    }

    /// Removes the jobs of a run that is over, with their transcripts kept; returns whether it did.
    /// If a job is still ending, they stay until the next sweep.
    async fn sweep_one(&self, run: RunId) -> PortResult<bool> {
        let alive = self.all_alive(run).await?;
        alive.unseen.map_or(Ok(()), Err)?;
        if !alive.jobs.is_empty() {
            return Ok(false);
        }
        keep_transcripts(&self.local, run).await?;
        let folder = self.local.jobs(run);
        blocking(move || git::remove_tree(&folder)).await?.map_err(fault)?;
        Ok(true)
    }

    /// Returns every job of `run` that is not over, or whose state cannot be read.
    async fn all_alive(&self, run: RunId) -> PortResult<Alive> {
        let folder = self.local.jobs(run);
        let mut found = Alive { jobs: Vec::new(), unseen: None };
        let jobs = blocking(move || all_in(run, &folder)).await??;
        for (key, job) in jobs {
            match is_over(&job).await {
                Ok(true) => {}
                Ok(false) => found.jobs.push((key, job)),
                Err(error) => {
                    found.jobs.push((key, job));
                    found.unseen.get_or_insert(error);
                }
            }
        }
        Ok(found)
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Returns the jobs in the folder of a run's jobs.
fn all_in(run: RunId, folder: &Path) -> PortResult<Vec<(JobKey, Hosted)>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|error| unread(folder, &error))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unread(folder, &error))?.path();
        found.extend(Local::key_of(run, &path).zip(Hosted::open(path)));
    }
    Ok(found)
}

/// The jobs of a run that may be alive.
struct Alive {
    /// Those that are not over, and those that cannot be read.
    jobs: Vec<(JobKey, Hosted)>,
    /// Why the first of the latter cannot be read. It is reported only after the others were
    /// handled.
    unseen: Option<PortError>,
}

/// Whether a job is over. A job whose starter died before there was a host is withdrawn and counts
/// as over, because it would be waited for without end.
async fn is_over(job: &Hosted) -> PortResult<bool> {
    match job.status().await.map_err(PortError::transient)? {
        host::JobState::Starting => job.withdraw().await.map_err(PortError::transient),
        host::JobState::Running { .. } => Ok(false),
        host::JobState::Ended(_) | host::JobState::Lost => Ok(true),
    }
}

#[async_trait]
impl Jobs for LocalJobs {
    async fn ready(&self) -> PortResult<()> {
        let Local { sandbox, workspaces, .. } = &self.local;
        let requirement = self.local.requirement();
        sandbox.look(requirement).await?.meets(requirement).map_err(PortError::permanent)?;
        workspaces.require_space(FREE).map_err(PortError::permanent)
    }

    fn side_by_side(&self) -> usize {
        cores()
    }

    async fn start(&self, job: &Job) -> PortResult<()> {
        let mut slot = None;
        if JobSlots::needs(&job.key) {
            slot = self.slots.take(&self.local, job.run, &job.key).await;
            if slot.is_none() {
                return Ok(());
            }
        }
        let (boxed, lock) = self.prepare(job).await?;
        self.local.make_jobs(job.run)?;
        let key = host::JobKey::new(job.key.as_str());
        let mut spec = JobSpec::new(key, self.local.job(job.run, &job.key), boxed);
        spec.lock = lock;
        spec.timeout = job.timeout;
        self.local.hosts.ensure(&spec).await.map_err(PortError::transient)?;
        drop(slot);
        Ok(())
    }

    async fn observe(&self, run: RunId, key: &JobKey) -> PortResult<JobState> {
        let Some(job) = self.hosted(run, key) else { return Ok(JobState::Absent) };
        match job.status().await.map_err(PortError::transient)? {
            host::JobState::Starting | host::JobState::Running { .. } => {
                self.slots.seen(run, key);
                Ok(JobState::Running)
            }
            host::JobState::Lost => Ok(JobState::Lost),
            host::JobState::Ended(end) => {
                // The job never ran, through no fault of its own.
                if matches!(end.how, EndHow::WorkspaceBusy | EndHow::Unbegun(_)) {
                    return Ok(JobState::Lost);
                }
                Ok(JobState::Ended(ended(&self.local, &job, &end).await?))
            }
        }
    }

    async fn left(&self, run: RunId, key: &JobKey, file: &Path) -> PortResult<Option<Vec<u8>>> {
        let (folder, file) = (self.folder_of(run, key), file.to_owned());
        let read = tokio::task::spawn_blocking(move || read_below(&folder, &file)).await;
        let left = read.map_err(PortError::transient)?.map_err(io)?;
        let mask = self.local.mask().await;
        Ok(left.map(|left| mask.bytes(&left).into_owned()))
    }

    async fn fetched(&self, repo: &RepoName, key: &Digest) -> PortResult<bool> {
        let kept = self.kept(repo, key);
        blocking(move || kept.is_dir()).await
    }

    async fn keep_fetched(&self, job: &Job) -> PortResult<bool> {
        let JobKind::Fetch { key, .. } = &job.kind else { return Ok(false) };
        let folder = FetchFolder::new(self.folder_of(job.run, &job.key));
        let target = self.kept(&job.repo, key);
        blocking(move || folder.keep(&target)).await?.map_err(io)
    }

    async fn sweep(&self, live: &BTreeSet<RunId>, busy: &BTreeSet<RepoName>) -> PortResult<u32> {
        self.slots.retain(live);
        let (workspaces, busy) = (self.local.workspaces.clone(), busy.clone());
        let limit = self.local.own().kept_caches_gib << 30;
        let trim = move || workspaces.trim_caches(&busy, limit, FREE);
        let (mut swept, mut failed) = (0, blocking(trim).await?.map_err(fault).err());
        let folders = self.local.workspaces.all_fetched();
        let unused = move || {
            let results = folders.iter().map(|folder| fetched::sweep(folder));
            results.fold(Ok(()), Result::and)
        };
        failed = failed.or(blocking(unused).await?.map_err(io).err());
        let (local, live) = (self.local.clone(), live.clone());
        for run in blocking(move || local.leftovers(&live, LEFTOVER)).await? {
            // What one run left must not keep that of the others on the disk.
            match self.sweep_one(run).await {
                Ok(is_gone) => swept += u32::from(is_gone),
                Err(error) if failed.is_none() => failed = Some(error),
                Err(error) => {
                    let error = error.chain();
                    tracing::warn!(run.id = %run, error, "more leftover jobs not removed");
                }
            }
        }
        failed.map_or(Ok(swept), Err)
    }

    async fn alive(&self, run: RunId) -> PortResult<Vec<JobKey>> {
        Ok(self.all_alive(run).await?.jobs.into_iter().map(|(key, _)| key).collect())
    }

    async fn stop(&self, run: RunId) -> PortResult<()> {
        let alive = self.all_alive(run).await?;
        let mut failed = alive.unseen;
        for (key, job) in alive.jobs {
            if is_thread(&key) {
                match self.agents.lets_turn_report(run, &job).await {
                    Ok(true) => continue,
                    Ok(false) => {}
                    // That it stops is worth more than knowing its cost.
                    Err(error) => {
                        let error = error.chain();
                        tracing::warn!(run.id = %run, error, "the turn could not be asked to end");
                    }
                }
            }
            let told = job.interrupt(StopSignal::Terminate, GRACE, KilledBy::Halt).await;
            failed = failed.or(told.map_err(PortError::transient).err());
        }
        failed.map_or(Ok(()), Err)
    }

    async fn renew(&self, run: RunId) -> PortResult<()> {
        let alive = self.all_alive(run).await?;
        for (key, job) in alive.jobs {
            // An idle thread's process takes memory; the next turn resumes the conversation in a
            // new one.
            let idle = idle_too_long(&key, &job).await?;
            let kept = if idle { job.close_stdin().await } else { job.renew().await };
            if let Err(error) = kept {
                tracing::debug!(run.id = %run, job = %key, %error, "not renewed");
            }
        }
        alive.unseen.map_or(Ok(()), Err)
    }

    async fn changed(&self, run: RunId, at_most: Duration) {
        let Ok(Alive { jobs: alive, .. }) = self.all_alive(run).await else { return };
        let waits = self.slots.awaited_by(run);
        if alive.is_empty() && !waits {
            return;
        }
        // An idle thread only ends when it is told to, so it is not waited for, unless it ended
        // just now.
        let only_thread = !waits && alive.iter().all(|(key, _)| is_thread(key));
        let at_most = if only_thread { at_most.min(STOPPING) } else { at_most };
        let bound = tokio::time::Instant::now() + at_most;
        let before = Ok::<_, PortError>(alive.len());
        let [mut pause, longest] = LOOK;
        while tokio::time::Instant::now() < bound {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
            let now = self.all_alive(run).await.map(|alive| alive.jobs.len());
            if waits && self.slots.is_free(&self.local).await {
                return;
            }
            if !matches!((&before, &now), (Ok(before), Ok(now)) if before == now) {
                return;
            }
        }
    }

    async fn forget(&self, run: RunId, key: &JobKey) -> PortResult<()> {
        if let Some(job) = self.hosted(run, key) {
            job.remove().await.map_err(PortError::transient)?;
        }
        // A new job with this key must not find what one that was stopped had begun.
        let folder = self.folder_of(run, key);
        let remove = move || {
            git::remove_tree(&fetched::written(&folder))?;
            git::remove_tree(&folder)
        };
        blocking(remove).await?.map_err(fault)
    }
}

/// Returns the id under which a stage's clean clone keeps its refs in the mirror.
pub(super) fn stage_id(run: RunId, commit: &Oid) -> RunId {
    RunId::new(Uuid::new_v5(&run.uuid(), commit.as_str().as_bytes()))
}

async fn ended(local: &Local, job: &Hosted, end: &host::End) -> PortResult<JobEnd> {
    let output = local.output(job).await;
    let stdout = output.stdout(0, STDOUT, true).await?;
    let out = output.stdout_tail(TAIL / 2).await?;
    let err = output.stderr_tail(TAIL / 2).await?;
    let (code, limit) = match &end.how {
        EndHow::Exited(code) => (Some(*code), None),
        EndHow::Signalled(signal) => (Some(128 + signal), None),
        EndHow::TimedOut => (None, Some(Limit::Time)),
        EndHow::OutOfMemory => (None, Some(Limit::Memory)),
        EndHow::TooManyProcesses => (None, Some(Limit::Processes)),
        EndHow::TooMuchOutput => (None, Some(Limit::Output)),
        EndHow::Killed(_)
        | EndHow::OutputLost(_)
        | EndHow::WorkspaceBusy
        | EndHow::Unbegun(_)
        | EndHow::CouldNotStart(_) => (None, None),
    };
    Ok(JobEnd {
        code,
        could_not_run: code.is_none().then(|| format!("it {}", end.how)),
        limit,
        stopped: matches!(end.how, EndHow::Killed(_)),
        tail: tail(&out, &err),
        stdout,
        span: (end.started_at.unwrap_or(end.ended_at), end.ended_at),
        sandbox: end.sandbox_text.clone(),
    })
}

/// Joins the ends of both outputs to one text, lossily decoded.
fn tail(out: &[u8], err: &[u8]) -> String {
    let (out, err) = (String::from_utf8_lossy(out), String::from_utf8_lossy(err));
    match (out.trim().is_empty(), err.trim().is_empty()) {
        (_, true) => out.into_owned(),
        (true, false) => err.into_owned(),
        (false, false) => format!("{}\n{err}", out.trim_end()),
    }
}

fn unread(folder: &Path, error: &std::io::Error) -> PortError {
    PortError::transient(format!("the jobs in {} cannot be listed: {error}", folder.display()))
}

fn io(error: std::io::Error) -> PortError {
    PortError::transient(error)
}

/// Removes a file below `folder`, if it exists. Follows no symlink on the way.
fn remove_below(folder: &Path, file: &Path) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, openat, openat2, unlinkat};
    let Some(name) = file.file_name() else { return Ok(()) };
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let root = openat(CWD, folder, flags, Mode::empty())?;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let parent = parent.unwrap_or(Path::new("."));
    let Ok(parent) = openat2(root, parent, flags, Mode::empty(), beneath) else { return Ok(()) };
    match unlinkat(parent, name, AtFlags::empty()) {
        // A folder cannot be read as a report, so it may stay.
        Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::ISDIR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reads a regular file below `folder`, which a job may have written; `None` if there is none.
/// Follows no symlink on the way.
fn read_below(folder: &Path, file: &Path) -> std::io::Result<Option<Vec<u8>>> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let root = openat(CWD, folder, flags | OFlags::DIRECTORY, Mode::empty())?;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let opened = openat2(root, file, flags | OFlags::NONBLOCK, Mode::empty(), beneath);
    let Ok(descriptor) = opened else { return Ok(None) };
    let found = std::fs::File::from(descriptor);
    if !found.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    found.take(KEPT).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}
