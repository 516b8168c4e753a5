//! What the service counts, for Prometheus.
//!
//! Labels come from small, fixed sets (routes, status codes, outcomes), never from tokens or from
//! what callers write.

use std::sync::atomic::AtomicU64;

use afk_agent::agents::TurnOutcome;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::admission::Load;
use crate::turn::transcript::Verdict;

/// Buckets of the histogram of times to the first piece, in seconds.
const FIRST: [f64; 9] = [0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

/// Labels of an answered request.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Answered {
    route: &'static str,
    status: u16,
}

/// Labels of a turn that is over.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TurnLabels {
    outcome: &'static str,
}

/// Labels of a turn that begins: `process` is `warm` or `cold`.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Started {
    process: &'static str,
}

/// The counters.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<Answered, Counter>,
    turns: Family<TurnLabels, Counter>,
    started: Family<Started, Counter>,
    deltas: Counter,
    replaced: Counter,
    cost: Counter<f64, AtomicU64>,
    first: Histogram,
    active: Gauge,
    queued: Gauge,
    warm: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("afk_gateway");
        let metrics = Self {
            requests: Family::default(),
            turns: Family::default(),
            started: Family::default(),
            deltas: Counter::default(),
            replaced: Counter::default(),
            cost: Counter::default(),
            first: Histogram::new(FIRST),
            active: Gauge::default(),
            queued: Gauge::default(),
            warm: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Answered requests", metrics.requests.clone());
        registry.register("turns", "Turns that are over", metrics.turns.clone());
        registry.register(
            "starts",
            "Turns begun, by waiting and new processes",
            metrics.started.clone(),
        );
        registry.register("deltas", "Pieces of streamed answers", metrics.deltas.clone());
        let lost = "Replacement characters that the CLI printed itself";
        registry.register("replacement_characters", lost, metrics.replaced.clone());
        registry.register("cost_usd", "Costs that the CLI reported", metrics.cost.clone());
        let first = "Time from a streamed request to its first piece, seconds";
        registry.register("first_delta_seconds", first, metrics.first.clone());
        registry.register("active", "Agents that run", metrics.active.clone());
        registry.register("queued", "Calls that wait", metrics.queued.clone());
        registry.register("warm_processes", "Processes that wait", metrics.warm.clone());
        Self { registry, ..metrics }
    }
}

impl Metrics {
    pub(crate) fn answered(&self, route: &'static str, status: u16) {
        self.requests.get_or_create(&Answered { route, status }).inc();
    }

    pub(crate) fn started(&self, warm: bool) {
        let process = if warm { "warm" } else { "cold" };
        self.started.get_or_create(&Started { process }).inc();
    }

    pub(crate) fn first(&self, seconds: f64) {
        self.first.observe(seconds);
    }

    pub(crate) fn streamed(&self, deltas: u64, replaced: u64) {
        self.deltas.inc_by(deltas);
        self.replaced.inc_by(replaced);
    }

    pub(crate) fn turn(&self, verdict: &Verdict) {
        let outcome = match verdict.outcome {
            TurnOutcome::Finished { .. } => "finished",
            TurnOutcome::Failed { .. } => "failed",
            TurnOutcome::Interrupted => "stopped",
            TurnOutcome::Lost => "lost",
        };
        self.turns.get_or_create(&TurnLabels { outcome }).inc();
        if verdict.cost_usd.is_finite() && verdict.cost_usd > 0.0 {
            self.cost.inc_by(verdict.cost_usd);
        }
    }

    /// Returns all metrics as `OpenMetrics` text, with the given gauges.
    pub(crate) fn text(&self, load: Load, warm: usize) -> String {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.active.set(number(load.active));
        self.queued.set(number(load.queued));
        self.warm.set(number(warm));
        let mut text = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_shown() {
        let metrics = Metrics::default();
        metrics.answered("/execute", 202);
        metrics.streamed(500, 1);
        metrics.started(true);
        let text = metrics.text(Load { active: 1, queued: 2, capacity: 3 }, 4);
        for line in [
            "afk_gateway_requests_total{route=\"/execute\",status=\"202\"} 1",
            "afk_gateway_deltas_total 500",
            "afk_gateway_replacement_characters_total 1",
            "afk_gateway_starts_total{process=\"warm\"} 1",
            "afk_gateway_active 1",
            "afk_gateway_queued 2",
            "afk_gateway_warm_processes 4",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
    }
}
