//! Jobs: work that a caller leaves here and comes back for.
//!
//! [`record`] is what is kept, [`checkout`] where it runs, [`output`] what it printed. Nobody waits
//! on the line for a job: it goes on when its caller is gone. A job's own process is on a tether, so
//! a restart never leaves one running; it is told as an error then.

pub(crate) mod checkout;
pub(crate) mod output;
pub(crate) mod record;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use afk_agent::agents::claude::text::guard_start;
use afk_agent::agents::{Exit, TurnOutcome};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Place;
use crate::error::ApiError;
use crate::service::{Service, not_started};
use crate::settings::GatewaySettings;
use crate::turn::command::{TurnKind, TurnSpec};
use crate::turn::process::{Live, Progress};
use checkout::{Checkout, CheckoutError, Checkouts};
use output::Output;
use record::{Job, JobFiles, Order, Status};

/// How often finished jobs are looked at, whether their time is over.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
/// What a job is told that a restart ended.
const RESTARTED: &str = "the service was restarted while the job ran";
const STOPPED: &str = "the service was stopped while the job ran";
const CANCELLED: &str = "cancelled";

/// All jobs of a service.
#[derive(Debug)]
pub(crate) struct Jobs {
    files: JobFiles,
    checkouts: Checkouts,
    known: Mutex<Known>,
    stop: CancellationToken,
    tasks: TaskTracker,
    ttl: Duration,
}

#[derive(Debug, Default)]
struct Known {
    /// In the order in which they came, by number.
    order: BTreeMap<u64, String>,
    jobs: HashMap<String, Entry>,
    keys: HashMap<(String, String), String>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    status: Status,
    finished_at: Option<Timestamp>,
    /// While it waits or runs.
    open: Option<Arc<Open>>,
}

/// A job that is not over.
#[derive(Debug)]
pub(crate) struct Open {
    job: Mutex<Job>,
    changed: Notify,
    cancel: CancellationToken,
}

/// How far a reader of a job's output is.
pub(crate) enum Seen {
    /// Lines from there on; more may come.
    More(Vec<String>),
    /// The last lines, and the job.
    Over(Vec<String>, Box<Job>),
}

impl Jobs {
    pub(crate) fn open(
        state: &Path,
        settings: &GatewaySettings,
        variables: Vec<(String, String)>,
    ) -> io::Result<Self> {
        let folder = settings.jobs_dir.clone().unwrap_or_else(|| state.join("checkouts"));
        let debounce = Duration::from_secs(settings.fetch_debounce_seconds);
        let (base, key) = (settings.workspace_dir.clone(), settings.git_crypt_key.clone());
        let checkouts = Checkouts::new(base, folder, key, debounce, variables);
        checkouts.sweep()?;
        Ok(Self {
            files: JobFiles::new(state),
            checkouts,
            known: Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            ttl: Duration::from_secs(settings.job_ttl_seconds),
        })
    }

    /// A checkout.
    pub(crate) async fn checkout(&self, service: &Service) -> Result<Checkout, CheckoutError> {
        self.checkouts.make(&service.cli).await
    }

    /// Takes a job and starts it as soon as there is a place. A key that was seen before finds the
    /// job that it made.
    pub(crate) fn submit(
        service: &Arc<Service>,
        order: Order,
        token: &str,
        key: Option<&str>,
    ) -> Result<Job, ApiError> {
        let jobs = &service.jobs;
        let key = key.map(|key| (token.to_owned(), key.to_owned()));
        if let Some(key) = &key {
            let known = jobs.lock().keys.get(key).cloned();
            if let Some(found) = known.and_then(|id| jobs.find(&id).ok().flatten()) {
                return Ok(found);
            }
        }
        let place = service.admission.enter(None).map_err(ApiError::QueueFull)?;
        let id = uuid::Uuid::new_v4().simple().to_string()[..12].to_owned();
        let job = Job::new(id.clone(), order, token, Timestamp::now());
        // Before it is promised.
        jobs.files.write(&job).map_err(|error| {
            tracing::error!(%error, "a job was not kept");
            ApiError::failed("the job cannot be kept")
        })?;
        if let Some(key) = key {
            jobs.lock().keys.insert(key, id);
        }
        run_later(service, &job, place);
        Ok(job)
    }

    /// The job of that id.
    pub(crate) fn find(&self, id: &str) -> io::Result<Option<Job>> {
        if let Some(open) = self.opened(id) {
            return Ok(Some(open.lock().clone()));
        }
        self.files.read(id)
    }

    /// Jobs from the newest, after the job `after` if it is given, and whether there are more.
    pub(crate) fn list(&self, after: Option<&str>, limit: usize) -> (Vec<String>, bool) {
        let known = self.lock();
        let below = after.and_then(|id| known.jobs.get(id)).map_or(u64::MAX, |entry| entry.number);
        let mut ids: Vec<String> =
            known.order.range(..below).rev().take(limit + 1).map(|(_, id)| id.clone()).collect();
        let more = ids.len() > limit;
        ids.truncate(limit);
        (ids, more)
    }

