//! The running service: what all routes share, and how one turn is run to its end.
//!
//! Made once by [`Gateway::open`]; the routes ([`crate::routes`]) hold it behind an `Arc`.
//! Everything that runs for a caller holds a place of the [admission](crate::admission) queue, and
//! gives it up only when its processes are gone.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use afk_agent::agents::TurnOutcome;
use afk_agent::tether;
use jiff::Timestamp;
use secrecy::SecretString;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, Bounds};
use crate::attach::Attach;
use crate::conversations::OpenedConversations;
use crate::error::ApiError;
use crate::jobs::Jobs;
use crate::metrics::Metrics;
use crate::settings::GatewaySettings;
use crate::shipped;
use crate::sign_in::SignIn;
use crate::tokens::{Caller, TokenFile, TokenLimits, Tokens, replace};
use crate::turn::command::{Surroundings, TurnKind, TurnSpec};
use crate::turn::pool::Pool;
use crate::turn::process::{Cli, Live, Progress};
use crate::turn::transcript::{Accepts, Verdict};
use crate::usage::{Cost, CountedEntry, Number, Spend, Usage};

/// The file in the state's folder with what each token has spent today.
const SPEND: &str = "spend.json";
/// How long answers under way may go on when the service stops. After that each is ended with an
/// explicit error, because an answer that merely breaks off looks whole to some clients.
const GRACE: Duration = Duration::from_secs(2);
/// How long a turn that we interrupt may take to report its cost.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(2500);
/// The same where the turn's place must be free within a second.
pub(crate) const LAST_WORDS_IN_HASTE: Duration = Duration::from_millis(150);
/// The limits of a token that is not valid any more: a run of it that still waits costs nothing.
const NOTHING: TokenLimits =
    TokenLimits { requests_per_minute: None, concurrency: None, usd_per_day: Some(0.0) };

/// Everything that a gateway is started with.
#[derive(Debug, Clone)]
pub struct GatewayStart {
    /// The `[gateway]` table of the configuration.
    pub settings: GatewaySettings,
    /// The folder for tokens, jobs, opened conversations and the day's spend; created if missing.
    pub state: PathBuf,
    /// This program, which supervises every process by its subcommand [`tether::main`].
    pub supervisor: PathBuf,
    /// The predecessor's one token ([`crate::TOKEN_VARIABLE`]); it has every scope.
    pub token: Option<SecretString>,
    /// Environment variables of the CLI with the model's credential.
    pub credentials: Vec<(String, SecretString)>,
    /// The `PATH` that the CLI is looked for on, and that it runs with.
    pub path: String,
    /// The home whose sign-in is copied if there are no credentials.
    pub sign_in: Option<PathBuf>,
    /// Variables for git where it talks to the remote: `HOME`, `SSH_AUTH_SOCK` and the like.
    pub git: Vec<(String, String)>,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A setting that cannot work: its key in `[gateway]`, and what is wrong with it.
    #[error("gateway.{0} {1}")]
    Setting(&'static str, &'static str),
    /// Another gateway holds the lock on this state folder.
    #[error("another gateway uses {0}: stop it, or give this one another data folder")]
    InUse(PathBuf),
    /// The gateway's state or home cannot be read or written.
    #[error("the gateway cannot use {path}: {source}")]
    State {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The CLI is not at this path or, if it is a bare name, not on `PATH`.
    #[error("the Claude CLI is not at {0}: install it, or set gateway.program")]
    NoCli(PathBuf),
    /// `gateway.workspace_dir` has no `.git`.
    #[error(
        "gateway.workspace_dir is {0}, which is not a clone: clone the repository there, or correct it"
    )]
    NoBase(PathBuf),
}

/// The running service. Clones share it.
#[derive(Debug, Clone)]
pub struct Gateway(pub(crate) Arc<Service>);

/// The outcome of a run that answers in one piece: the body of the response, or the error.
pub(crate) type Answer = Result<Arc<str>, ApiError>;

/// What all routes share.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) settings: GatewaySettings,
    pub(crate) state: PathBuf,
    pub(crate) admission: Admission,
    pub(crate) cli: Cli,
    pub(crate) pool: Pool,
    pub(crate) tokens: Tokens,
    pub(crate) attach: Attach<Answer>,
    pub(crate) opened: OpenedConversations,
    pub(crate) jobs: Jobs,
    pub(crate) metrics: Metrics,
    sign_in: Option<SignIn>,
    usage: Mutex<Usage>,
    /// Held while `spend.json` is written.
    keeping: Arc<tokio::sync::Mutex<()>>,
    /// Cancelled when the service begins to stop.
    pub(crate) stopping: CancellationToken,
    /// Held as long as the service lives.
    _lock: File,
}

