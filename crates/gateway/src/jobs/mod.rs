//! Jobs: work that a caller leaves here and comes back for.
//!
//! [`record`] is what is kept of a job, [`checkout`] where it runs, [`home`] what its CLI finds
//! there, [`output`] what it printed, [`follow`] how a client follows that. A job goes on when the
//! caller who ordered it has gone. Its process is on a tether, so a restart never leaves one
//! running; the job then ends as an error.

pub(crate) mod checkout;
pub(crate) mod follow;
mod home;
mod output;
pub(crate) mod record;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use afk_agent::agents::claude::text::guard_start;
use afk_agent::agents::{Exit, TurnOutcome};
use afk_agent::sessions::EventLog;
use jiff::{SignedDuration, Timestamp};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Place;
use crate::error::ApiError;
use crate::run::RunResources;
use crate::service::{CountedRun, LAST_WORDS, Service, not_started, private_folder};
use crate::settings::GatewaySettings;
use crate::tokens::{Caller, replace};
use crate::turn::command::{TurnKind, TurnSpec};
use crate::turn::process::Progress;
use crate::turn::transcript::Accepts;
use checkout::{Checkout, CheckoutError, Checkouts};
use output::Lines;
use record::{Job, JobFiles, Order, ShownJob, Status, Verbatim};

/// How often finished jobs are evicted, unwritten records are written, and the sign-in is renewed.
const HOUSEKEEPING: Duration = Duration::from_secs(5);
const DAY: SignedDuration = SignedDuration::from_hours(24);
/// The `error` of a job that was running when the service was killed.
const RESTARTED: &str = "the service was restarted while the job ran";
const STOPPED: &str = "the service was stopped while the job ran";
const CANCELLED: &str = "cancelled";
const SPENT: &str = "its token had spent its US dollars of the day before the job could run";
const INVALID: &str = "its token was not valid any more when the job could run: it was revoked, or \
    tokens.json cannot be read";

/// All jobs of a service.
#[derive(Debug)]
pub(crate) struct Jobs {
    files: JobFiles,
    checkouts: Arc<Checkouts>,
    known: Mutex<Known>,
    /// Held from looking up an idempotency key to adding its job, so that a key makes one job only.
    ordering: tokio::sync::Mutex<()>,
    stop: CancellationToken,
    tasks: TaskTracker,
    ttl: Duration,
}

#[derive(Debug, Default)]
struct Known {
    /// Ids by number, in the order in which the jobs came.
    order: BTreeMap<u64, String>,
    jobs: HashMap<String, Entry>,
    /// Ids by token name and idempotency key.
    keys: HashMap<(String, String), String>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    finished_at: Option<Timestamp>,
    /// Present while the job waits or runs.
    open: Option<Arc<Open>>,
    /// The job as it ended, as long as that could not be written to its record.
    unkept: Option<Box<Job>>,
}

/// A job that is not over.
#[derive(Debug)]
struct Open {
    job: Mutex<Job>,
    log: EventLog,
    cancel: CancellationToken,
    /// Cancelled when the job has ended and its end is written, or is in [`Entry::unkept`].
    over: CancellationToken,
}

impl Jobs {
    /// Opens the jobs in the folder `state`. `home` is the CLI's.
    pub(crate) async fn open(
        (state, home): (&Path, &Path),
        settings: &GatewaySettings,
        variables: Vec<(String, String)>,
    ) -> io::Result<Self> {
        let folder = settings.jobs_dir.clone().unwrap_or_else(|| state.join("checkouts"));
        private_folder(&folder)?;
        // The CLI resolves links in the path of its folder, and the paths we give it must match.
        let folder = folder.canonicalize()?;
        let debounce = Duration::from_secs(settings.fetch_debounce_seconds);
        let (base, key) = (settings.workspace_dir.clone(), settings.git_crypt_key.clone());
        let config = state.join("gitconfig");
        replace(&config, checkout::CONFIG.as_bytes())?;
        let checkouts = Checkouts::new(base, folder, key, debounce, (config, variables));
        checkouts.sweep(home)?;
        Ok(Self {
            files: JobFiles::open(state).await.map_err(io::Error::other)?,
            checkouts: Arc::new(checkouts),
            known: Mutex::default(),
            ordering: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            ttl: Duration::from_secs(settings.job_ttl_seconds),
        })
    }

