//! What Codex's errors mean: the typed ones of the app server, and the texts of `codex exec`.

use jiff::Timestamp;
use serde_json::Value;

use crate::agents::outcome::FailReason;

/// The meaning of a `codexErrorInfo`; `None` if only the error's text tells.
pub(crate) fn of_info(info: &Value, resets_at: Option<Timestamp>) -> Option<FailReason> {
    let api = |status| Some(FailReason::ApiError { status });
    if let Some(fields) = info.as_object() {
        let (name, detail) = fields.iter().next()?;
        let status = detail.get("httpStatusCode").and_then(Value::as_u64);
        let status = status.and_then(|status| u16::try_from(status).ok());
        return match name.as_str() {
            "httpConnectionFailed"
            | "responseStreamConnectionFailed"
            | "responseTooManyFailedAttempts" => api(status),
            // Without a status only the text says who ended the stream: a broken connection, or the
            // model's API.
            "responseStreamDisconnected" if status.is_some() => api(status),
            _ => None,
        };
    }
    match info.as_str()? {
        "usageLimitExceeded" => Some(FailReason::UsageLimit { resets_at }),
        "rateLimitExceeded" => api(Some(429)),
        "serverOverloaded" | "flexUnavailable" | "policyCapacityUnavailable" => api(Some(503)),
        "internalServerError" => api(Some(500)),
        "unauthorized" => api(Some(401)),
        "badRequest" => api(Some(400)),
        "modelNotFound" => api(Some(404)),
        "sessionBudgetExceeded" => Some(FailReason::BudgetExceeded),
        "contextWindowExceeded" => Some(FailReason::StuckConversation),
        "cyberPolicy"
        | "bioPolicy"
        | "misalignmentPolicyViolation"
        | "tooManyDenials"
        | "inferenceHookDenied"
        | "sandboxError" => Some(FailReason::AgentError),
        _ => None,
    }
}

/// The meaning of an error's text, where nothing else tells. Texts differ between versions, so only
/// those that have been seen are recognised; anything else is an error that a person must see.
pub(crate) fn of_text(text: &str) -> FailReason {
    let says = |words: &str| text.contains(words);
    if says("hit your usage limit") || says("Quota exceeded") {
        return FailReason::UsageLimit { resets_at: None };
    }
    if says("ran out of room in the model's context window") {
        return FailReason::StuckConversation;
    }
    if let Some(status) = status_in(text) {
        return FailReason::ApiError { status: Some(status) };
    }
    if says("error sending request") {
        return FailReason::ApiError { status: None };
    }
    if let Some((_, why)) = text.split_once("stream disconnected before completion") {
        // The text may also quote the API, for example its content filter: that is no outage.
        let broke = BREAKS.iter().any(|words| why.contains(words));
        let outage = FailReason::ApiError { status: None };
        return if broke { outage } else { FailReason::BrokenOff };
    }
    if says("high demand") {
        return FailReason::ApiError { status: Some(500) };
    }
    if says("model is at capacity") {
        return FailReason::ApiError { status: Some(503) };
    }
    if says("rate limit exceeded") {
        return FailReason::ApiError { status: Some(429) };
    }
    FailReason::in_words(text).unwrap_or(FailReason::AgentError)
}

/// Parts of the texts in which Codex reports that a stream's connection broke.
const BREAKS: [&str; 6] = [
    "closed before response.completed",
    "closed by server before response.completed",
    "idle timeout",
    "ransport error",
    "error decoding response body",
    "onnection",
];

/// Reads the HTTP status from `unexpected status 401 …` or `last status: 429 …`.
fn status_in(text: &str) -> Option<u16> {
    let after = ["unexpected status ", "last status: "]
        .iter()
        .find_map(|words| text.split_once(words).map(|(_, after)| after))?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn typed_errors() {
        fn check(info: &Value, expected: Option<&FailReason>) {
            assert_eq!(of_info(info, None).as_ref(), expected, "{info}");
        }
        let api = |status| FailReason::ApiError { status };
        check(&json!("usageLimitExceeded"), Some(&FailReason::UsageLimit { resets_at: None }));
        check(&json!("unauthorized"), Some(&api(Some(401))));
        check(&json!("internalServerError"), Some(&api(Some(500))));
        check(&json!("contextWindowExceeded"), Some(&FailReason::StuckConversation));
        check(
            &json!({"responseTooManyFailedAttempts": {"httpStatusCode": 429}}),
            Some(&api(Some(429))),
        );
        check(
            &json!({"responseStreamDisconnected": {"httpStatusCode": 502}}),
            Some(&api(Some(502))),
        );
        check(&json!({"responseStreamDisconnected": {"httpStatusCode": null}}), None);
        check(&json!({"activeTurnNotSteerable": {"turnKind": "review"}}), None);
        check(&json!("other"), None);
        check(&json!("of a later version"), None);
        check(&Value::Null, None);
    }

    #[test]
    fn texts() {
        fn check(text: &str, expected: &FailReason) {
            assert_eq!(&of_text(text), expected, "{text}");
        }
        let api = |status| FailReason::ApiError { status };
        check("unexpected status 401 Unauthorized: boom, url: http://x", &api(Some(401)));
        check("exceeded retry limit, last status: 429 Too Many Requests", &api(Some(429)));
        let disconnected = |why| format!("stream disconnected before completion: {why}");
        check(&disconnected("stream closed before response.completed"), &api(None));
        check(&disconnected("Transport error: network error"), &api(None));
        check(&disconnected("idle timeout waiting for SSE"), &api(None));
        check(&disconnected("msg for content_filter try again in 1.5s"), &FailReason::BrokenOff);
        check("The model `x` does not exist", &api(Some(404)));
        check("You’ve hit your usage limit. Visit", &FailReason::UsageLimit { resets_at: None });
        check("unexpected status 99999 x", &FailReason::AgentError);
        check("something else", &FailReason::AgentError);
    }
}