impl Gateway {
    /// Opens the state, ends what an earlier process left behind, takes up its jobs, and begins to
    /// start waiting processes of the CLI. Serves nothing yet.
    pub async fn open(start: GatewayStart) -> Result<Self, GatewayError> {
        let GatewayStart { settings, state, supervisor, token, credentials, path, sign_in, git } =
            start;
        if let Some((key, what)) = settings.mistakes().into_iter().next() {
            return Err(GatewayError::Setting(key, what));
        }
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| GatewayError::State { path, source }
        };
        if let Some(base) = settings.workspace_dir.as_ref().filter(|it| !it.join(".git").exists()) {
            return Err(GatewayError::NoBase(base.clone()));
        }
        private_folder(&state).map_err(failed(&state))?;
        let state = state.canonicalize().map_err(failed(&state))?;
        let scratch = state.join("scratch");
        let lock = lock(&state)?;
        let program = settings.program.clone().unwrap_or_else(|| "claude".into());
        let program = on_path(&program, &path).ok_or(GatewayError::NoCli(program))?;
        let home = settings.home.clone().unwrap_or_else(|| state.join("home"));
        private_folder(&home).map_err(failed(&home))?;
        shipped::install(&home).map_err(failed(&home))?;
        let sign_in = sign_in.filter(|_| credentials.is_empty());
        let sign_in = sign_in.map(|from| SignIn::new(from, &home));
        if let Some(sign_in) = &sign_in {
            sign_in.renew().map_err(failed(&home))?;
        }
        // We hold the lock on the state folder, so whatever carries its mark has lost its service.
        let mark = state.to_string_lossy().into_owned();
        let sweep = mark.clone();
        let swept = tokio::task::spawn_blocking(move || tether::sweep(&sweep)).await.unwrap_or(0);
        if swept > 0 {
            tracing::warn!(processes = swept, "ended what a killed gateway had left");
        }
        // Lean turns run in this folder and must find it empty.
        empty_folder(&scratch).map_err(failed(&scratch))?;
        let base_url = settings.base_url.clone();
        let around = Surroundings { program, home, path, base_url, credentials };
        let cli = Cli { supervisor, mark, around, scratch };
        let spend = kept_spend(&state.join(SPEND))?;
        let bounds = Bounds { capacity: settings.max_concurrency, depth: settings.max_queue_depth };
        let admission = Admission::new(bounds);
        let folders = (state.as_path(), cli.around.home.as_path());
        let jobs = Jobs::open(folders, &settings, git).await.map_err(failed(&state))?;
        let service = Service {
            pool: Pool::new(cli.clone(), settings.warm, &settings.default_model),
            tokens: Tokens::new(TokenFile::new(&state), token.as_ref()),
            attach: Attach::new(),
            opened: OpenedConversations::open(&state),
            jobs,
            metrics: Metrics::default(),
            sign_in,
            usage: Mutex::new(Usage::resume(&spend)),
            keeping: Arc::default(),
            stopping: CancellationToken::new(),
            admission,
            cli,
            state,
            settings,
            _lock: lock,
        };
        let service = Arc::new(service);
        crate::jobs::start_housekeeping(&service).await;
        Ok(Self(service))
    }

    /// Begins to stop: new requests are refused with 503, those under way get a short grace period.
    pub fn stop(&self) {
        self.0.stopping.cancel();
    }

    /// Ends everything that runs and writes the spend. Call it when no request is served any more.
    pub async fn close(&self) {
        self.stop();
        self.0.jobs.close().await;
        self.0.pool.close().await;
        self.0.keep_spend(Timestamp::now()).await;
    }
}

impl Service {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Returns when the service stops and answers under way have had [`GRACE`] to end.
    pub(crate) async fn has_to_end(&self) {
        self.stopping.cancelled().await;
        sleep(GRACE).await;
    }

    /// Copies the newest sign-in into the gateway's home, if a sign-in is used.
    pub(crate) async fn renew_sign_in(&self) {
        let Some(sign_in) = self.sign_in.clone() else { return };
        let renewed = tokio::task::spawn_blocking(move || sign_in.renew()).await;
        if let Ok(Err(error)) = renewed {
            tracing::warn!(%error, "the sign-in of the CLI was not renewed");
        }
    }