    /// Makes a checkout, also for chat completions by an agent.
    pub(crate) async fn checkout(&self, service: &Service) -> Result<Checkout, CheckoutError> {
        self.checkouts.make(&service.cli).await
    }

    /// Records a job, lets it start as soon as there is a place, and returns its id. A key that was
    /// seen before returns the id of its job. The job counts against its token's limits until it is
    /// over; its budget is at most what the token has left of its day. Must not be cancelled once
    /// begun: a job that is recorded but not started would be lost until the next restart.
    pub(crate) async fn submit(
        service: Arc<Service>,
        (mut order, metadata): (Order, Verbatim),
        caller: Caller,
        key: Option<String>,
    ) -> Result<String, ApiError> {
        let (jobs, token) = (&service.jobs, &*caller.name);
        let _ordering = match &key {
            None => None,
            Some(key) => {
                let ordering = jobs.ordering.lock().await;
                let known = jobs.lock().keys.get(&(token.to_owned(), key.clone())).cloned();
                if let Some(id) = known {
                    return Ok(id);
                }
                Some(ordering)
            }
        };
        let wanted_usd = order.max_budget_usd;
        let counted = service.count(&caller, wanted_usd)?;
        let place = service.admission.enter(None).map_err(ApiError::QueueFull)?;
        order.max_budget_usd = counted.budget_usd().unwrap_or(wanted_usd);
        let id = uuid::Uuid::new_v4().simple().to_string()[..12].to_owned();
        let mut job = Job::new(id.clone(), (order, metadata), token, Timestamp::now());
        job.idempotency_key = key;
        // The job must be recorded before its caller is promised that it will run.
        let log = jobs.files.create(&job).await.map_err(|error| {
            tracing::error!(%error, "a job was not kept");
            ApiError::failed("the job cannot be kept")
        })?;
        run_later(&service, &job, log, Share { place, counted, wanted_usd });
        Ok(id)
    }

    /// Returns the job of that id, if it is kept.
    pub(crate) async fn find(&self, id: &str) -> io::Result<Option<Job>> {
        if let Some(open) = self.opened(id) {
            return Ok(Some(open.lock().clone()));
        }
        let unkept = self.lock().jobs.get(id).and_then(|entry| entry.unkept.as_deref().cloned());
        if unkept.is_some() {
            return Ok(unkept);
        }
        self.files.read(id).await
    }

    /// Returns the job of that id with what it has printed so far.
    pub(crate) async fn shown(&self, id: &str) -> io::Result<Option<ShownJob>> {
        // Read before the output: a job that is over is then shown with all that it printed.
        let Some(job) = self.find(id).await? else { return Ok(None) };
        let output = match self.files.log(id).await.map_err(io::Error::other)? {
            Some(log) => output::read(&log).await.map_err(io::Error::other)?,
            None => Vec::new(),
        };
        Ok(Some(ShownJob { job, output }))
    }

    /// Returns the ids of up to `limit` jobs, the newest first, that are older than the job `after`
    /// if it is given, and whether there are more. `None` if `after` is not known.
    pub(crate) fn list(&self, after: Option<&str>, limit: usize) -> Option<(Vec<String>, bool)> {
        let known = self.lock();
        let below = match after {
            Some(id) => known.jobs.get(id)?.number,
            None => u64::MAX,
        };
        let mut ids: Vec<String> =
            known.order.range(..below).rev().take(limit + 1).map(|(_, id)| id.clone()).collect();
        let more = ids.len() > limit;
        ids.truncate(limit);
        Some((ids, more))
    }

    /// Cancels a job that is not over, waits up to ten seconds for its end, and returns it.
    pub(crate) async fn cancel(&self, id: &str) -> io::Result<Option<ShownJob>> {
        let open = self.opened(id);
        if let Some(open) = &open {
            open.cancel.cancel();
            let _ = timeout(Duration::from_secs(10), open.over.cancelled()).await;
        }
        self.shown(id).await
    }

