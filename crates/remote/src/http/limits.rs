//! Rate limits, as a home names them in its answers.
//!
//! Limits belong to an account, not to a repo. How long to wait follows, in this order, from
//! `retry-after`; from a quota that is spent, until its reset; else it is a minute, doubled for
//! each limit in a row. The reset is taken relative to the home's own clock, so that a clock that
//! differs from ours neither ends a limit early nor keeps it for hours.

use afk_core::ids::At;
use jiff::SignedDuration;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::answer::{Answer, refusal_text};

/// The first wait where the home does not name a time.
const UNSAID: SignedDuration = SignedDuration::from_mins(1);
/// The longest wait; a home that names a longer time is asked again after this one.
const LONGEST: SignedDuration = SignedDuration::from_hours(2);
/// How many limits in a row double the wait where the home does not name a time.
const STRIKES: u32 = 4;

/// An account's quota, as its last answer told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Quota {
    /// Requests allowed in a whole period; 0 if the home does not say.
    pub(crate) limit: u64,
    /// Requests left.
    pub(crate) remaining: u64,
    /// When the period ends, by our clock.
    pub(crate) reset: At,
}

impl Quota {
    /// Reads the quota from the `x-ratelimit-*` headers; none without them.
    pub(super) fn of(headers: &HeaderMap, now: At) -> Option<Self> {
        let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<i64>().ok();
        let remaining = number("x-ratelimit-remaining")?;
        let reset = number("x-ratelimit-reset").and_then(|at| At::from_second(at).ok())?;
        let left = reset.duration_since(Answer::date(headers).unwrap_or(now));
        Some(Self {
            limit: number("x-ratelimit-limit").map_or(0, i64::unsigned_abs),
            remaining: u64::try_from(remaining).unwrap_or(0),
            reset: after(now, left),
        })
    }
}

/// Returns until when this answer forbids further requests, if it does. `strikes` is the number of
/// limits in a row before it.
pub(super) fn limited(
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    strikes: u32,
    now: At,
) -> Option<At> {
    let spent = Quota::of(headers, now).filter(|quota| quota.remaining == 0);
    let refused = match status.as_u16() {
        429 => true,
        403 => {
            headers.contains_key("retry-after")
                || spent.is_some()
                || is_secondary(&refusal_text(body))
        }
        // GraphQL reports a limit with status 200.
        200 => is_graphql_limit(headers, body),
        _ => false,
    };
    if !refused {
        // The last request that was left: the next one would be refused.
        return spent.map(|quota| quota.reset).filter(|reset| *reset > now);
    }
    let named = headers.get("retry-after").and_then(|text| text.to_str().ok());
    let named = named.and_then(|text| retry_after(text, headers, now));
    let until = named.or(spent.map(|quota| quota.reset));
    Some(until.unwrap_or_else(|| after(now, UNSAID * (1 << strikes.min(STRIKES)))))
}

/// Returns until when a receiver to which we have no account, such as a webhook's, asks us to wait.
pub(crate) fn retry_at(status: StatusCode, headers: &HeaderMap, now: At) -> Option<At> {
    let named = headers.get("retry-after").and_then(|text| text.to_str().ok());
    let named = named.and_then(|text| retry_after(text, headers, now));
    match status.as_u16() {
        429 => Some(named.unwrap_or_else(|| after(now, UNSAID))),
        503 => named,
        _ => None,
    }
}

