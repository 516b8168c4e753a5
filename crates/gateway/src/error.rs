//! Every refusal and failure that a caller can get, with its exact body.
//!
//! Clients read different parts of the body: the predecessor's callers `detail`, the official SDKs
//! only `error`, so both are always there. Handlers return an [`ApiError`]; this file gives it its
//! status and headers (only an unknown model in a path gets 404 from its route instead of 400).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::admission::Full;

/// The longest detail of a failed turn, in characters.
const DETAIL_CHARS: usize = 200;

/// A refusal or a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// No token or a wrong one, which includes that none exists at all.
    Unauthorized,
    /// The token may not do this.
    Forbidden {
        /// The scope that the token lacks.
        scope: &'static str,
    },
    /// There is no such job.
    JobNotFound,
    /// There is no such route.
    NoRoute,
    /// `/v1/responses`, which some clients try first.
    NoResponsesApi,
    /// The route does not take this method.
    Method {
        /// The methods that the route takes, as the `Allow` header lists them.
        allow: &'static str,
    },
    /// The body is too large.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body did not arrive in time.
    Slow,
    /// The request cannot be understood or cannot be honoured.
    Invalid {
        /// The field, empty for the whole body.
        field: String,
        /// What is wrong, naming the field.
        message: String,
    },
    /// The model is not among the supported ones.
    UnsupportedModel {
        /// The supported ones, sorted.
        supported: Vec<String>,
    },
    /// The queue is full, on the routes for jobs: 429.
    QueueFull(Full),
    /// The queue is full, on the routes for chats and conversations: 503.
    GatewayFull(Full),
    /// The token has reached one of its limits.
    Limited {
        /// Which limit, in words.
        what: String,
        /// Whole seconds until another try makes sense.
        retry_after: u64,
    },
    /// The agent, or something that it needs, failed.
    Failed {
        /// The reason in one line; see [`ApiError::failed`].
        detail: String,
    },
    /// The idempotency key is that of a stream that runs, or ended less than a minute ago.
    KeyInUse,
    /// The program of the CLI is not there.
    NotReady,
    /// The service is stopping.
    Stopping {
        /// Whether the request's turn had begun, so that doing it again may do it twice.
        begun: bool,
    },
}

impl ApiError {
    /// A failure whose detail is cut to one line of at most [`DETAIL_CHARS`].
    pub(crate) fn failed(detail: &str) -> Self {
        let line = detail.split_whitespace().collect::<Vec<_>>().join(" ");
        let line = if line.is_empty() { "no reason was given".to_owned() } else { line };
        Self::Failed { detail: line.chars().take(DETAIL_CHARS).collect() }
    }

    /// A wrong field, or body if `field` is empty. The message is the name and then `what`.
    pub(crate) fn invalid(field: &str, what: &str) -> Self {
        let message =
            if field.is_empty() { format!("the body {what}") } else { format!("{field} {what}") };
        Self::Invalid { field: field.to_owned(), message }
    }

