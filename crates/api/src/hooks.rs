//! `POST /webhooks/<forge>`: a forge says that something happened.
//!
//! Answers at once, since forges wait ten seconds at most, and with nothing that a stranger could
//! learn from: whoever signs correctly is told what became of it, everybody else that they may not.

use afk_core::ids::AdapterName;
use afk_remote::{Heard, LARGEST_HOOK, NotHeard};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};

use crate::Doors;

/// The largest body that is taken.
pub(crate) fn limit() -> DefaultBodyLimit {
    DefaultBodyLimit::max(LARGEST_HOOK)
}

/// Hears one.
pub(crate) async fn hear(
    State(doors): State<Doors>,
    Path(forge): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, String) {
    let Ok(name) = forge.parse::<AdapterName>() else {
        return refused(NotHeard::Unknown);
    };
    let header = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    match doors.forges.hear(&name, &header, &body).await {
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