/// Reads a `retry-after`: a number of seconds, or a date by the home's clock.
fn retry_after(text: &str, headers: &HeaderMap, now: At) -> Option<At> {
    if let Ok(seconds) = text.trim().parse::<i64>() {
        return Some(after(now, SignedDuration::from_secs(seconds)));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(after(now, at.duration_since(Answer::date(headers).unwrap_or(now))))
}

/// The time after a wait of at least a second and at most [`LONGEST`].
fn after(now: At, wait: SignedDuration) -> At {
    let wait = wait.clamp(SignedDuration::from_secs(1), LONGEST);
    now.checked_add(wait).unwrap_or(now)
}

fn is_secondary(said: &str) -> bool {
    let said = said.to_lowercase();
    said.contains("rate limit") || said.contains("abuse")
}

/// Whether a GraphQL answer is a limit: it has an error of that type, or, without any data, an
/// error that says so, or any error together with `retry-after`. Only short answers are read: a
/// limit is short, and most answers are long.
fn is_graphql_limit(headers: &HeaderMap, body: &[u8]) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Whole {
        data: Option<IgnoredAny>,
        errors: Vec<GraphError>,
        message: String,
    }
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct GraphError {
        #[serde(rename = "type")]
        kind: String,
        message: String,
    }
    if body.len() >= 4096 {
        return false;
    }
    let Ok(Whole { data, errors, message }) = serde_json::from_slice(body) else { return false };
    let names = |error: &GraphError| error.kind.starts_with("RATE_LIMIT");
    // Beside data, messages may quote what people wrote.
    let nothing_else = data.is_none();
    let says = errors.iter().any(|error| is_secondary(&error.message))
        || message.to_lowercase().contains("secondary rate limit");
    let waits = headers.contains_key("retry-after") && !errors.is_empty();
    errors.iter().any(names) || (nothing_else && (says || waits))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    /// Checks in how many seconds the home may be asked again.
    fn check(status: u16, pairs: &[(&'static str, &str)], body: &str, expected: Option<i64>) {
        let headers = pairs.iter().map(|(name, value)| {
            (reqwest::header::HeaderName::from_static(name), value.parse().unwrap())
        });
        let headers: HeaderMap = headers.collect();
        let now = At::from_second(NOW).unwrap();
        let status = StatusCode::from_u16(status).unwrap();
        let until = limited(status, &headers, body.as_bytes(), 0, now);
        assert_eq!(until.map(|at| at.as_second() - NOW), expected, "{status} {pairs:?} {body}");
    }

    #[test]
    fn a_home_says_when_it_may_be_asked_again() {
        let reset = (NOW + 900).to_string();
        let (spent, left) = (("x-ratelimit-remaining", "0"), ("x-ratelimit-remaining", "7"));
        let reset = ("x-ratelimit-reset", reset.as_str());
        check(200, &[], "{}", None);
        check(200, &[left, reset], "{}", None);
        check(304, &[spent, reset], "", Some(900));
        check(403, &[], r#"{"message":"Resource not accessible by integration"}"#, None);
        check(403, &[left, reset], r#"{"message":"Must have push access"}"#, None);
        check(403, &[spent, reset], "{}", Some(900));
        check(429, &[spent, reset], "{}", Some(900));
        check(403, &[("retry-after", "30"), spent, reset], "{}", Some(30));
        check(429, &[], "", Some(60));
        // A secondary limit comes while the quota is not spent.
        let body = r#"{"message":"You have exceeded a secondary rate limit."}"#;
        check(403, &[left, reset], body, Some(60));
        check(403, &[], r#"{"message":"abuse detection mechanism"}"#, Some(60));
        check(200, &[], r#"{"errors":[{"type":"RATE_LIMITED"}]}"#, Some(60));
        check(200, &[], r#"{"data":{"body":"RATE_LIMITED"}}"#, None);
        let body =
            r#"{"data":null,"errors":[{"message":"You have exceeded a secondary rate limit."}]}"#;
        check(200, &[left, reset], body, Some(60));
        check(200, &[], r#"{"message":"You have exceeded a secondary rate limit."}"#, Some(60));
        let body = r#"{"errors":[{"message":"Something went wrong."}]}"#;
        check(200, &[("retry-after", "30")], body, Some(30));
        check(200, &[], body, None);
        check(200, &[("retry-after", "30")], r#"{"data":{}}"#, None);
        check(200, &[], r#"{"title":"secondary rate limit","body":"rate limit"}"#, None);
        check(502, &[], "", None);
    }

    #[test]
    fn a_receiver_without_an_account_says_when_too() {
        let now = At::from_second(NOW).unwrap();
        let check = |status: u16, named: Option<&'static str>, expected: Option<i64>| {
            let named = named.map(|text| (reqwest::header::RETRY_AFTER, text.parse().unwrap()));
            let status = StatusCode::from_u16(status).unwrap();
            let until = retry_at(status, &named.into_iter().collect(), now);
            assert_eq!(until.map(|at| at.as_second() - NOW), expected, "{status}");
        };
        check(429, Some("30"), Some(30));
        check(429, None, Some(60));
        check(503, Some("5"), Some(5));
        check(503, None, None);
        check(403, Some("30"), None);
    }

    #[test]
    fn clocks_that_differ_change_nothing() {
        let pairs = |date, reset: i64| {
            [
                ("date", date),
                ("x-ratelimit-remaining", "0".to_owned()),
                ("x-ratelimit-reset", reset.to_string()),
            ]
        };
        for skew in [-7200, 0, 86_400] {
            let theirs = At::from_second(NOW + skew).unwrap();
            let date = jiff::fmt::rfc2822::DateTimePrinter::new()
                .timestamp_to_rfc9110_string(&theirs)
                .unwrap();
            let pairs = pairs(date, NOW + skew + 120);
            let pairs: Vec<_> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
            check(403, &pairs, "{}", Some(120));
        }
        // A reset that no home means.
        check(429, &[("retry-after", "999999")], "", Some(7200));
        check(429, &[("retry-after", "-5")], "", Some(1));
    }

    #[test]
    fn limits_in_a_row_are_waited_out_longer() {
        let now = At::from_second(NOW).unwrap();
        let after = |strikes| {
            let until =
                limited(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new(), b"", strikes, now);
            until.unwrap().duration_since(now).as_secs()
        };
        assert_eq!([0, 1, 2, 3, 4, 9].map(after), [60, 120, 240, 480, 960, 960]);
    }
}
