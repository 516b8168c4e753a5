//! What the failures of ACP agents mean.
//!
//! The protocol has no kinds of failure. Two adapters type their failures in an extension that the
//! client must ask for (`sessionFailure` in `_meta.jetbrains.air`); others answer the prompt with a
//! JSON-RPC error.

use jiff::Timestamp;
use serde_json::Value;

use crate::agents::codex::errors;
use crate::agents::outcome::FailReason;

/// The JSON-RPC error code that says that the client must sign in.
pub(super) const AUTH_REQUIRED: i64 = -32000;

/// The meaning and the text of a typed failure in `meta`; `None` if there is none, or it is a mere
/// notice.
pub(super) fn typed(
    meta: Option<&Value>,
    resets_at: Option<Timestamp>,
) -> Option<(FailReason, String)> {
    let failure = meta?.pointer("/jetbrains/air/sessionFailure")?;
    let text = |name: &str| failure.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("severity") != "error" {
        return None;
    }
    let actions = failure.get("actions").and_then(Value::as_array);
    let helps = |action: &str| {
        actions.is_some_and(|actions| actions.iter().any(|known| known.as_str() == Some(action)))
    };
    let said = match (text("title"), text("details")) {
        (title, "") => title.to_owned(),
        (title, details) => format!("{title}: {details}"),
    };
    let reason = match text("category") {
        // The conversation is full, or has used up a budget of the agent's own.
        "limit" if helps("new_session") => FailReason::StuckConversation,
        "limit" if helps("retry") => FailReason::ApiError { status: Some(429) },
        "limit" => FailReason::UsageLimit { resets_at },
        "access" => FailReason::NotSignedIn,
        "service" => FailReason::ApiError { status: Some(500) },
        "connection" => FailReason::ApiError { status: None },
        _ => FailReason::in_words(&said).unwrap_or(FailReason::AgentError),
    };
    Some((reason, said))
}

/// Reads the number of the retry and the maximum from a notice in `meta`, such as `Retrying Claude,
/// attempt 2 of 10.`
pub(super) fn retry(meta: Option<&Value>) -> Option<(u32, u32)> {
    let title = meta?.pointer("/jetbrains/air/sessionFailure/title")?.as_str()?;
    let (_, rest) = title.split_once("attempt ")?;
    let (attempt, max) = rest.trim_end_matches('.').split_once(" of ")?;
    Some((attempt.parse().ok()?, max.parse().ok()?))
}

/// The meaning and the text of a JSON-RPC error.
pub(super) fn of_error(error: &Value) -> (FailReason, String) {
    let code = error.get("code").and_then(Value::as_i64).unwrap_or(0);
    let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
    let data = error.get("data").unwrap_or(&Value::Null);
    let details = match data {
        Value::String(text) => Some(text.as_str()),
        _ => data.get("details").or_else(|| data.get("message")).and_then(Value::as_str),
    };
    let said = match details {
        Some(details) => format!("{message}: {details}"),
        None => message.to_owned(),
    };
    if code == AUTH_REQUIRED {
        return (FailReason::NotSignedIn, said);
    }
    let typed = data.get("codexErrorInfo").and_then(|info| errors::of_info(info, None));
    let kind = data.get("errorKind").and_then(Value::as_str).unwrap_or_default();
    let reason = typed.or_else(|| of_kind(kind)).or_else(|| {
        // Some agents pass on the HTTP status of their model's API as the code.
        let status = u16::try_from(code).ok().filter(|status| (400..600).contains(status));
        status.map(|status| FailReason::ApiError { status: Some(status) })
    });
    (reason.unwrap_or_else(|| errors::of_text(&said)), said)
}

fn of_kind(kind: &str) -> Option<FailReason> {
    let api = |status| Some(FailReason::ApiError { status });
    match kind {
        "rate_limit" | "rate_limited" => api(Some(429)),
        "overloaded" => api(Some(529)),
        "server_error" | "internal_error" | "provider_error" => api(Some(500)),
        "transport_lost" | "worker_shutdown" => api(None),
        "authentication_failed" | "auth_required" => Some(FailReason::NotSignedIn),
        "billing_error" | "quota_exhausted" => Some(FailReason::UsageLimit { resets_at: None }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn typed_failures() {
        fn check(category: &str, actions: &[&str], expected: &FailReason) {
            let failure = json!({"category": category, "severity": "error", "title": "t",
                "actions": actions});
            let meta = json!({"jetbrains": {"air": {"sessionFailure": failure}}});
            assert_eq!(typed(Some(&meta), None).unwrap(), (expected.clone(), "t".to_owned()));
        }
        let api = |status| FailReason::ApiError { status };
        check("limit", &[], &FailReason::UsageLimit { resets_at: None });
        check("limit", &["retry"], &api(Some(429)));
        check("limit", &["new_session"], &FailReason::StuckConversation);
        check("service", &["retry", "new_session"], &api(Some(500)));
        check("connection", &["new_session"], &api(None));
        check("access", &["login"], &FailReason::NotSignedIn);
        check("request", &[], &FailReason::AgentError);
        check("of a later version", &[], &FailReason::AgentError);
        let notice = json!({"jetbrains": {"air": {"sessionFailure":
            {"category": "service", "severity": "warning",
             "title": "Retrying Claude, attempt 2 of 10."}}}});
        assert_eq!(typed(Some(&notice), None), None);
        assert_eq!(retry(Some(&notice)), Some((2, 10)));
        assert_eq!(typed(None, None), None);
    }

    #[test]
    fn errors_of_the_rpc() {
        fn check(error: &Value, expected: &FailReason, says: &str) {
            let (reason, said) = of_error(error);
            assert_eq!((&reason, said.as_str()), (expected, says), "{error}");
        }
        let api = |status| FailReason::ApiError { status };
        check(
            &json!({"code": -32000, "message": "Authentication required"}),
            &FailReason::NotSignedIn,
            "Authentication required",
        );
        let lacks = json!({"details": "Credit balance is too low"});
        check(
            &json!({"code": -32603, "message": "Internal error", "data": lacks}),
            &FailReason::NoCredit,
            "Internal error: Credit balance is too low",
        );
        check(
            &json!({"code": -32603, "message": "Internal error", "data": {"details": "boom"}}),
            &FailReason::AgentError,
            "Internal error: boom",
        );
        check(
            &json!({"code": -32603, "message": "x", "data": {"errorKind": "overloaded"}}),
            &api(Some(529)),
            "x",
        );
        check(
            &json!({"code": -32603, "message": "x", "data": {"codexErrorInfo": "unauthorized"}}),
            &api(Some(401)),
            "x",
        );
        check(&json!({"code": 429, "message": "slow down"}), &api(Some(429)), "slow down");
        check(&json!({}), &FailReason::AgentError, "");
    }
}
