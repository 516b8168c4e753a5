//! `POST /webhooks/<forge>`: a forge says that something happened.
//!
//! Answers at once, since forges wait ten seconds at most, and with nothing that a stranger could
//! learn from: whoever signs correctly is told what became of it, everybody else that they may not.

use std::sync::Arc;
use std::time::Duration;

use afk_core::ids::AdapterName;
use afk_remote::{Heard, LARGEST_HOOK, NotHeard, may_be_signed};
use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Doors;

/// How many bytes of webhooks are held at once, whose senders nobody knows yet.
const HELD: usize = 8 * LARGEST_HOOK;
/// How long a body may take: forges wait no longer for the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bytes that are not held: every one of a body takes a place of it until it is answered.
#[derive(Debug, Clone)]
pub(crate) struct Room(Arc<Semaphore>);

/// Room for the bodies of all webhooks together.
pub(crate) fn room() -> Extension<Room> {
    Extension(Room(Arc::new(Semaphore::new(HELD))))
}

/// Hears one.
pub(crate) async fn hear(
    State(doors): State<Doors>,
    Extension(room): Extension<Room>,
    Path(forge): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> (StatusCode, String) {
    let Ok(name) = forge.parse::<AdapterName>() else {
        return refused(NotHeard::Unknown);
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
    match doors.forges.hear(&name, &header, &whole).await {
        Ok(Heard::Woke(repo)) => {
            doors.engine.wake(&repo);
            tracing::debug!(forge = %name, %repo, "woken by a webhook");
            (StatusCode::ACCEPTED, format!("{repo} is read\n"))
        }
        Ok(Heard::NoRepo) => (StatusCode::OK, "heard\n".to_owned()),
        Ok(Heard::Repeated) => (StatusCode::OK, "heard before\n".to_owned()),
        Err(why) => {
            tracing::warn!(forge = %name, error = %why, "webhook refused");
            refused(why)
        }
    }
}

/// Reads a body to its end, as far as there is room. Returns what it holds of that.
async fn read<'a>(
    mut body: Body,
    Room(room): &'a Room,
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
            // It is polled for, too.
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

/// The answer to a webhook that is not believed. An unknown forge is told like a wrong signature.
fn refused(why: NotHeard) -> (StatusCode, String) {
    let status = match why {
        NotHeard::Unknown | NotHeard::Unsigned | NotHeard::WrongSignature => {
            StatusCode::UNAUTHORIZED
        }
        NotHeard::NotJson => StatusCode::BAD_REQUEST,
        // Forges show failed deliveries to their owner.
        NotHeard::NoSecret => StatusCode::SERVICE_UNAVAILABLE,
    };
    let text = match why {
        NotHeard::Unknown | NotHeard::Unsigned | NotHeard::WrongSignature => {
            "the signature is missing or wrong\n".to_owned()
        }
        NotHeard::NotJson | NotHeard::NoSecret => format!("{why}\n"),
    };
    (status, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bodies_take_no_more_room_than_there_is() {
        let room = Room(Arc::new(Semaphore::new(10)));
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
