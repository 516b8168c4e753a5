//! Processes of the CLI that wait for a turn, so that it starts at once.
//!
//! Each is used for one turn and thrown away, because it remembers what it answered. [`Pool::take`]
//! never waits; if none is ready the caller starts a cold one. [`super::sizing`] decides how many
//! there are. A process that fails or hangs while it starts never gets into the pool.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::command::{Input, TurnKind, TurnSpec};
use super::process::{Cli, Live, Progress};
use super::sizing::{Sizing, Step, Stock};
use crate::settings::WarmSettings;

/// How long a process may take until it says that it is ready.
const STARTING: Duration = Duration::from_secs(30);
/// How much is logged of what a process said that did not start, in characters.
const COMPLAINT_CHARS: usize = 300;
/// How often the pool removes dead and old processes and starts new ones.
const LOOK: Duration = Duration::from_millis(250);

/// The processes that wait.
#[derive(Debug, Clone)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    cli: Cli,
    begun: Instant,
    state: Mutex<State>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

#[derive(Debug)]
struct State {
    sizing: Sizing,
    models: BTreeMap<String, Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The oldest first, each with the time since [`Shared::begun`] at which it was ready.
    idle: Vec<(Duration, Live)>,
    starting: usize,
}

impl Pool {
    /// Starts a pool, whose own task fills it.
    pub(crate) fn new(cli: Cli, settings: WarmSettings, default_model: &str) -> Self {
        let shared = Shared {
            cli,
            begun: Instant::now(),
            state: Mutex::new(State {
                sizing: Sizing::new(settings, default_model),
                models: BTreeMap::new(),
            }),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        let pool = Self(Arc::new(shared));
        let looking = pool.clone();
        pool.0.tasks.spawn(async move {
            while !looking.0.stop.is_cancelled() {
                looking.look();
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    () = looking.0.stop.cancelled() => {}
                }
            }
        });
        pool
    }

    /// Takes a process that is ready, if there is one.
    pub(crate) fn take(&self, model: &str) -> Option<Live> {
        let now = self.0.begun.elapsed();
        let mut state = self.lock();
        let State { sizing, models } = &mut *state;
        let mut found = None;
        if let Some(waiting) = models.get_mut(model) {
            // The youngest, whose memory is least likely to have been paged out.
            while let Some((_, mut live)) = waiting.idle.pop() {
                if live.is_waiting() {
                    found = Some(live);
                    break;
                }
                sizing.failed(now);
            }
        }
        sizing.used(model, found.is_some(), now);
        // The next look starts another process, not this call: a start costs the machine as much as
        // many answers do, and would hold up the first words of this one.
        found
    }

    /// Returns how many processes wait, for all models together.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().models.values().map(|waiting| waiting.idle.len()).sum()
    }

    /// Ends all waiting processes and starts no more.
    pub(crate) async fn close(&self) {
        self.0.stop.cancel();
        let models = std::mem::take(&mut self.lock().models);
        for (_, live) in models.into_values().flat_map(|waiting| waiting.idle) {
            self.0.tasks.spawn(live.end());
        }
        self.0.tasks.close();
        let _ = timeout(Duration::from_secs(5), self.0.tasks.wait()).await;
    }

    fn look(&self) {
        if self.0.stop.is_cancelled() {
            return;
        }
        let now = self.0.begun.elapsed();
        let mut state = self.lock();
        let State { sizing, models } = &mut *state;
        let mut ended = Vec::new();
        for waiting in models.values_mut() {
            let idle = std::mem::take(&mut waiting.idle);
            for (since, mut live) in idle {
                if !live.is_waiting() {
                    sizing.failed(now);
                    ended.push(live);
                } else if sizing.is_old(since, now) {
                    ended.push(live);
                } else {
                    waiting.idle.push((since, live));
                }
            }
        }
        let stock =
            |waiting: &Waiting| Stock { idle: waiting.idle.len(), starting: waiting.starting };
        let stocks =
            models.iter().map(|(model, waiting)| (model.clone(), stock(waiting))).collect();
        let mut started = Vec::new();
        for step in sizing.steps(&stocks, now) {
            match step {
                Step::Start(model) => {
                    models.entry(model.clone()).or_default().starting += 1;
                    started.push(model);
                }
                Step::End(model) => {
                    if let Some(waiting) = models.get_mut(&model)
                        && !waiting.idle.is_empty()
                    {
                        ended.push(waiting.idle.remove(0).1);
                    }
                }
            }
        }
        models.retain(|_, waiting| waiting.starting > 0 || !waiting.idle.is_empty());
        drop(state);
        for live in ended {
            self.0.tasks.spawn(live.end());
        }
        for model in started {
            let pool = self.clone();
            self.0.tasks.spawn(async move { pool.start(model).await });
        }
    }

    /// Starts a process, waits until it is ready, and adds it to the pool.
    async fn start(&self, model: String) {
        let ready = tokio::select! {
            ready = timeout(STARTING, ready(&self.0.cli, &model)) => ready.unwrap_or_else(|_| {
                Err(format!("it was not ready within {} s", STARTING.as_secs()))
            }),
            () = self.0.stop.cancelled() => return,
        };
        let now = self.0.begun.elapsed();
        let mut state = self.lock();
        let State { sizing, models } = &mut *state;
        let waiting = models.entry(model.clone()).or_default();
        waiting.starting = waiting.starting.saturating_sub(1);
        match ready {
            Ok(live) if !self.0.stop.is_cancelled() => {
                sizing.succeeded();
                waiting.idle.push((now, live));
            }
            Ok(_) => {}
            Err(why) => {
                sizing.failed(now);
                tracing::warn!(model, error = why, "a waiting process of the CLI did not start");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the spec of a process that waits.
pub(crate) fn spec(model: &str) -> TurnSpec {
    TurnSpec {
        model: Some(model.to_owned()),
        kind: TurnKind::Lean {
            input: Input::Line,
            streamed: true,
            effort: None,
            schema: None,
            budget_usd: None,
        },
    }
}

/// Starts a process and waits until it is ready; an error says why it did not become so.
async fn ready(cli: &Cli, model: &str) -> Result<Live, String> {
    let mut live = cli.start_warm(&spec(model)).map_err(|error| error.to_string())?;
    while !live.transcript.is_ready() {
        if live.read(|_| {}).await == Progress::Over {
            let exit = live.ended().await;
            let said = masked(live.complaint().await, &cli.around.credentials);
            return Err(if said.is_empty() { exit.to_string() } else { format!("{exit}: {said}") });
        }
    }
    Ok(live)
}

/// What a process said, fit for a log: cut short, and without the secrets that it was given.
fn masked(mut said: String, credentials: &[(String, SecretString)]) -> String {
    for (_, secret) in credentials {
        let secret = secret.expose_secret();
        if !secret.is_empty() {
            said = said.replace(secret, "***");
        }
    }
    said.chars().take(COMPLAINT_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_of_a_process_has_no_secret_and_an_end() {
        let secrets: [(String, SecretString); 2] =
            [("KEY".to_owned(), "s3cret".into()), ("NONE".to_owned(), "".into())];
        let said = format!("error: s3cret is no key {}", "x".repeat(COMPLAINT_CHARS));
        let logged = masked(said, &secrets);
        assert!(logged.starts_with("error: *** is no key xxx"), "{logged}");
        assert_eq!(logged.chars().count(), COMPLAINT_CHARS);
    }
}