    /// Ends the jobs that run. Those that wait are found and queued again by the next start.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        let _ = timeout(Duration::from_secs(15), self.tasks.wait()).await;
        // The last chance: the next start would run a job again whose record still says `queued`.
        self.keep_unkept().await;
    }

    fn opened(&self, id: &str) -> Option<Arc<Open>> {
        self.lock().jobs.get(id)?.open.clone()
    }

    fn add(&self, job: &Job, open: Option<Arc<Open>>) {
        let mut known = self.lock();
        let (number, id) = (known.next, job.job_id.clone());
        known.next += 1;
        known.order.insert(number, id.clone());
        if let Some(key) = &job.idempotency_key {
            known.keys.insert((job.token.clone(), key.clone()), id.clone());
        }
        let finished_at = job.finished_at;
        known.jobs.insert(id, Entry { number, finished_at, open, unkept: None });
    }

    /// Ends a job, keeps how it ended, and tells whoever waits for its end.
    async fn conclude(&self, open: &Open, status: Status, error: Option<String>) {
        let job = {
            let mut job = open.lock();
            job.end(status, error, Timestamp::now());
            job.clone()
        };
        self.keep_end(job).await;
        open.over.cancel();
    }

    /// Keeps how a job ended: in its record or, if that cannot be written now, in memory.
    async fn keep_end(&self, job: Job) {
        let is_kept = keep(self, &job).await;
        if let Some(entry) = self.lock().jobs.get_mut(&job.job_id) {
            (entry.finished_at, entry.open) = (job.finished_at, None);
            entry.unkept = (!is_kept).then(|| Box::new(job));
        }
    }

    /// Tries again to write the ends that could not be written before.
    async fn keep_unkept(&self) {
        let unkept: Vec<Job> = {
            let known = self.lock();
            known.jobs.values().filter_map(|entry| entry.unkept.as_deref().cloned()).collect()
        };
        for job in unkept {
            self.keep_end(job).await;
        }
    }

    /// Removes jobs that have been over for `gateway.job_ttl_seconds`, and forgets those that the
    /// store removed to make room for newer ones.
    async fn evict(&self, now: Timestamp) {
        let ttl = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let is_old = |_: &str, entry: &Entry| {
            entry.finished_at.is_some_and(|at| now.as_second() - at.as_second() >= ttl)
        };
        for id in self.forget(is_old) {
            self.files.remove(&id).await;
        }
        let (count, next) = {
            let known = self.lock();
            (known.jobs.len(), known.next)
        };
        if count > record::KEPT.logs {
            match self.files.ids().await {
                Ok(ids) => {
                    self.forget(|id, entry| {
                        entry.open.is_none() && entry.number < next && !ids.contains(id)
                    });
                }
                Err(error) => tracing::warn!(%error, "the kept jobs cannot be listed"),
            }
        }
    }

    /// Takes jobs out of memory, but not off the disk. Returns their ids.
    fn forget(&self, is_gone: impl Fn(&str, &Entry) -> bool) -> Vec<String> {
        let mut known = self.lock();
        let Known { order, jobs, keys, .. } = &mut *known;
        let gone: Vec<String> = jobs
            .extract_if(|id, entry| is_gone(id, entry))
            .map(|(id, entry)| {
                order.remove(&entry.number);
                id
            })
            .collect();
        if !gone.is_empty() {
            keys.retain(|_, id| jobs.contains_key(id));
        }
        gone
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Job> {
        self.job.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes up an earlier process's jobs, and starts the task that evicts jobs.
pub(crate) async fn start_housekeeping(service: &Arc<Service>) {
    let jobs = &service.jobs;
    let found = jobs.files.all().await.unwrap_or_else(|error| {
        tracing::error!(%error, "earlier jobs cannot be read");
        Vec::new()
    });
    for mut job in found {
        let told = match job.status {
            Status::Queued => match again(service, &job).await {
                Ok(()) => continue,
                Err(why) => Some(why),
            },
            Status::Running => {
                // Charged to today, unless it surely ran on an earlier day.
                if job.started_at.is_some_and(|at| Timestamp::now().duration_since(at) < DAY) {
                    service.lost(&job.token, job.order.max_budget_usd).await;
                }
                Some(RESTARTED.to_owned())
            }
            Status::Completed | Status::Failed | Status::Timeout | Status::Error => None,
        };
        jobs.add(&job, None);
        if told.is_some() {
            job.end(Status::Error, told, Timestamp::now());
            jobs.keep_end(job).await;
        }
    }
    let weak = Arc::downgrade(service);
    let stop = jobs.stop.clone();
    jobs.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = sleep(HOUSEKEEPING) => {}
                () = stop.cancelled() => return,
            }
            let Some(service) = weak.upgrade() else { return };
            service.jobs.keep_unkept().await;
            service.jobs.evict(Timestamp::now()).await;
            service.renew_sign_in().await;
        }
    });
}