    /// Returns the HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::JobNotFound | Self::NoRoute | Self::NoResponsesApi => StatusCode::NOT_FOUND,
            Self::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Self::UnsupportedModel { .. } => StatusCode::BAD_REQUEST,
            Self::QueueFull(_) | Self::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::KeyInUse => StatusCode::CONFLICT,
            Self::GatewayFull(_) | Self::Failed { .. } | Self::NotReady | Self::Stopping { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// Returns the message, type and code of the error object.
    fn words(&self) -> (String, &'static str, &'static str) {
        const REQUEST: &str = "invalid_request_error";
        const SERVER: &str = "server_error";
        match self {
            Self::Unauthorized => (
                "a valid token is missing: send Authorization: Bearer TOKEN".to_owned(),
                "authentication_error",
                "invalid_api_key",
            ),
            Self::Forbidden { scope } => (
                format!("this token may not do this: it lacks the scope \"{scope}\""),
                "permission_error",
                "insufficient_scope",
            ),
            Self::JobNotFound => ("Job not found".to_owned(), REQUEST, "job_not_found"),
            Self::NoRoute => ("there is no such route".to_owned(), REQUEST, "unknown_url"),
            Self::NoResponsesApi => (
                "the Responses API is not served here: use /v1/chat/completions".to_owned(),
                REQUEST,
                "unknown_url",
            ),
            Self::Method { allow } => {
                (format!("this route takes {allow}"), REQUEST, "method_not_allowed")
            }
            Self::TooLarge { limit } => {
                (format!("the body is over {limit} bytes"), REQUEST, "request_too_large")
            }
            Self::Slow => ("the body did not arrive in time".to_owned(), REQUEST, "timeout"),
            Self::Invalid { message, .. } => (message.clone(), REQUEST, "invalid_request"),
            Self::UnsupportedModel { supported } => (
                format!("unsupported model; supported: {}", supported.join(", ")),
                REQUEST,
                "model_not_found",
            ),
            Self::QueueFull(_) => ("Queue full".to_owned(), "rate_limit_error", "queue_full"),
            Self::GatewayFull(_) => ("queue full".to_owned(), SERVER, "queue_full"),
            Self::Limited { what, .. } => (what.clone(), "rate_limit_error", "limit_reached"),
            Self::Failed { detail } => {
                (format!("execution failed: {detail}"), SERVER, "execution_failed")
            }
            Self::KeyInUse => (
                "a stream with this Idempotency-Key runs or ended less than a minute ago: \
                 use another key for another request"
                    .to_owned(),
                REQUEST,
                "idempotency_key_in_use",
            ),
            Self::NotReady => ("the Claude CLI is gone".to_owned(), SERVER, "not_ready"),
            Self::Stopping { begun: false } => {
                ("the service is stopping".to_owned(), SERVER, "stopping")
            }
            Self::Stopping { begun: true } => {
                ("the service was stopped before the agent was done".to_owned(), SERVER, "stopping")
            }
        }
    }

    /// Returns OpenAI's error object, which a failed stream ends with, too.
    pub(crate) fn object(&self) -> Value {
        let (message, kind, code) = self.words();
        match self {
            Self::Invalid { field, .. } if !field.is_empty() => {
                json!({"message": message, "type": kind, "code": code, "param": field})
            }
            _ => json!({"message": message, "type": kind, "code": code}),
        }
    }

    /// Returns the whole body of the response.
    pub(crate) fn body(&self) -> Value {
        let detail = match self {
            Self::Failed { detail } => detail.clone(),
            Self::UnsupportedModel { .. } => "unsupported model".to_owned(),
            _ => self.words().0,
        };
        let mut body = json!({"detail": detail, "error": self.object()});
        if let Self::UnsupportedModel { supported } = self {
            body["supported"] = json!(supported);
        }
        body
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status(), axum::Json(self.body())).into_response();
        let headers = response.headers_mut();
        match &self {
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Method { allow } => {
                headers.insert(header::ALLOW, HeaderValue::from_static(allow));
            }
            // The turn ran, or still runs: a client must not run it again by itself.
            Self::Failed { .. } | Self::KeyInUse | Self::Stopping { begun: true } => {
                headers.insert("x-should-retry", HeaderValue::from_static("false"));
            }
            Self::QueueFull(Full { retry_after })
            | Self::GatewayFull(Full { retry_after })
            | Self::Limited { retry_after, .. } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(*retry_after));
            }
            Self::Stopping { begun: false } => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(5));
            }
            Self::Forbidden { .. }
            | Self::JobNotFound
            | Self::NoRoute
            | Self::NoResponsesApi
            | Self::NotReady
            | Self::TooLarge { .. }
            | Self::Slow
            | Self::Invalid { .. }
            | Self::UnsupportedModel { .. } => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_exact_body() {
        #[track_caller]
        fn check(error: &ApiError, status: u16, body: &Value) {
            assert_eq!((error.status().as_u16(), &error.body()), (status, body));
        }
        check(
            &ApiError::JobNotFound,
            404,
            &json!({"detail": "Job not found", "error": {"message": "Job not found",
                "type": "invalid_request_error", "code": "job_not_found"}}),
        );
        check(
            &ApiError::QueueFull(Full { retry_after: 1 }),
            429,
            &json!({"detail": "Queue full", "error": {"message": "Queue full",
                "type": "rate_limit_error", "code": "queue_full"}}),
        );
        check(
            &ApiError::GatewayFull(Full { retry_after: 1 }),
            503,
            &json!({"detail": "queue full", "error": {"message": "queue full",
                "type": "server_error", "code": "queue_full"}}),
        );
        check(
            &ApiError::failed("agent timed out"),
            503,
            &json!({"detail": "agent timed out", "error": {
                "message": "execution failed: agent timed out",
                "type": "server_error", "code": "execution_failed"}}),
        );
        check(
            &ApiError::UnsupportedModel { supported: vec!["haiku".into(), "opus".into()] },
            400,
            &json!({"detail": "unsupported model", "supported": ["haiku", "opus"], "error": {
                "message": "unsupported model; supported: haiku, opus",
                "type": "invalid_request_error", "code": "model_not_found"}}),
        );
        check(
            &ApiError::NotReady,
            503,
            &json!({"detail": "the Claude CLI is gone", "error": {
                "message": "the Claude CLI is gone", "type": "server_error", "code": "not_ready"}}),
        );
        check(
            &ApiError::invalid("n", "must be 1"),
            422,
            &json!({"detail": "n must be 1", "error": {"message": "n must be 1", "param": "n",
                "type": "invalid_request_error", "code": "invalid_request"}}),
        );
    }

    #[test]
    fn of_most_errors_the_detail_is_the_message() {
        const REQUEST: &str = "invalid_request_error";
        for (error, status, says, kind, code) in [
            (
                ApiError::Unauthorized,
                401,
                "a valid token is missing: send Authorization: Bearer TOKEN",
                "authentication_error",
                "invalid_api_key",
            ),
            (
                ApiError::Forbidden { scope: "jobs" },
                403,
                "this token may not do this: it lacks the scope \"jobs\"",
                "permission_error",
                "insufficient_scope",
            ),
            (ApiError::NoRoute, 404, "there is no such route", REQUEST, "unknown_url"),
            (
                ApiError::NoResponsesApi,
                404,
                "the Responses API is not served here: use /v1/chat/completions",
                REQUEST,
                "unknown_url",
            ),
            (
                ApiError::Method { allow: "GET, HEAD" },
                405,
                "this route takes GET, HEAD",
                REQUEST,
                "method_not_allowed",
            ),
            (ApiError::Slow, 408, "the body did not arrive in time", REQUEST, "timeout"),
            (
                ApiError::KeyInUse,
                409,
                "a stream with this Idempotency-Key runs or ended less than a minute ago: use \
                 another key for another request",
                REQUEST,
                "idempotency_key_in_use",
            ),
            (
                ApiError::TooLarge { limit: 7 },
                413,
                "the body is over 7 bytes",
                REQUEST,
                "request_too_large",
            ),
            (
                ApiError::Limited { what: "enough".into(), retry_after: 1 },
                429,
                "enough",
                "rate_limit_error",
                "limit_reached",
            ),
            (
                ApiError::Stopping { begun: false },
                503,
                "the service is stopping",
                "server_error",
                "stopping",
            ),
            (
                ApiError::Stopping { begun: true },
                503,
                "the service was stopped before the agent was done",
                "server_error",
                "stopping",
            ),
        ] {
            let object = json!({"message": says, "type": kind, "code": code});
            let body = json!({"detail": says, "error": object});
            assert_eq!((error.status().as_u16(), error.body()), (status, body));
        }
    }

    #[test]
    fn a_failure_is_one_short_line() {
        let error = ApiError::failed(&format!("first\n  second {}", "x".repeat(300)));
        let ApiError::Failed { detail } = error else { panic!("{error:?}") };
        assert!(detail.starts_with("first second x"));
        assert_eq!(detail.chars().count(), DETAIL_CHARS);
    }

    #[test]
    fn headers_tell_clients_whether_to_come_again() {
        fn header(error: ApiError, name: &str) -> Option<String> {
            Some(error.into_response().headers().get(name)?.to_str().unwrap().to_owned())
        }
        let failed = ApiError::failed("x");
        assert_eq!(header(failed.clone(), "x-should-retry").as_deref(), Some("false"));
        assert_eq!(header(failed, "retry-after"), None);
        let full = ApiError::GatewayFull(Full { retry_after: 7 });
        assert_eq!(header(full.clone(), "retry-after").as_deref(), Some("7"));
        assert_eq!(header(full, "x-should-retry"), None);
        let early = ApiError::Stopping { begun: false };
        assert_eq!(header(early.clone(), "retry-after").as_deref(), Some("5"));
        assert_eq!(header(early, "x-should-retry"), None);
        for once in [ApiError::Stopping { begun: true }, ApiError::KeyInUse] {
            assert_eq!(header(once.clone(), "x-should-retry").as_deref(), Some("false"));
            assert_eq!(header(once, "retry-after"), None);
        }
    }
}
