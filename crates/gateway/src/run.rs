//! A run that answers in one piece: equal requests may join it, it waits for its place, works, and
//! gives the place up when everything that it held is gone.
//!
//! Called by [`crate::chat::whole`] and [`crate::conversations`], which say what the work is
//! ([`WholeAnswer`]). Jobs hold processes and checkouts in the same way ([`RunResources`]).

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::{Key, Place};
use crate::attach::{RunKey, Waiters};
use crate::error::ApiError;
use crate::jobs::checkout::Checkout;
use crate::service::{CountedRun, LAST_WORDS, LAST_WORDS_IN_HASTE, Service, finish, not_started};
use crate::tokens::Caller;
use crate::turn::command::TurnSpec;
use crate::turn::process::Live;
use crate::turn::transcript::{Accepts, Verdict};

/// Who asks for a run.
#[derive(Debug)]
pub(crate) struct Requester {
    /// The caller whose limits the run counts against.
    pub(crate) caller: Caller,
    /// Tells which other requests are this one again.
    pub(crate) key: RunKey,
}

impl Requester {
    /// Counts a new run against its caller's limits. Not called for a request that takes over an
    /// earlier run.
    pub(crate) fn count(&self, service: &Arc<Service>) -> Result<CountedRun, ApiError> {
        service.count(&self.caller, service.settings.chat_budget_usd)
    }
}

/// What a run holds, to be released in the right order whatever became of the run.
#[derive(Debug, Default)]
pub(crate) struct RunResources {
    pub(crate) live: Option<Live>,
    pub(crate) checkout: Option<Checkout>,
}

impl RunResources {
    /// Ends the processes, and then removes what they worked on.
    pub(crate) async fn release(self) {
        if let Some(live) = self.live {
            live.end().await;
        }
        if let Some(checkout) = self.checkout {
            checkout.remove().await;
        }
    }

    /// Runs one turn on a new process to its end. The process stays held, to be accounted for.
    pub(crate) async fn turn(
        &mut self,
        (service, counted): (&Service, &CountedRun),
        spec: &TurnSpec,
        prompt: &str,
        folder: &Path,
        limit: Duration,
        accepts: Accepts,
    ) -> Result<Verdict, ApiError> {
        let started = service.cold(counted, spec, prompt, folder);
        let live = self.live.insert(started.map_err(|error| not_started(&error))?);
        finish(live, limit, accepts).await
    }
}

/// Work that answers in one piece.
pub(crate) trait WholeAnswer: Send + 'static {
    /// Does the work, once the run's place came up, and returns the body of the response.
    fn work(
        self,
        service: &Service,
        counted: &CountedRun,
        held: &mut RunResources,
    ) -> impl Future<Output = Result<String, ApiError>> + Send;
}

/// Answers a request by an equal one's run or a new one. Runs of one `session` never overlap.
pub(crate) async fn answer(
    service: &Arc<Service>,
    asked: Requester,
    session: Option<Key>,
    work: impl WholeAnswer,
) -> Result<Arc<str>, ApiError> {
    let admit = || {
        let counted = asked.count(service)?;
        let place = service.admission.enter(session).map_err(ApiError::GatewayFull)?;
        Ok::<_, ApiError>((Arc::clone(service), counted, place))
    };
    let waiter = service.attach.join_or_start(
        asked.key,
        admit,
        |(service, counted, place), waiters| async move {
            let answer = run(&service, &counted, place, waiters, work).await;
            drop(counted);
            answer
        },
    )?;
    waiter.answer().await.unwrap_or_else(|| Err(ApiError::failed("the run broke off")))
}

async fn run(
    service: &Service,
    counted: &CountedRun,
    mut place: Place,
    mut waiters: Waiters,
    work: impl WholeAnswer,
) -> Result<Arc<str>, ApiError> {
    let (mut held, mut begun) = (RunResources::default(), false);
    let gone = waiters.gone.clone();
    let working = async {
        place.ready().await;
        // A caller who has gone may come back with a retry, but no turn begins while nobody waits.
        waiters.attended().await;
        begun = true;
        work.work(service, counted, &mut held).await
    };
    let answer = tokio::select! {
        biased;
        answer = working => answer,
        () = gone.cancelled() => Err(ApiError::failed("nobody waited for the answer")),
        () = service.has_to_end() => Err(ApiError::Stopping { begun }),
    };
    if let Some(live) = &mut held.live {
        let hurries = gone.is_cancelled() || service.is_stopping();
        let last_words = if hurries { LAST_WORDS_IN_HASTE } else { LAST_WORDS };
        service.break_off(counted, live, last_words).await;
    }
    held.release().await;
    answer.map(Into::into)
}