/// Queues a job again that waited before a restart. The error is for the job's record.
async fn again(service: &Arc<Service>, job: &Job) -> Result<(), String> {
    let place = service.admission.enter(None);
    let place = place.map_err(|_| "the queue was full after a restart".to_owned())?;
    let log = service.jobs.files.log(&job.job_id).await.map_err(|error| error.to_string())?;
    let log = log.ok_or("its output was lost in a restart")?;
    let wanted_usd = job.order.max_budget_usd;
    let counted = service.count_again(&job.token, wanted_usd);
    run_later(service, job, log, Share { place, counted, wanted_usd });
    Ok(())
}

/// Writes a job's record, and logs a failure. Returns whether it is written.
async fn keep(jobs: &Jobs, job: &Job) -> bool {
    let kept = jobs.files.write(job).await;
    if let Err(error) = &kept {
        tracing::error!(job = job.job_id, %error, "a job was not kept");
    }
    kept.is_ok()
}

/// What a job takes of the service until it is over.
struct Share {
    place: Place,
    /// The count against the token's limits.
    counted: CountedRun,
    /// The budget in US dollars that was asked for; the token may have had less left.
    wanted_usd: f64,
}

fn run_later(service: &Arc<Service>, job: &Job, log: EventLog, share: Share) {
    let cancel = service.jobs.stop.child_token();
    let over = CancellationToken::new();
    let open = Arc::new(Open { job: Mutex::new(job.clone()), log, cancel, over });
    service.jobs.add(job, Some(Arc::clone(&open)));
    let service = Arc::clone(service);
    service.jobs.tasks.clone().spawn(async move { run(&service, &open, share).await });
}

/// Why a job that waited does not begin.
enum NotBegun {
    /// The service stops. The job stays queued, for the next start.
    Stopping,
    /// The job is over, for this reason.
    Over(&'static str),
}

/// Waits for a job's place, and runs the job to its end.
async fn run(service: &Service, open: &Open, share: Share) {
    let Share { mut place, mut counted, wanted_usd } = share;
    let jobs = &service.jobs;
    let begun = begin(service, open, (&mut place, &mut counted), wanted_usd).await;
    let job = match begun {
        Ok(job) => job,
        Err(NotBegun::Stopping) => return,
        Err(NotBegun::Over(why)) => {
            drop(counted);
            jobs.conclude(open, Status::Error, Some(why.to_owned())).await;
            return;
        }
    };
    let mut held = RunResources::default();
    let limit = Duration::from_secs_f64(job.order.timeout_seconds.min(7.0 * 86_400.0));
    let work = timeout(limit, work(service, open, &job, &counted, &mut held));
    let (status, error) = tokio::select! {
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
                let seconds = job.order.timeout_seconds;
                (Status::Timeout, Some(format!("the job ran for over {seconds} seconds")))
            }
        },
    };
    if let Some(live) = &mut held.live {
        service.break_off(&counted, live, LAST_WORDS).await;
    }
    held.release().await;
    // Before the end is told: whoever learns that the job is over may order the next one at once.
    drop((place, counted));
    jobs.conclude(open, status, error).await;
}

