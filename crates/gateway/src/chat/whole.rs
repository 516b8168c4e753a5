//! A chat completion in one piece: on the lean path, or by a configured agent in a checkout.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::chunks::{Finish, completion};
use super::request::{ChatRequest, Format};
use super::stop::Cutter;
use super::{head, prompt};
use crate::admission::Place;
use crate::attach::Same;
use crate::error::ApiError;
use crate::jobs::checkout::Checkout;
use crate::service::{Counted, Service, finish, text_of};
use crate::turn::command::{Input, TurnKind, TurnSpec};
use crate::turn::process::Live;
use crate::turn::transcript::Verdict;

/// Answers a request, together with those that are the same.
pub(crate) async fn answer(
    service: &Arc<Service>,
    request: ChatRequest,
    model: String,
    token: Arc<str>,
    (same, linger, keep): (Same, Duration, bool),
    counted: Counted,
) -> Result<Arc<str>, ApiError> {
    let joined = if let Some(joined) = service.attach.join(same, linger) {
        joined
    } else {
        let place = service.admission.enter(None).map_err(ApiError::GatewayFull)?;
        let service = Arc::clone(service);
        let attach = service.attach.clone();
        attach.start(same, linger, keep, |stop| async move {
            run(&service, &request, model, &token, place, stop, counted).await
        })
    };
    joined.answer().await.unwrap_or_else(|| Err(ApiError::failed("the run broke off")))
}

async fn run(
    service: &Service,
    request: &ChatRequest,
    model: String,
    token: &str,
    mut place: Place,
    stop: CancellationToken,
    counted: Counted,
) -> Result<Arc<str>, ApiError> {
    let (mut live, mut checkout) = (None, None);
    let work = async {
        place.ready().await;
        match request.agent.as_ref().or(service.settings.chat_agent.as_ref()) {
            Some(agent) => {
                let started = (&mut live, &mut checkout);
                by_agent(service, request, &model, agent, started).await
            }
            None => lean(service, request, &model, &mut live).await,
        }
    };
    let verdict = tokio::select! {
        biased;
        verdict = work => verdict,
        () = stop.cancelled() => Err(ApiError::failed("nobody waited for the answer")),
    };
    // First the processes, then what they worked on.
    if let Some(live) = live {
        live.end().await;
    }
    if let Some(checkout) = checkout {
        checkout.remove().await;
    }
    drop((place, counted));
    let verdict = verdict?;
    service.account(token, &verdict);
    let text = text_of(&verdict)?;
    let mut cutter = Cutter::new(request.stop.clone());
    let shown = cutter.push(&text);
    let text = shown + &cutter.finish();
    let finish = if cutter.is_done() { Finish::Stop } else { verdict.finish };
    Ok(completion(&head(model), &text, finish, verdict.tokens).to_string().into())
}

async fn lean(
    service: &Service,
    request: &ChatRequest,
    model: &str,
    live: &mut Option<Live>,
) -> Result<Verdict, ApiError> {
    let prompt = prompt::request(&request.messages, &request.format);
    let limit = service.settings.chat_timeout();
    let schema = schema(request);
    if schema.is_none()
        && request.effort.is_none()
        && let Some(mut warm) = service.pool.take(model)
        && warm.begin(&prompt).is_ok()
    {
        service.metrics.started(true);
        return finish(live.insert(warm), limit).await;
    }
    service.metrics.started(false);
    let kind =
        TurnKind::Lean { input: Input::Text, streamed: false, effort: request.effort, schema };
    let spec = TurnSpec { model: Some(model.to_owned()), kind };
    service.whole(&spec, &prompt, &service.cli.scratch, limit, live).await
}

async fn by_agent(
    service: &Service,
    request: &ChatRequest,
    model: &str,
    agent: &str,
    (live, checkout): (&mut Option<Live>, &mut Option<Checkout>),
) -> Result<Verdict, ApiError> {
    let prompt = prompt::request(&request.messages, &request.format);
    let settings = &service.settings;
    let kind = TurnKind::Job {
        agent: Some(agent.to_owned()),
        budget_usd: settings.chat_budget_usd,
        // Only the configured agent, and only if that is configured, too.
        skip_permissions: settings.chat_skip_permissions
            && settings.chat_agent.as_deref() == Some(agent),
        effort: request.effort,
        schema: schema(request),
    };
    let spec = TurnSpec { model: Some(model.to_owned()), kind };
    service.metrics.started(false);
    let made = service.jobs.checkout(service).await;
    let checkout = checkout.insert(made.map_err(|error| ApiError::failed(&error.to_string()))?);
    service.whole(&spec, &prompt, checkout.path(), settings.chat_timeout(), live).await
}

fn schema(request: &ChatRequest) -> Option<serde_json::Value> {
    match &request.format {
        Format::JsonSchema(schema) => Some(schema.clone()),
        Format::Text | Format::JsonObject => None,
    }
}