    /// Returns the model to use: `wanted`, or else the default. An error if it is not served.
    pub(crate) fn model(&self, wanted: Option<&str>) -> Result<String, ApiError> {
        let model = wanted.unwrap_or(&self.settings.default_model);
        if self.settings.models.iter().any(|known| known == model) {
            return Ok(model.to_owned());
        }
        Err(ApiError::UnsupportedModel { supported: self.models() })
    }

    /// Returns the served models, sorted.
    pub(crate) fn models(&self) -> Vec<String> {
        let mut models = self.settings.models.clone();
        models.sort();
        models.dedup();
        models
    }

    /// Counts a run of `caller` for as long as the result lives, and reserves up to `most_usd`.
    pub(crate) fn count(
        self: &Arc<Self>,
        caller: &Caller,
        most_usd: f64,
    ) -> Result<CountedRun, ApiError> {
        let entered = self.usage().enter(&caller.name, &caller.limits, most_usd, Timestamp::now());
        match entered {
            Ok(entered) => Ok(self.counted(&caller.name, entered)),
            Err(reached) => {
                Err(ApiError::Limited { what: reached.what, retry_after: reached.retry_after })
            }
        }
    }

    /// Does the same for a run that was admitted before a restart, whatever limit it meets.
    pub(crate) fn count_again(self: &Arc<Self>, token: &str, most_usd: f64) -> CountedRun {
        let limits = self.tokens.limits(token).unwrap_or(NOTHING);
        let entered = self.usage().begin(token, &limits, most_usd, Timestamp::now());
        self.counted(token, entered)
    }

    fn counted(self: &Arc<Self>, token: &str, entered: CountedEntry) -> CountedRun {
        let CountedEntry { number, budget_usd } = entered;
        CountedRun { service: Arc::clone(self), token: token.into(), number, budget_usd }
    }

    /// Charges what a turn cost to its token, and writes the spend.
    pub(crate) async fn account(&self, counted: &CountedRun, verdict: &Verdict) {
        self.metrics.turn(verdict);
        let now = Timestamp::now();
        self.usage().spent(&counted.token, counted.number, verdict.cost, now);
        if verdict.cost != Cost::Usd(0.0) {
            self.keep_spend(now).await;
        }
    }

    /// Charges a turn that is broken off, unless its cost was accounted for already. If the process
    /// takes an interrupt, it has `last_words` to end, since only its result tells the cost.
    pub(crate) async fn break_off(
        &self,
        counted: &CountedRun,
        live: &mut Live,
        last_words: Duration,
    ) {
        if self.usage().spends(&counted.token, counted.number) {
            live.interrupt(last_words).await;
            let verdict = live.judge(true, Accepts::Result).await;
            self.account(counted, &verdict).await;
        }
    }

    /// Charges the budget of a job that ran when the service was killed: nobody knows its cost.
    pub(crate) async fn lost(&self, token: &str, usd: f64) {
        let now = Timestamp::now();
        self.usage().lost(token, usd, now);
        self.keep_spend(now).await;
    }

    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what was spent today to `spend.json`.
    async fn keep_spend(&self, now: Timestamp) {
        // One write after the other, so that an older state never replaces a newer one.
        let turn = Arc::clone(&self.keeping).lock_owned().await;
        let spend = self.usage().spend(now);
        let path = self.state.join(SPEND);
        let kept = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            replace(&path, &serde_json::to_vec(&spend)?)
        });
        if let Ok(Err(error)) = kept.await {
            tracing::error!(%error, "today's spend was not kept");
        }
    }

    /// Begins this turn on a waiting process, if one is ready and can serve it.
    pub(crate) fn warm(
        &self,
        counted: &CountedRun,
        kind: &TurnKind,
        model: &str,
        prompt: &str,
    ) -> Option<Live> {
        if !kind.is_plain() {
            return None;
        }
        let mut live = self.pool.take(model)?;
        live.begin(prompt).ok()?;
        counted.began();
        self.metrics.started(true);
        Some(live)
    }

    /// Begins this turn on a new process.
    pub(crate) fn cold(
        &self,
        counted: &CountedRun,
        spec: &TurnSpec,
        prompt: &str,
        folder: &Path,
    ) -> io::Result<Live> {
        self.metrics.started(false);
        let live = self.cli.start(spec, prompt, folder)?;
        counted.began();
        Ok(live)
    }
}

