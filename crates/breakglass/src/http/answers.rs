//! Refusals and failures: a status, one sentence for the person, and when to try again.

use afk_agent::sessions::LogError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::conversation::PromptRefusal;
use crate::power::client::VerbRefusal;

/// A refusal or a failure, as a client gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// What happened, and what to do about it. Never contains a secret.
    pub detail: String,
    /// The seconds for a `Retry-After` header, if it is worth another try.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// Makes an answer with this status and sentence, and no `Retry-After`.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), retry_after: None }
    }

    /// Adds that it is worth another try after so many seconds.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// The answer that there is no such conversation.
    pub fn no_session() -> Self {
        Self::new(StatusCode::NOT_FOUND, "session not found")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({"detail": self.detail}))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if [StatusCode::PAYLOAD_TOO_LARGE, StatusCode::REQUEST_TIMEOUT].contains(&self.status) {
            // The rest of the body is not read, so the connection is closed. A client or proxy that
            // is not told would send its next request on it and lose that request.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<LogError> for ApiError {
    fn from(error: LogError) -> Self {
        let status = match &error {
            LogError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
            LogError::NoRoom(_) | LogError::InUse(_) => StatusCode::SERVICE_UNAVAILABLE,
            LogError::Removed | LogError::Name(_) => return Self::no_session(),
            LogError::EventTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            LogError::Io { .. } | LogError::NotOneLine | LogError::Exists(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        if status.is_server_error() {
            tracing::error!(%error, "a session cannot be used");
        }
        Self::new(status, error.to_string())
    }
}

impl From<PromptRefusal> for ApiError {
    fn from(refusal: PromptRefusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            PromptRefusal::NotFound => Self::no_session(),
            PromptRefusal::Running => Self::new(StatusCode::CONFLICT, detail),
            PromptRefusal::Crowded => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(30)
            }
            PromptRefusal::Stopping => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(5)
            }
            PromptRefusal::Log(error) => error.into(),
        }
    }
}

impl From<VerbRefusal> for ApiError {
    fn from(refusal: VerbRefusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            VerbRefusal::NoHypervisor => Self::new(StatusCode::SERVICE_UNAVAILABLE, detail),
            VerbRefusal::Busy(_) | VerbRefusal::LockNotReported(_) => {
                Self::new(StatusCode::CONFLICT, detail)
            }
            VerbRefusal::TooMany => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(2)
            }
            VerbRefusal::Stopping => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(5)
            }
        }
    }
}