    /// Cancels a job; one that is over stays as it is.
    pub(crate) async fn cancel(&self, id: &str) -> io::Result<Option<Job>> {
        if let Some(open) = self.opened(id) {
            open.cancel.cancel();
            let over = async {
                while self.opened(id).is_some() {
                    open.changed().await;
                }
            };
            let _ = timeout(Duration::from_secs(10), over).await;
        }
        self.find(id)
    }

    /// Waits for lines after the first `seen`. None if there is no such job.
    pub(crate) async fn follow(&self, id: &str, seen: usize) -> io::Result<Option<Seen>> {
        while let Some(open) = self.opened(id) {
            let changed = open.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            {
                let job = open.lock();
                if job.output.len() > seen {
                    return Ok(Some(Seen::More(job.output[seen..].to_vec())));
                }
            }
            if self.opened(id).is_some() {
                // Bounded, in case that it ended in between.
                let _ = timeout(Duration::from_secs(5), changed).await;
            }
        }
        let Some(job) = self.files.read(id)? else { return Ok(None) };
        let rest = job.output.get(seen.min(job.output.len())..).unwrap_or_default().to_vec();
        Ok(Some(Seen::Over(rest, Box::new(job))))
    }

    /// Ends what runs. What waits is found again by the next start.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = timeout(Duration::from_secs(15), self.tasks.wait()).await;
    }

    fn opened(&self, id: &str) -> Option<Arc<Open>> {
        self.lock().jobs.get(id)?.open.clone()
    }

    fn add(&self, job: &Job, open: Option<Arc<Open>>) {
        let mut known = self.lock();
        let number = known.next;
        known.next += 1;
        known.order.insert(number, job.job_id.clone());
        let (status, finished_at) = (job.status, job.finished_at);
        known.jobs.insert(job.job_id.clone(), Entry { number, status, finished_at, open });
    }

    fn over(&self, job: &Job) {
        if let Some(entry) = self.lock().jobs.get_mut(&job.job_id) {
            (entry.status, entry.finished_at, entry.open) = (job.status, job.finished_at, None);
        }
    }

    /// Removes jobs that have been over for longer than they are kept.
    fn evict(&self, now: Timestamp) {
        let ttl = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let old = |entry: &Entry| {
            entry.status.is_final()
                && entry.finished_at.is_some_and(|at| now.as_second() - at.as_second() >= ttl)
        };
        let mut known = self.lock();
        let gone: Vec<(u64, String)> = known
            .jobs
            .iter()
            .filter(|(_, entry)| old(entry))
            .map(|(id, entry)| (entry.number, id.clone()))
            .collect();
        for (number, id) in &gone {
            known.order.remove(number);
            known.jobs.remove(id);
        }
        if !gone.is_empty() {
            let Known { keys, jobs, .. } = &mut *known;
            keys.retain(|_, id| jobs.contains_key(id));
        }
        drop(known);
        for (_, id) in gone {
            self.files.remove(&id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Job> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn changed(&self) {
        let _ = timeout(Duration::from_millis(100), self.changed.notified()).await;
    }
}

/// Takes up the jobs of an earlier process, and evicts those whose time is over from then on.
pub(crate) fn keep_house(service: &Arc<Service>) {
    let jobs = &service.jobs;
    let found = jobs.files.all().unwrap_or_else(|error| {
        tracing::error!(%error, "earlier jobs cannot be read");
        Vec::new()
    });
    for mut job in found {
        match job.status {
            Status::Queued => match service.admission.enter(None) {
                Ok(place) => {
                    run_later(service, &job, place);
                    continue;
                }
                Err(_) => job.end(
                    Status::Error,
                    Some("the queue was full after a restart".to_owned()),
                    Timestamp::now(),
                ),
            },
            Status::Running => job.end(Status::Error, Some(RESTARTED.to_owned()), Timestamp::now()),
            Status::Completed | Status::Failed | Status::Timeout | Status::Error => {
                jobs.add(&job, None);
                continue;
            }
        }
        keep(jobs, &job);
        jobs.add(&job, None);
    }
    let weak = Arc::downgrade(service);
    let stop = jobs.stop.clone();
    jobs.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(HOUSEKEEPING) => {}
                () = stop.cancelled() => return,
            }
            let Some(service) = weak.upgrade() else { return };
            service.jobs.evict(Timestamp::now());
        }
    });
}

fn keep(jobs: &Jobs, job: &Job) {
    if let Err(error) = jobs.files.write(job) {
        tracing::error!(job = job.job_id, %error, "a job was not kept");
    }
}

fn run_later(service: &Arc<Service>, job: &Job, place: Place) {
    let cancel = service.jobs.stop.child_token();
    let open = Arc::new(Open { job: Mutex::new(job.clone()), changed: Notify::new(), cancel });
    service.jobs.add(job, Some(Arc::clone(&open)));
    let service = Arc::clone(service);
    service.jobs.tasks.clone().spawn(async move { run(&service, &open, place).await });
}

