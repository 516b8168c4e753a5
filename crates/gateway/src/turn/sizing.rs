//! How many processes should wait for which model: decisions without I/O.
//!
//! [`super::pool`] reports every use, success and failure with the time, and asks for the next
//! steps. Invariants:
//! - waiting and starting processes together are at most `total`, and at most `per_model` for one
//!   model (or `least` for the default model, if that is more);
//! - after a failure no process is started before a pause that doubles with each further failure,
//!   so that a CLI that cannot start costs a process a minute and not one each moment;
//! - a process that has waited for `max_age_seconds` is replaced.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::settings::WarmSettings;

/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The demand for waiting processes, by model. Times count from any fixed moment.
#[derive(Debug)]
pub(crate) struct Sizing {
    settings: WarmSettings,
    default_model: String,
    models: BTreeMap<String, Demand>,
    failures: u32,
    not_before: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Demand {
    wanted: usize,
    last_used: Duration,
}

/// The processes of one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stock {
    /// How many wait.
    pub(crate) idle: usize,
    /// How many are starting.
    pub(crate) starting: usize,
}

/// What the pool is to do, for the model of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Start a process.
    Start(String),
    /// End the oldest process that waits.
    End(String),
}

impl Sizing {
    pub(crate) fn new(settings: WarmSettings, default_model: &str) -> Self {
        Self {
            settings,
            default_model: default_model.to_owned(),
            models: BTreeMap::new(),
            failures: 0,
            not_before: Duration::ZERO,
        }
    }

    /// Notes that a turn wanted a process. Unless one was ready (`hit`), more are wanted.
    pub(crate) fn used(&mut self, model: &str, hit: bool, now: Duration) {
        let least = self.least(model);
        let demand =
            self.models.entry(model.to_owned()).or_insert(Demand { wanted: least, last_used: now });
        demand.last_used = now;
        if !hit {
            demand.wanted = (demand.wanted + 1).min(self.settings.per_model.max(least));
        }
    }

