//! What each token has used, against its limits: requests a minute, requests at once, dollars a day.
//!
//! A state machine over injected time; [`super::service`] holds it and writes the spend to a file
//! after each turn, so that a restart forgives nothing. It is bounded by the number of tokens.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::tokens::TokenLimits;

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

/// The use of every token.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    tokens: BTreeMap<String, Used>,
}

#[derive(Debug, Default)]
struct Used {
    minute: i64,
    requests: u32,
    active: u32,
    day: i64,
    usd: f64,
}

/// What a day cost, by token: what is kept on disk.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spend {
    /// Days since 1970, UTC.
    pub(crate) day: i64,
    /// US dollars by token.
    pub(crate) usd: BTreeMap<String, f64>,
}

/// A limit that was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) what: String,
    /// Whole seconds until another try makes sense.
    pub(crate) retry_after: u64,
}

impl Usage {
    /// Goes on with what was spent before a restart.
    pub(crate) fn resume(spend: &Spend) -> Self {
        let of_today = |usd: &f64| Used { day: spend.day, usd: *usd, ..Used::default() };
        let tokens = spend.usd.iter().map(|(name, usd)| (name.clone(), of_today(usd)));
        Self { tokens: tokens.collect() }
    }

    /// Counts a request in, or tells which limit it meets.
    pub(crate) fn enter(
        &mut self,
        token: &str,
        limits: &TokenLimits,
        now: Timestamp,
    ) -> Result<(), Reached> {
        let second = now.as_second();
        let used = self.tokens.entry(token.to_owned()).or_default();
        used.turn_over(second);
        let reached = |what: String, retry_after: i64| {
            Err(Reached { what, retry_after: retry_after.max(1) as u64 })
        };
        if let Some(most) = limits.usd_per_day
            && used.usd >= most
        {
            let left = DAY - second.rem_euclid(DAY);
            return reached(format!("this token has spent its {most} US dollars of today"), left);
        }
        if let Some(most) = limits.concurrency
            && used.active >= most
        {
            return reached(format!("this token runs {most} requests at once at most"), 1);
        }
        if let Some(most) = limits.requests_per_minute
            && used.requests >= most
        {
            let left = MINUTE - second.rem_euclid(MINUTE);
            return reached(format!("this token sends {most} requests a minute at most"), left);
        }
        used.requests += 1;
        used.active += 1;
        Ok(())
    }

    /// How many US dollars a token has left of its day; none if it has no such limit.
    pub(crate) fn left(
        &mut self,
        token: &str,
        limits: &TokenLimits,
        now: Timestamp,
    ) -> Option<f64> {
        let most = limits.usd_per_day?;
        let used = self.tokens.entry(token.to_owned()).or_default();
        used.turn_over(now.as_second());
        Some((most - used.usd).max(0.0))
    }

    /// Counts a request out.
    pub(crate) fn leave(&mut self, token: &str) {
        if let Some(used) = self.tokens.get_mut(token) {
            used.active = used.active.saturating_sub(1);
        }
    }

    /// Counts what a turn cost.
    pub(crate) fn spent(&mut self, token: &str, cost: f64, now: Timestamp) {
        let used = self.tokens.entry(token.to_owned()).or_default();
        used.turn_over(now.as_second());
        if cost.is_finite() && cost > 0.0 {
            used.usd += cost;
        }
    }

    /// What is to be kept.
    pub(crate) fn spend(&self, now: Timestamp) -> Spend {
        let day = now.as_second().div_euclid(DAY);
        let is_today = |used: &&Used| used.day == day && used.usd > 0.0;
        let costs = self.tokens.iter().filter(|(_, used)| is_today(used));
        Spend { day, usd: costs.map(|(name, used)| (name.clone(), used.usd)).collect() }
    }
}

impl Used {
    fn turn_over(&mut self, second: i64) {
        let (minute, day) = (second.div_euclid(MINUTE), second.div_euclid(DAY));
        if minute != self.minute {
            (self.minute, self.requests) = (minute, 0);
        }
        if day != self.day {
            (self.day, self.usd) = (day, 0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn requests_a_minute_and_at_once_are_bounded() {
        let limits =
            TokenLimits { requests_per_minute: Some(3), concurrency: Some(2), usd_per_day: None };
        let mut usage = Usage::default();
        usage.enter("a", &limits, at(0)).unwrap();
        usage.enter("a", &limits, at(1)).unwrap();
        assert!(usage.enter("a", &limits, at(2)).unwrap_err().what.contains("2 requests at once"));
        usage.enter("b", &limits, at(2)).unwrap();
        usage.leave("a");
        usage.enter("a", &limits, at(3)).unwrap();
        usage.leave("a");
        let reached = usage.enter("a", &limits, at(20)).unwrap_err();
        assert!(reached.what.contains("3 requests a minute"));
        assert_eq!(reached.retry_after, 40);
        usage.enter("a", &limits, at(60)).unwrap();
    }

    #[test]
    fn a_day_s_spend_is_bounded_and_survives_a_restart() {
        let limits = TokenLimits { usd_per_day: Some(1.0), ..TokenLimits::default() };
        let mut usage = Usage::default();
        usage.spent("a", 0.6, at(10));
        usage.spent("a", f64::NAN, at(10));
        usage.enter("a", &limits, at(11)).unwrap();
        assert!((usage.left("a", &limits, at(11)).unwrap() - 0.4).abs() < 1e-9);
        assert_eq!(usage.left("a", &TokenLimits::default(), at(11)), None);
        usage.spent("a", 0.5, at(12));
        assert_eq!(usage.left("a", &limits, at(12)), Some(0.0));
        let kept = usage.spend(at(13));
        let mut usage = Usage::resume(&kept);
        let reached = usage.enter("a", &limits, at(14)).unwrap_err();
        assert!(reached.what.contains("spent its 1 US dollars"), "{reached:?}");
        assert_eq!(reached.retry_after, 86_386);
        usage.enter("a", &limits, at(DAY)).unwrap();
        assert_eq!(usage.spend(at(DAY)), Spend { day: 1, usd: BTreeMap::new() });
    }
}
