//! `POST /webhooks/<forge>`: a forge says that something happened.
//!
//! It is answered at once, since forges wait ten seconds at most, and without anything that a
//! stranger could learn from: only a sender with a correct signature is told what came of the
//! webhook.

use std::sync::Arc;
use std::time::Duration;

use afk_core::ids::AdapterName;
use afk_remote::{HookOutcome, HookRefusal, LARGEST_HOOK, may_be_signed};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::ApiState;

/// How many bytes of bodies are held in memory at once, over all webhooks: anybody can send them.
const HELD: usize = 8 * LARGEST_HOOK;
/// How long a body may take: forges wait no longer for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bytes that are still free of [`HELD`]: a body takes a permit for each of its bytes until the
/// webhook is answered.
#[derive(Debug, Clone)]
pub(crate) struct BodyBudget(Arc<Semaphore>);

/// Makes the budget that the bodies of all webhooks share.
pub(crate) fn body_budget() -> Extension<BodyBudget> {
    Extension(BodyBudget(Arc::new(Semaphore::new(HELD))))
}

/// Handles a webhook.
pub(crate) async fn receive(
    State(state): State<ApiState>,
    Extension(room): Extension<BodyBudget>,
    Path(forge): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> (StatusCode, String) {
    let Ok(name) = forge.parse::<AdapterName>() else {
        return refused(HookRefusal::Unknown);
    };
    let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    if let Err(why) = may_be_signed(&header) {
        tracing::warn!(forge = %name, error = %why, "webhook refused");
        return refused(why);
    }
    let mut whole = Vec::new();
    let read = read(body, &room, &mut whole);
    let _held = match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(held)) => held,
        Ok(Err(refused)) => return refused,
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "it took too long\n".to_owned()),
    };
    match state.forges.receive_hook(&name, &header, &whole).await {
        Ok(HookOutcome::Woke(repo)) => {
            state.engine.wake(&repo);
            tracing::debug!(forge = %name, %repo, "woken by a webhook");
            (StatusCode::ACCEPTED, format!("{repo} will be read now\n"))
        }
        Ok(HookOutcome::NoRepo) => {
            (StatusCode::OK, "accepted: it names no repository\n".to_owned())
        }
        Ok(HookOutcome::Repeated) => (StatusCode::OK, "accepted: already delivered\n".to_owned()),
        Err(why) => {
            tracing::warn!(forge = %name, error = %why, "webhook refused");
            refused(why)
        }
    }
}

/// Reads a body to its end into `whole`, as long as there is room. Returns the permits for its
/// bytes.
async fn read<'a>(
    mut body: Body,
    BodyBudget(room): &'a BodyBudget,
    whole: &mut Vec<u8>,
) -> Result<Option<SemaphorePermit<'a>>, (StatusCode, String)> {
    let mut held: Option<SemaphorePermit<'_>> = None;
    while let Some(frame) = body.frame().await {
        let broken = |_| (StatusCode::BAD_REQUEST, "the body breaks off\n".to_owned());
        let Ok(part) = frame.map_err(broken)?.into_data() else { continue };
        if whole.len() + part.len() > LARGEST_HOOK {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "it is too large\n".to_owned()));
        }
        let places = u32::try_from(part.len()).unwrap_or(u32::MAX);
        let Ok(more) = room.try_acquire_many(places) else {
            // A webhook may be refused: what it tells of is also polled for.
            let busy = "too many webhooks at once\n".to_owned();
            return Err((StatusCode::SERVICE_UNAVAILABLE, busy));
        };
        match &mut held {
            Some(held) => held.merge(more),
            None => held = Some(more),
        }
        whole.extend_from_slice(&part);
    }
    Ok(held)
}

/// The answer to a webhook that is not believed. An unknown forge looks like a wrong signature.
fn refused(why: HookRefusal) -> (StatusCode, String) {
    let status = match why {
        HookRefusal::Unknown | HookRefusal::Unsigned | HookRefusal::WrongSignature => {
            StatusCode::UNAUTHORIZED
        }
        HookRefusal::NotJson => StatusCode::BAD_REQUEST,
        // A failure, because forges show failed deliveries to the repo's owner.
        HookRefusal::NoSecret => StatusCode::SERVICE_UNAVAILABLE,
    };
    let text = match why {
        HookRefusal::Unknown | HookRefusal::Unsigned | HookRefusal::WrongSignature => {
            "the signature is missing or wrong\n".to_owned()
        }
        HookRefusal::NotJson | HookRefusal::NoSecret => format!("{why}\n"),
    };
    (status, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_take_no_more_room_than_there_is() {
        let room = BodyBudget(Arc::new(Semaphore::new(10)));
        let check = async |bytes: usize, expected: Result<(), StatusCode>| {
            let mut whole = Vec::new();
            let held = read(Body::from(vec![7; bytes]), &room, &mut whole).await;
            let found = held.as_ref().map(drop).map_err(|(status, _)| *status);
            assert_eq!(found, expected, "{bytes}");
            assert!(expected.is_err() || whole.len() == bytes);
        };
        check(10, Ok(())).await;
        check(11, Err(StatusCode::SERVICE_UNAVAILABLE)).await;
        check(0, Ok(())).await;
        let mut whole = Vec::new();
        let held = read(Body::from(vec![7; 8]), &room, &mut whole).await.unwrap();
        check(3, Err(StatusCode::SERVICE_UNAVAILABLE)).await;
        drop(held);
        check(3, Ok(())).await;
        check(LARGEST_HOOK + 1, Err(StatusCode::PAYLOAD_TOO_LARGE)).await;
    }
}