/// Runs a job from its waiting to its end.
async fn run(service: &Service, open: &Open, mut place: Place) {
    let jobs = &service.jobs;
    tokio::select! {
        biased;
        () = open.cancel.cancelled() => {
            if !jobs.stop.is_cancelled() {
                let job = end(open, Status::Error, Some(CANCELLED.to_owned()));
                keep(jobs, &job);
                jobs.over(&job);
                open.changed.notify_waiters();
            }
            return;
        }
        () = place.ready() => {}
    }
    let order = {
        let mut job = open.lock();
        (job.status, job.started_at) = (Status::Running, Some(Timestamp::now()));
        job.clone()
    };
    keep(jobs, &order);
    let (mut live, mut checkout) = (None, None);
    let limit = Duration::from_secs_f64(order.order.timeout_seconds.min(7.0 * 86_400.0));
    let work = timeout(limit, work(service, open, &order.order, &mut live, &mut checkout));
    let done = tokio::select! {
        biased;
        () = open.cancel.cancelled() => {
            let why = if jobs.stop.is_cancelled() { STOPPED } else { CANCELLED };
            (Status::Error, Some(why.to_owned()))
        }
        done = work => match done {
            Ok(Ok(())) => {
                let code = open.lock().exit_code;
                (if code == Some(0) { Status::Completed } else { Status::Failed }, None)
            }
            Ok(Err(error)) => (Status::Error, Some(error)),
            Err(_) => {
                let seconds = order.order.timeout_seconds;
                (Status::Timeout, Some(format!("the job ran for over {seconds} seconds")))
            }
        },
    };
    if let Some(live) = live {
        // Its whole group, before its checkout is removed.
        live.end().await;
    }
    if let Some(checkout) = checkout {
        checkout.remove().await;
    }
    let job = end(open, done.0, done.1);
    keep(jobs, &job);
    jobs.over(&job);
    open.changed.notify_waiters();
    drop(place);
}

fn end(open: &Open, status: Status, error: Option<String>) -> Job {
    let mut job = open.lock();
    job.end(status, error, Timestamp::now());
    if status != Status::Completed && status != Status::Failed && job.outcome.is_none() {
        job.outcome = Some("stopped".to_owned());
    }
    job.clone()
}

async fn work(
    service: &Service,
    open: &Open,
    order: &Order,
    live: &mut Option<Live>,
    checkout: &mut Option<Checkout>,
) -> Result<(), String> {
    let made = service.jobs.checkout(service).await.map_err(|error| error.to_string())?;
    let checkout = checkout.insert(made);
    let spec = TurnSpec {
        model: order.model.clone(),
        kind: TurnKind::Job {
            agent: Some(order.agent.clone()),
            budget_usd: order.max_budget_usd,
            skip_permissions: true,
            effort: None,
            schema: None,
        },
    };
    // Whoever orders a job may run anything, but by the agent: a slash starts no command of the CLI.
    let started = service.cli.start(&spec, &guard_start(&order.prompt), checkout.path());
    let live = live.insert(started.map_err(|error| {
        let _ = not_started(&error);
        format!("the agent did not start: {error}")
    })?);
    let mut output = Output::default();
    loop {
        let mut lines = Vec::new();
        let progress = live.read_bytes(|bytes| lines.extend(output.push(bytes))).await;
        if progress == Progress::Over {
            lines.extend(output.finish());
        }
        if !lines.is_empty() {
            open.lock().output.extend(lines);
            open.changed.notify_waiters();
        }
        if progress == Progress::Over {
            break;
        }
    }
    let exit = live.ended().await;
    live.complaint().await;
    let stderr = live.stderr_tail();
    let verdict = live.transcript.judge(&exit, &stderr, false);
    let token = open.lock().token.clone();
    service.account(&token, &verdict);
    let mut job = open.lock();
    job.output_truncated = output.is_truncated();
    job.stderr = stderr;
    job.exit_code = match exit {
        Exit::Exited { code } => Some(code),
        Exit::Signalled { signal } => Some(128 + signal),
        Exit::NotStarted { .. } | Exit::Lost => None,
    };
    job.cost_usd = (verdict.cost_usd > 0.0).then_some(verdict.cost_usd);
    match verdict.outcome {
        TurnOutcome::Finished { .. } => job.outcome = Some("succeeded".to_owned()),
        outcome @ (TurnOutcome::Failed { .. } | TurnOutcome::Interrupted | TurnOutcome::Lost) => {
            job.outcome = Some("failed".to_owned());
            job.outcome_reason = Some(outcome.to_string());
        }
    }
    if i32::from(afk_agent::tether::NOT_STARTED) == job.exit_code.unwrap_or(0)
        && job.output.is_empty()
    {
        return Err(job.stderr.trim().to_owned());
    }
    Ok(())
}
