//! `GET /metrics`: what a control plane counts, for Prometheus.
//!
//! That is the use of the accounts at forges: what is left of their quotas, and how requests were
//! answered. The metrics of the gateway, which may be served at the same address, are in the same
//! text. Labels are the forges' names in the configuration, and a small, fixed set of answers.

use std::sync::Arc;

use afk_core::ids::At;
use afk_http::bearer;
use afk_remote::{AnswerCounts, ForgeLimits, ForgeUse};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::ApiState;

/// The last line of an `OpenMetrics` text.
const END: &str = "# EOF\n";

/// Who may read metrics, and which others are shown with ours.
#[derive(Clone)]
pub struct MetricsAccess {
    /// Whether the bearer token allows reading metrics.
    pub allows: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    /// Returns the metrics of another server at this address, as an `OpenMetrics` text.
    pub beside: Option<Arc<dyn Fn() -> String + Send + Sync>>,
}

/// Answers with the metrics, if the request's token allows it.
pub(crate) async fn show(State(state): State<ApiState>, headers: HeaderMap) -> Response {
    if !bearer(&headers).is_some_and(|token| (state.metrics_access.allows)(token)) {
        let why = "a token of the scope metrics opens this: `afk token new NAME --scope metrics`\n";
        let wanted = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, wanted, why).into_response();
    }
    let beside = state.metrics_access.beside.as_ref().map(|beside| beside()).unwrap_or_default();
    let text = joined(&beside, &text(&state.forges.in_use().await));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Joins two texts into one, with one end.
fn joined(first: &str, second: &str) -> String {
    format!("{}{second}", first.strip_suffix(END).unwrap_or(first))
}

/// The labels of a metric of a forge.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Forge {
    forge: String,
}

/// The labels of the count of requests to a forge that were answered in one way.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    forge: String,
    answer: &'static str,
}

/// The metrics of the forges' use, as an `OpenMetrics` text.
fn text(forges: &[ForgeUse]) -> String {
    let mut registry = Registry::with_prefix("afk_forge");
    let gauge = |registry: &mut Registry, name: &str, help: &str| {
        let family = Family::<Forge, Gauge>::default();
        registry.register(name, help, family.clone());
        family
    };
    let left = gauge(&mut registry, "requests_left", "Requests left of the account's limit");
    let most = gauge(&mut registry, "requests_limit", "The account's limit of requests");
    let reset = "When the account's limit begins anew, seconds since 1970";
    let reset = gauge(&mut registry, "limit_reset_timestamp_seconds", reset);
    let paused = "Until when nothing is sent because of a limit, seconds since 1970; 0 if it is";
    let paused = gauge(&mut registry, "paused_until_timestamp_seconds", paused);
    let requests = Family::<Answered, Counter>::default();
    registry.register("requests", "Requests of this process, by their answers", requests.clone());
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    for ForgeUse { limits: ForgeLimits { name, left: quota, until }, answers } in forges {
        let at = Forge { forge: name.to_string() };
        // A forge that names no quota has no such metric: 0 would be wrong.
        if let Some((remaining, limit, resets)) = quota {
            left.get_or_create(&at).set(number(*remaining));
            most.get_or_create(&at).set(number(*limit));
            reset.get_or_create(&at).set(resets.as_second());
        }
        paused.get_or_create(&at).set(until.map_or(0, At::as_second));
        let AnswerCounts { whole, unchanged, limited, refused, missing } = *answers;
        for (answer, count) in [
            ("whole", whole),
            ("unchanged", unchanged),
            ("limited", limited),
            ("refused", refused),
            ("missing", missing),
        ] {
            let of = Answered { forge: name.to_string(), answer };
            requests.get_or_create(&of).inc_by(count);
        }
    }
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_forge_tells_of_its_limits_is_shown_and_nothing_else() {
        let at = |second| At::from_second(second).unwrap();
        let answers =
            AnswerCounts { whole: 7, unchanged: 300, limited: 1, ..AnswerCounts::default() };
        let told = ForgeUse {
            limits: ForgeLimits {
                name: "github".parse().unwrap(),
                left: Some((4_900, 5_000, at(1_800_000_900))),
                until: Some(at(1_800_000_060)),
            },
            answers,
        };
        let silent = ForgeUse {
            limits: ForgeLimits { name: "home".parse().unwrap(), left: None, until: None },
            answers: AnswerCounts::default(),
        };
        let text = text(&[told, silent]);
        for line in [
            "afk_forge_requests_left{forge=\"github\"} 4900",
            "afk_forge_requests_limit{forge=\"github\"} 5000",
            "afk_forge_limit_reset_timestamp_seconds{forge=\"github\"} 1800000900",
            "afk_forge_paused_until_timestamp_seconds{forge=\"github\"} 1800000060",
            "afk_forge_paused_until_timestamp_seconds{forge=\"home\"} 0",
            "afk_forge_requests_total{forge=\"github\",answer=\"unchanged\"} 300",
            "afk_forge_requests_total{forge=\"github\",answer=\"limited\"} 1",
            "afk_forge_requests_total{forge=\"home\",answer=\"missing\"} 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
        assert!(!text.contains("requests_left{forge=\"home\"}"), "{text}");
        let both = joined("# TYPE a gauge\na 1\n# EOF\n", &text);
        assert!(both.starts_with("# TYPE a gauge\na 1\n# HELP afk_forge"), "{both}");
        assert_eq!(both.matches("# EOF").count(), 1, "{both}");
    }
}