/// Reads a turn to its end and judges it; fails if that takes longer than `limit`.
pub(crate) async fn finish(
    live: &mut Live,
    limit: Duration,
    accepts: Accepts,
) -> Result<Verdict, ApiError> {
    let reading = async {
        while live.read(|_| {}).await == Progress::More {}
        live.judge(false, accepts).await
    };
    timeout(limit, reading).await.map_err(|_| timed_out())
}

/// Returns the answer's text, or the failure as callers see it.
pub(crate) fn text_of(verdict: &Verdict) -> Result<String, ApiError> {
    match &verdict.outcome {
        TurnOutcome::Finished { text } => Ok(text.clone()),
        TurnOutcome::Failed { .. } | TurnOutcome::Interrupted | TurnOutcome::Lost => {
            Err(ApiError::failed(&verdict.detail))
        }
    }
}

/// The error for a turn that ran past its time limit.
pub(crate) fn timed_out() -> ApiError {
    ApiError::failed("agent timed out")
}

/// Logs that a process could not be started, and returns the error for its caller.
pub(crate) fn not_started(error: &io::Error) -> ApiError {
    tracing::error!(%error, "a process of the CLI did not start");
    ApiError::failed(&format!("the agent did not start: {error}"))
}

/// A run that counts against its token's limits until it leaves or is dropped. Its reserve is then
/// free again, or charged if a turn had begun and was never [accounted](Service::account) for.
#[derive(Debug)]
pub(crate) struct CountedRun {
    service: Arc<Service>,
    token: Arc<str>,
    number: Number,
    budget_usd: Option<f64>,
}

impl CountedRun {
    /// The US dollars that the run may cost at most; `None` if its token has no limit a day.
    pub(crate) fn budget_usd(&self) -> Option<f64> {
        self.budget_usd
    }

    /// The budget in US dollars if it is below `gateway.chat_budget_usd`, the usual reserve of a
    /// turn. Only then is a chat's or conversation's turn started with a budget of its own.
    pub(crate) fn small_budget_usd(&self) -> Option<f64> {
        self.budget_usd.filter(|budget| *budget < self.service.settings.chat_budget_usd)
    }

    /// Notes that a turn of the run begins, which costs something from now on.
    fn began(&self) {
        self.service.usage().began(&self.token, self.number);
    }

    /// Counts the run out early: a caller who learns that it is over may ask again at once.
    pub(crate) fn leave(&self) {
        self.service.usage().leave(&self.token, self.number, Timestamp::now());
    }

    /// Renews the reserve of a run that begins now, by the limits that its token has now. Returns
    /// whether the token is still valid; if it is not, the budget is 0.
    pub(crate) fn reserve(&mut self, most_usd: f64) -> bool {
        let limits = self.service.tokens.limits(&self.token);
        let (is_valid, limits) = (limits.is_some(), limits.unwrap_or(NOTHING));
        let now = Timestamp::now();
        let mut usage = self.service.usage();
        self.budget_usd = usage.reserve(&self.token, self.number, &limits, most_usd, now);
        is_valid
    }
}

impl Drop for CountedRun {
    fn drop(&mut self) {
        self.leave();
    }
}

fn lock(state: &Path) -> Result<File, GatewayError> {
    let path = state.join("lock");
    let failed = |source| GatewayError::State { path: path.clone(), source };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(GatewayError::InUse(state.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Reads what was spent before a restart, which is nothing if there is no file. One that cannot be
/// read must stop the start: to begin with nothing would forgive every token its day.
fn kept_spend(path: &Path) -> Result<Spend, GatewayError> {
    let failed = |source| GatewayError::State { path: path.to_owned(), source };
    let bytes = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Spend::default()),
        read => read.map_err(failed)?,
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        failed(io::Error::other(format!(
            "it does not tell what each token has spent today ({error}): correct it, or remove it \
             to let every token begin its day anew"
        )))
    })
}

/// Creates a folder with mode 0700, and its missing parents.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Removes the folder with its contents and creates it anew, with mode 0700.
fn empty_folder(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    private_folder(path)
}

/// Returns the program's absolute path, looked for on `path` (a `PATH` value) if it is a bare name.
fn on_path(program: &Path, path: &str) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.canonicalize().ok()).flatten();
    }
    let candidates = std::env::split_paths(path).map(|folder| folder.join(program));
    candidates.into_iter().find(|candidate| candidate.is_absolute() && candidate.is_file())
}