    /// Notes that a process is ready: the CLI works, so the pause after failures ends.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = Duration::ZERO;
    }

    /// Notes that a process did not start, or ended before it was used.
    pub(crate) fn failed(&mut self, now: Duration) {
        let pause = Duration::from_secs(1 << self.failures.min(6)).min(LONGEST_PAUSE);
        self.failures += 1;
        self.not_before = now + pause;
    }

    /// Returns whether a process that has waited since `since` is to be replaced.
    pub(crate) fn is_old(&self, since: Duration, now: Duration) -> bool {
        now.saturating_sub(since) >= self.max_age()
    }

    /// Returns what to do next, with this stock of processes by model.
    pub(crate) fn steps(&mut self, stock: &BTreeMap<String, Stock>, now: Duration) -> Vec<Step> {
        let max_age = self.max_age();
        self.models.retain(|_, demand| now.saturating_sub(demand.last_used) < max_age);
        let mut wanted: Vec<(Duration, &str, usize)> = self
            .models
            .iter()
            .map(|(model, demand)| (demand.last_used, model.as_str(), demand.wanted))
            .collect();
        let default = &self.default_model;
        if !self.models.contains_key(default) {
            wanted.push((Duration::ZERO, default.as_str(), self.settings.least));
        }
        // The models that were used last get their processes first.
        wanted.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        let mut room = self.settings.total;
        let mut target: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, model, wants) in wanted {
            let gets = wants.min(room);
            room -= gets;
            target.insert(model, gets);
        }
        let mut steps = Vec::new();
        let mut alive = 0;
        for (model, has) in stock {
            let gets = target.get(model.as_str()).copied().unwrap_or(0);
            let excess = (has.idle + has.starting).saturating_sub(gets).min(has.idle);
            steps.extend((0..excess).map(|_| Step::End(model.clone())));
            alive += has.idle + has.starting - excess;
        }
        if now >= self.not_before {
            // After a failure processes start one at a time, until one works.
            let mut may = if self.failures > 0 { 1 } else { usize::MAX };
            if self.failures > 0 && stock.values().any(|has| has.starting > 0) {
                may = 0;
            }
            for (model, gets) in target {
                let has = stock.get(model).copied().unwrap_or_default();
                for _ in (has.idle + has.starting)..gets {
                    if alive >= self.settings.total || may == 0 {
                        break;
                    }
                    steps.push(Step::Start(model.to_owned()));
                    (alive, may) = (alive + 1, may - 1);
                }
            }
        }
        steps
    }

    fn least(&self, model: &str) -> usize {
        if model == self.default_model { self.settings.least } else { 0 }
    }

    fn max_age(&self) -> Duration {
        Duration::from_secs(self.settings.max_age_seconds.max(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;
    const WARM: WarmSettings =
        WarmSettings { least: 1, per_model: 2, total: 3, max_age_seconds: 600 };

    fn stock(of: &[(&str, usize, usize)]) -> BTreeMap<String, Stock> {
        let has = |(model, idle, starting): &(&str, usize, usize)| {
            ((*model).to_owned(), Stock { idle: *idle, starting: *starting })
        };
        of.iter().map(has).collect()
    }

    #[track_caller]
    fn check(sizing: &mut Sizing, has: &[(&str, usize, usize)], at: u64, expected: &[&str]) {
        let steps = sizing.steps(&stock(has), S(at));
        let words: Vec<String> = steps
            .iter()
            .map(|step| match step {
                Step::Start(model) => format!("+{model}"),
                Step::End(model) => format!("-{model}"),
            })
            .collect();
        assert_eq!(words, expected);
    }

    #[test]
    fn the_default_model_always_has_its_least() {
        let mut sizing = Sizing::new(WARM, "sonnet");
        check(&mut sizing, &[], 0, &["+sonnet"]);
        check(&mut sizing, &[("sonnet", 0, 1)], 0, &[]);
        check(&mut sizing, &[("sonnet", 1, 0)], 0, &[]);
        check(&mut sizing, &[("sonnet", 3, 0)], 0, &["-sonnet", "-sonnet"]);
    }

    #[test]
    fn demand_grows_a_models_share_up_to_its_bound_and_silence_ends_it() {
        let mut sizing = Sizing::new(WARM, "sonnet");
        for at in 1..6 {
            sizing.used("opus", false, S(at));
        }
        check(&mut sizing, &[("sonnet", 1, 0)], 6, &["+opus", "+opus"]);
        check(&mut sizing, &[("sonnet", 1, 0), ("opus", 2, 0)], 604, &[]);
        check(&mut sizing, &[("sonnet", 1, 0), ("opus", 2, 0)], 606, &["-opus", "-opus"]);
    }

    #[test]
    fn the_total_is_shared_by_who_came_last() {
        let mut sizing = Sizing::new(WARM, "sonnet");
        for at in 1..4 {
            sizing.used("opus", false, S(at));
            sizing.used("haiku", false, S(at + 10));
        }
        check(&mut sizing, &[], 20, &["+haiku", "+haiku", "+opus"]);
        check(
            &mut sizing,
            &[("opus", 2, 0), ("sonnet", 1, 0)],
            20,
            &["-opus", "-sonnet", "+haiku", "+haiku"],
        );
    }

    #[test]
    fn a_failing_program_is_tried_one_at_a_time_after_ever_longer_pauses() {
        let warm = WarmSettings { least: 3, per_model: 3, ..WARM };
        let mut sizing = Sizing::new(warm, "sonnet");
        check(&mut sizing, &[], 0, &["+sonnet", "+sonnet", "+sonnet"]);
        sizing.failed(S(0));
        check(&mut sizing, &[], 0, &[]);
        check(&mut sizing, &[], 1, &["+sonnet"]);
        check(&mut sizing, &[("sonnet", 0, 1)], 1, &[]);
        for _ in 0..10 {
            sizing.failed(S(100));
        }
        check(&mut sizing, &[], 159, &[]);
        check(&mut sizing, &[], 160, &["+sonnet"]);
        sizing.succeeded();
        check(&mut sizing, &[("sonnet", 1, 0)], 161, &["+sonnet", "+sonnet"]);
    }

    #[test]
    fn nothing_waits_where_nothing_may() {
        let none = WarmSettings { least: 0, per_model: 0, total: 0, max_age_seconds: 0 };
        let mut sizing = Sizing::new(none, "sonnet");
        sizing.used("sonnet", false, S(1));
        check(&mut sizing, &[], 1, &[]);
    }

    proptest! {
        #[test]
        fn there_are_never_more_than_allowed(
            calls in proptest::collection::vec((0u8..4, 0u8..3, any::<bool>()), 0..80),
        ) {
            let mut sizing = Sizing::new(WARM, "0");
            let mut has: BTreeMap<String, Stock> = BTreeMap::new();
            for (at, (what, model, flag)) in calls.into_iter().enumerate() {
                let (model, now) = (model.to_string(), S(at as u64));
                match what {
                    0 => {
                        let stock = has.entry(model.clone()).or_default();
                        let hit = stock.idle > 0;
                        stock.idle -= usize::from(hit);
                        sizing.used(&model, hit, now);
                    }
                    1 => {
                        let stock = has.entry(model).or_default();
                        if stock.starting > 0 {
                            stock.starting -= 1;
                            if flag {
                                stock.idle += 1;
                                sizing.succeeded();
                            } else {
                                sizing.failed(now);
                            }
                        }
                    }
                    _ => {
                        for step in sizing.steps(&has, now) {
                            match step {
                                Step::Start(model) => has.entry(model).or_default().starting += 1,
                                Step::End(model) => has.entry(model).or_default().idle -= 1,
                            }
                        }
                    }
                }
                let all: usize = has.values().map(|stock| stock.idle + stock.starting).sum();
                prop_assert!(all <= WARM.total, "{:?}", has);
                prop_assert!(has.values().all(|stock| stock.idle + stock.starting <= WARM.per_model));
            }
        }
    }
}