/// Waits until a job may begin, and returns it once its record says that it runs. No agent may be
/// started before: the next start of the service runs every job whose record says `queued`, so a
/// job that had begun would run twice.
async fn begin(
    service: &Service,
    open: &Open,
    (place, counted): (&mut Place, &mut CountedRun),
    wanted_usd: f64,
) -> Result<Job, NotBegun> {
    tokio::select! {
        biased;
        why = called_off(service, open) => return Err(why),
        () = place.ready() => {}
    }
    loop {
        // While it waited, other runs of its token cost more or less than was reserved for them.
        let is_valid = counted.reserve(wanted_usd);
        let mut job = open.lock().clone();
        job.order.max_budget_usd = counted.budget_usd().unwrap_or(wanted_usd);
        if job.order.max_budget_usd <= 0.0 {
            open.lock().clone_from(&job);
            return Err(NotBegun::Over(if is_valid { SPENT } else { INVALID }));
        }
        (job.status, job.started_at) = (Status::Running, Some(Timestamp::now()));
        // Never broken off: what is being written could replace a later record.
        if keep(&service.jobs, &job).await {
            open.lock().clone_from(&job);
            return Ok(job);
        }
        tokio::select! {
            biased;
            why = called_off(service, open) => return Err(why),
            () = sleep(HOUSEKEEPING) => {}
        }
    }
}

/// Returns when a job that has not begun is not to begin any more: a caller cancelled it, or the
/// service stops. A place that comes up while it stops is one that an answer under way has lost.
async fn called_off(service: &Service, open: &Open) -> NotBegun {
    tokio::select! {
        biased;
        () = open.cancel.cancelled() => {}
        () = service.stopping.cancelled() => return NotBegun::Stopping,
    }
    // A service that closes cancels every job that is not over.
    if service.jobs.stop.is_cancelled() { NotBegun::Stopping } else { NotBegun::Over(CANCELLED) }
}

async fn work(
    service: &Service,
    open: &Open,
    job: &Job,
    counted: &CountedRun,
    held: &mut RunResources,
) -> Result<(), String> {
    let order = &job.order;
    let made = service.jobs.checkout(service).await.map_err(|error| error.to_string())?;
    let checkout = held.checkout.insert(made);
    let spec = TurnSpec {
        model: order.model.clone(),
        kind: TurnKind::Job {
            home: checkout.home().to_owned(),
            agent: Some(order.agent.clone()),
            budget_usd: order.max_budget_usd,
            skip_permissions: true,
            effort: None,
            schema: None,
        },
    };
    // A job may run anything, but through its agent: no slash starts a command of the CLI.
    let started = service.cold(counted, &spec, &guard_start(&order.prompt), checkout.path());
    let live = held.live.insert(started.map_err(|error| {
        let _ = not_started(&error);
        format!("the agent did not start: {error}")
    })?);
    let (mut lines, mut lost) = (Lines::default(), false);
    let mut progress = Progress::More;
    while progress == Progress::More {
        let mut events = Vec::new();
        progress = live.read_bytes(|bytes| events.extend(lines.push(bytes))).await;
        if progress == Progress::Over {
            events.extend(lines.finish());
        }
        // The job goes on even if its output cannot be kept.
        if !events.is_empty()
            && let Err(error) = open.log.append(events).await
        {
            tracing::error!(job = job.job_id, %error, "output of a job was not kept");
            lost = true;
        }
    }
    let exit = live.ended().await;
    live.complaint().await;
    let stderr = live.stderr_tail();
    let verdict = live.transcript.judge(&exit, &stderr, false, Accepts::Result);
    service.account(counted, &verdict).await;
    let mut job = open.lock();
    job.output_truncated = lines.is_truncated() || lost;
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
        && open.log.head().events == 0
    {
        return Err(job.stderr.trim().to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::task::Poll;

    use axum::body::Body;
    use axum::http::Request;
    use futures_util::poll;
    use serde_json::json;
    use tower::ServiceExt as _;

    use super::*;
    use crate::{Gateway, GatewayStart, WarmSettings};

    /// A gateway whose agents end at once, since their supervisor does.
    async fn opened(folder: &Path, settings: GatewaySettings) -> Gateway {
        let warm = WarmSettings { least: 0, per_model: 0, total: 0, max_age_seconds: 600 };
        let program = Some("/bin/true".into());
        let gateway = Gateway::open(GatewayStart {
            settings: GatewaySettings { program, warm, ..settings },
            state: folder.join("state"),
            supervisor: "/bin/true".into(),
            token: Some("token".into()),
            credentials: Vec::new(),
            path: String::new(),
            sign_in: None,
            git: Vec::new(),
        });
        gateway.await.unwrap()
    }

    fn order() -> Request<Body> {
        let order = Request::post("/execute")
            .header("authorization", "Bearer token")
            .header("idempotency-key", "k")
            .body(Body::from(json!({"prompt": "p", "agent": "a"}).to_string()));
        order.unwrap()
    }

    /// Waits for the end of the only job, and returns the job.
    async fn over(jobs: &Jobs) -> Job {
        let finished = async {
            loop {
                if let [id] = jobs.list(None, 1).unwrap().0.as_slice() {
                    let job = jobs.find(id).await.unwrap().unwrap();
                    if job.finished_at.is_some() {
                        return job;
                    }
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(30), finished).await.expect("it was kept and has run")
    }

    /// Puts a folder in the place of a job's record: no file can replace a folder.
    fn block(state: &Path, id: &str) -> PathBuf {
        let record = state.join("jobs").join(id).join("job.json");
        std::fs::remove_file(&record).unwrap();
        std::fs::create_dir(&record).unwrap();
        record
    }

    #[tokio::test]
    async fn a_job_whose_caller_goes_while_it_is_kept_runs() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = opened(folder.path(), GatewaySettings::default()).await;
        let jobs = &gateway.0.jobs;
        let held_up = jobs.ordering.lock().await;
        let mut asked = Box::pin(gateway.router().oneshot(order()));
        assert!(matches!(poll!(&mut asked), Poll::Pending));
        drop(asked);
        drop(held_up);
        over(jobs).await;
        gateway.close().await;
    }

    /// As on a full disk. Otherwise a service that is killed while the job runs would run it again.
    #[tokio::test]
    async fn a_job_does_not_begin_before_its_record_says_that_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let settings = GatewaySettings { max_concurrency: 1, ..GatewaySettings::default() };
        let gateway = opened(folder.path(), settings).await;
        let jobs = &gateway.0.jobs;
        let place = gateway.0.admission.enter(None).unwrap();
        assert_eq!(gateway.router().oneshot(order()).await.unwrap().status(), 202);
        let id = jobs.list(None, 1).unwrap().0.remove(0);
        let record = block(&folder.path().join("state"), &id);
        // From here on the clock moves on only when there is nothing else to do.
        tokio::time::pause();
        drop(place);
        sleep(2 * HOUSEKEEPING).await;
        let waits = jobs.find(&id).await.unwrap().unwrap();
        assert_eq!((waits.status, waits.started_at), (Status::Queued, None));
        std::fs::remove_dir(&record).unwrap();
        sleep(HOUSEKEEPING).await;
        tokio::time::resume();
        let job = over(jobs).await;
        assert!(job.started_at.is_some(), "{job:?}");
        gateway.close().await;
    }

    #[tokio::test]
    async fn a_job_whose_beginning_cannot_be_written_can_be_cancelled_or_survives_a_stop() {
        for stops in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let settings = GatewaySettings { max_concurrency: 1, ..GatewaySettings::default() };
            let gateway = opened(folder.path(), settings).await;
            let jobs = &gateway.0.jobs;
            let place = gateway.0.admission.enter(None).unwrap();
            assert_eq!(gateway.router().oneshot(order()).await.unwrap().status(), 202);
            let id = jobs.list(None, 1).unwrap().0.remove(0);
            block(&folder.path().join("state"), &id);
            tokio::time::pause();
            drop(place);
            sleep(HOUSEKEEPING).await;
            tokio::time::resume();
            if stops {
                gateway.close().await;
                assert_eq!(jobs.find(&id).await.unwrap().unwrap().status, Status::Queued);
            } else {
                let job = jobs.cancel(&id).await.unwrap().unwrap().job;
                assert_eq!((job.status, job.error.as_deref()), (Status::Error, Some(CANCELLED)));
                gateway.close().await;
            }
        }
    }

    fn queued(n: usize) -> Job {
        let order = Order {
            prompt: "p".into(),
            agent: "a".into(),
            max_budget_usd: 5.0,
            timeout_seconds: 60.0,
            model: None,
        };
        let metadata = Verbatim(serde_json::value::RawValue::NULL.to_owned());
        let mut job = Job::new(format!("{n:012x}"), (order, metadata), "t", Timestamp::now());
        job.idempotency_key = Some(n.to_string());
        job
    }

    /// A job that runs and whose record cannot be written, and the way to its record.
    async fn unwritable(jobs: &Jobs, state: &Path) -> (Job, Arc<Open>, PathBuf) {
        let mut job = queued(1);
        job.status = Status::Running;
        let log = jobs.files.create(&job).await.unwrap();
        let (cancel, over) = (CancellationToken::new(), CancellationToken::new());
        let open = Arc::new(Open { job: Mutex::new(job.clone()), log, cancel, over });
        jobs.add(&job, Some(Arc::clone(&open)));
        let record = block(state, &job.job_id);
        (job, open, record)
    }

    #[tokio::test]
    async fn a_job_whose_end_cannot_be_written_is_told_as_over_and_kept_later() {
        let folder = tempfile::tempdir().unwrap();
        let settings = GatewaySettings::default();
        let jobs = Jobs::open((folder.path(), folder.path()), &settings, Vec::new()).await.unwrap();
        let (job, open, record) = unwritable(&jobs, folder.path()).await;
        let status = async || jobs.find(&job.job_id).await.unwrap().unwrap().status;
        jobs.conclude(&open, Status::Completed, None).await;
        assert!(open.over.is_cancelled());
        assert_eq!(status().await, Status::Completed);
        jobs.keep_unkept().await;
        assert_eq!(status().await, Status::Completed);
        std::fs::remove_dir(&record).unwrap();
        jobs.keep_unkept().await;
        assert!(jobs.lock().jobs[&job.job_id].unkept.is_none());
        assert_eq!(status().await, Status::Completed);
    }

    #[tokio::test]
    async fn an_end_that_could_not_be_written_is_written_when_the_service_stops() {
        let folder = tempfile::tempdir().unwrap();
        let settings = GatewaySettings::default();
        let jobs = Jobs::open((folder.path(), folder.path()), &settings, Vec::new()).await.unwrap();
        let (job, open, record) = unwritable(&jobs, folder.path()).await;
        jobs.conclude(&open, Status::Completed, None).await;
        std::fs::remove_dir(&record).unwrap();
        jobs.close().await;
        let kept = jobs.files.read(&job.job_id).await.unwrap().unwrap();
        assert_eq!(kept.status, Status::Completed);
    }

    #[tokio::test]
    async fn a_job_that_made_room_for_newer_ones_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let settings = GatewaySettings::default();
        let jobs = Jobs::open((folder.path(), folder.path()), &settings, Vec::new()).await.unwrap();
        let now = Timestamp::now();
        let job = |n: usize| {
            let mut job = queued(n);
            job.end(Status::Completed, None, now);
            job
        };
        // All but the last were deleted by the store, which keeps no more than its limit.
        for n in 0..=record::KEPT.logs {
            jobs.add(&job(n), None);
        }
        let last = job(record::KEPT.logs);
        jobs.files.create(&last).await.unwrap();
        jobs.evict(now).await;
        assert_eq!(jobs.list(None, 10), Some((vec![last.job_id], false)));
        assert_eq!(jobs.list(Some(&job(0).job_id), 10), None, "it is not a place to go on from");
        let known = jobs.lock();
        assert_eq!((known.jobs.len(), known.order.len(), known.keys.len()), (1, 1, 1));
    }
}
