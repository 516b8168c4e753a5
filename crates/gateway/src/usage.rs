//! What each token has used, against its limits: requests a minute, requests at once, dollars a day.
//!
//! A state machine over injected time; [`super::service`] holds it and writes the spend to a file
//! after each turn, so that a restart forgives nothing. It is bounded by the number of tokens.
//!
//! Invariant: when a request begins, what its token has spent today and what is reserved for the
//! token's requests under way are together at most the token's limit for the day. A request
//! reserves the most that it may cost, or all that is left if that is less, and has it as its
//! budget; what it does not spend is free again when it is over. So requests that run at the same
//! time cannot pass the limit together: only a turn's overshoot can, as the CLI checks a budget
//! after each call.
//!
//! Nor does a turn become free by being broken off: a request that begins one ([`Usage::began`])
//! and leaves without telling its cost is charged what was reserved for it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::tokens::TokenLimits;

const MINUTE: i64 = 60;
const DAY: i64 = 86_400;
/// Less than this many US dollars counts as nothing left: it comes from rounding, and pays no turn.
const LEAST_USD: f64 = 1e-6;

/// The use of every token.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    tokens: BTreeMap<String, Used>,
    next: u64,
}

#[derive(Debug, Default)]
struct Used {
    /// The minute that `requests` counts, since 1970.
    minute: i64,
    requests: u32,
    /// What each request under way may still cost. Kept one by one and summed when needed, because
    /// a running sum of floats does not come back to zero.
    under_way: BTreeMap<Number, Share>,
    /// The day that `usd` was spent on, in days since 1970, UTC.
    day: i64,
    usd: f64,
}

/// What a request under way may still cost.
#[derive(Debug)]
struct Share {
    /// US dollars.
    reserved: f64,
    /// Whether a turn has begun whose cost was not counted yet.
    spends: bool,
}

/// What a turn cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Cost {
    /// US dollars, as the CLI reports them or as the tokens that it streamed cost.
    Usd(f64),
    /// Unknown, so that all that was reserved for the request is charged.
    Unknown,
}

/// Identifies a request that was counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(u64);

/// A request that was counted in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct CountedEntry {
    pub(crate) number: Number,
    /// The US dollars that are reserved for it; `None` if the token has no limit a day.
    pub(crate) budget_usd: Option<f64>,
}

/// What each token spent on one day: the content of `spend.json`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spend {
    /// Days since 1970, UTC.
    pub(crate) day: i64,
    /// US dollars by token name; tokens that spent nothing are left out.
    pub(crate) usd: BTreeMap<String, f64>,
}

/// A limit that was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LimitReached {
    pub(crate) what: String,
    /// Whole seconds until another try makes sense.
    pub(crate) retry_after: u64,
}

impl Usage {
    /// Starts from what was spent before a restart.
    pub(crate) fn resume(spend: &Spend) -> Self {
        let of_today = |usd: &f64| Used { day: spend.day, usd: *usd, ..Used::default() };
        let tokens = spend.usd.iter().map(|(name, usd)| (name.clone(), of_today(usd)));
        Self { tokens: tokens.collect(), next: 0 }
    }

    /// Counts in a request that may cost `most_usd`, or returns the limit that it meets.
    pub(crate) fn enter(
        &mut self,
        token: &str,
        limits: &TokenLimits,
        most_usd: f64,
        now: Timestamp,
    ) -> Result<CountedEntry, LimitReached> {
        let second = now.as_second();
        let used = self.of(token, now);
        let reached = |what: String, retry_after: i64| {
            Err(LimitReached { what, retry_after: retry_after.max(1) as u64 })
        };
        if let Some(most) = limits.usd_per_day
            && used.usd >= most
        {
            let left = DAY - second.rem_euclid(DAY);
            return reached(format!("this token has spent its {most} US dollars of today"), left);
        }
        if let Some(most) = limits.concurrency
            && used.under_way.len() >= most as usize
        {
            return reached(format!("this token runs {most} requests at once at most"), 1);
        }
        if let Some(most) = limits.usd_per_day
            && used.left(most) <= 0.0
        {
            let what = format!(
                "the rest of this token's {most} US dollars of today is reserved for its requests \
                 under way"
            );
            return reached(what, 1);
        }
        if let Some(most) = limits.requests_per_minute
            && used.requests >= most
        {
            let left = MINUTE - second.rem_euclid(MINUTE);
            return reached(format!("this token sends {most} requests a minute at most"), left);
        }
        used.requests += 1;
        Ok(self.begin(token, limits, most_usd, now))
    }

    /// Counts in a request whatever limits it meets, such as one that was admitted before a
    /// restart. Its budget is 0 if nothing is left to reserve.
    pub(crate) fn begin(
        &mut self,
        token: &str,
        limits: &TokenLimits,
        most_usd: f64,
        now: Timestamp,
    ) -> CountedEntry {
        let number = Number(self.next);
        self.next += 1;
        let budget_usd = self.reserve(token, number, limits, most_usd, now);
        CountedEntry { number, budget_usd }
    }

    /// Renews a request's reserve as it begins to run: others may have cost more or less than
    /// theirs meanwhile. Returns it in US dollars; `None` if the token has no limit a day.
    pub(crate) fn reserve(
        &mut self,
        token: &str,
        number: Number,
        limits: &TokenLimits,
        most_usd: f64,
        now: Timestamp,
    ) -> Option<f64> {
        let used = self.of(token, now);
        used.under_way.remove(&number);
        let budget = limits.usd_per_day.map(|most| used.left(most).min(most_usd));
        let share = Share { reserved: budget.unwrap_or(most_usd), spends: false };
        used.under_way.insert(number, share);
        budget
    }

    /// Notes that a turn of a request begins, which costs something from now on.
    pub(crate) fn began(&mut self, token: &str, number: Number) {
        if let Some(share) = self.share(token, number) {
            share.spends = true;
        }
    }

    /// Returns whether a turn of a request has begun whose cost was not counted yet.
    pub(crate) fn spends(&mut self, token: &str, number: Number) -> bool {
        self.share(token, number).is_some_and(|share| share.spends)
    }

    /// Charges what a turn of a request cost, and lowers the request's reserve by it.
    pub(crate) fn spent(&mut self, token: &str, number: Number, cost: Cost, now: Timestamp) {
        let used = self.of(token, now);
        let share = used.under_way.get_mut(&number);
        let cost_usd = match cost {
            Cost::Usd(told) if told.is_finite() && told > 0.0 => told,
            Cost::Usd(_) => 0.0,
            Cost::Unknown => share.as_ref().map_or(0.0, |share| share.reserved),
        };
        if let Some(share) = share {
            share.reserved = (share.reserved - cost_usd).max(0.0);
            share.spends = false;
        }
        used.charge(cost_usd);
    }

    /// Charges a token for a request that is not under way any more: a job that a kill ended.
    pub(crate) fn lost(&mut self, token: &str, usd: f64, now: Timestamp) {
        self.of(token, now).charge(usd);
    }

    /// Counts a request out. Charges its reserve if the cost of its turn was never counted.
    pub(crate) fn leave(&mut self, token: &str, number: Number, now: Timestamp) {
        if self.spends(token, number) {
            self.spent(token, number, Cost::Unknown, now);
        }
        if let Some(used) = self.tokens.get_mut(token) {
            used.under_way.remove(&number);
        }
    }

    /// Returns what was spent on the day of `now`, for `spend.json`.
    pub(crate) fn spend(&self, now: Timestamp) -> Spend {
        let day = now.as_second().div_euclid(DAY);
        let is_today = |used: &&Used| used.day == day && used.usd > 0.0;
        let costs = self.tokens.iter().filter(|(_, used)| is_today(used));
        Spend { day, usd: costs.map(|(name, used)| (name.clone(), used.usd)).collect() }
    }

    fn share(&mut self, token: &str, number: Number) -> Option<&mut Share> {
        self.tokens.get_mut(token)?.under_way.get_mut(&number)
    }

    /// Returns the use of a token, with the counts of an earlier minute or day set back to zero.
    fn of(&mut self, token: &str, now: Timestamp) -> &mut Used {
        let used = self.tokens.entry(token.to_owned()).or_default();
        used.turn_over(now.as_second());
        used
    }
}

impl Used {
    /// Adds to what was spent today, which stays finite whatever budgets were asked for: JSON has no
    /// infinity, and a spend that cannot be read back stops the next start.
    fn charge(&mut self, usd: f64) {
        self.usd = (self.usd + usd).min(f64::MAX);
    }

    /// Returns the part of `most` US dollars that is neither spent nor reserved.
    fn left(&self, most: f64) -> f64 {
        let left =
            most - self.usd - self.under_way.values().map(|share| share.reserved).sum::<f64>();
        if left < LEAST_USD { 0.0 } else { left }
    }

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

    fn day_of(usd: f64) -> TokenLimits {
        TokenLimits { usd_per_day: Some(usd), ..TokenLimits::default() }
    }

    #[test]
    fn requests_a_minute_and_at_once_are_bounded() {
        let limits =
            TokenLimits { requests_per_minute: Some(3), concurrency: Some(2), usd_per_day: None };
        let mut usage = Usage::default();
        let one = usage.enter("a", &limits, 2.0, at(0)).unwrap();
        let two = usage.enter("a", &limits, 2.0, at(1)).unwrap();
        assert_eq!((one.budget_usd, two.budget_usd), (None, None));
        let reached = usage.enter("a", &limits, 2.0, at(2)).unwrap_err();
        assert!(reached.what.contains("2 requests at once"));
        usage.enter("b", &limits, 2.0, at(2)).unwrap();
        usage.leave("a", one.number, at(0));
        let three = usage.enter("a", &limits, 2.0, at(3)).unwrap();
        usage.leave("a", three.number, at(0));
        let reached = usage.enter("a", &limits, 2.0, at(20)).unwrap_err();
        assert!(reached.what.contains("3 requests a minute"));
        assert_eq!(reached.retry_after, 40);
        usage.enter("a", &limits, 2.0, at(60)).unwrap();
    }

    #[test]
    fn a_day_s_spend_is_bounded_and_survives_a_restart() {
        let limits = day_of(1.0);
        let mut usage = Usage::default();
        let one = usage.enter("a", &limits, 5.0, at(10)).unwrap();
        usage.spent("a", one.number, Cost::Usd(0.6), at(10));
        usage.spent("a", one.number, Cost::Usd(f64::NAN), at(10));
        usage.leave("a", one.number, at(0));
        let two = usage.enter("a", &limits, 5.0, at(11)).unwrap();
        assert!((two.budget_usd.unwrap() - 0.4).abs() < 1e-9);
        usage.spent("a", two.number, Cost::Usd(0.5), at(12));
        usage.leave("a", two.number, at(0));
        let kept = usage.spend(at(13));
        let mut usage = Usage::resume(&kept);
        let reached = usage.enter("a", &limits, 5.0, at(14)).unwrap_err();
        assert!(reached.what.contains("spent its 1 US dollars"), "{reached:?}");
        assert_eq!(reached.retry_after, 86_386);
        // A request that waited before the restart is admitted, with nothing to spend.
        assert_eq!(usage.begin("a", &limits, 5.0, at(14)).budget_usd, Some(0.0));
        usage.enter("a", &limits, 5.0, at(DAY)).unwrap();
        assert_eq!(usage.spend(at(DAY)), Spend { day: 1, usd: BTreeMap::new() });
    }

    #[test]
    fn a_turn_whose_cost_nobody_told_costs_what_was_reserved_for_it() {
        let limits = day_of(7.0);
        let mut usage = Usage::default();
        let mut left_after = |turn: fn(&mut Usage, Number), left: f64| {
            let entered = usage.enter("a", &limits, 2.0, at(0)).unwrap();
            turn(&mut usage, entered.number);
            usage.leave("a", entered.number, at(0));
            // Leaving twice charges once.
            usage.leave("a", entered.number, at(0));
            assert!((usage.of("a", at(0)).left(7.0) - left).abs() < 1e-9, "{left}");
        };
        // No turn; a turn with a known cost; one left in the middle; one with an unknown cost.
        left_after(|_, _| {}, 7.0);
        left_after(
            |usage, number| {
                usage.began("a", number);
                usage.spent("a", number, Cost::Usd(0.5), at(0));
            },
            6.5,
        );
        left_after(|usage, number| usage.began("a", number), 4.5);
        left_after(
            |usage, number| {
                usage.began("a", number);
                usage.spent("a", number, Cost::Unknown, at(0));
            },
            2.5,
        );
        // A second turn of the same request has what the first one left.
        left_after(
            |usage, number| {
                usage.began("a", number);
                usage.spent("a", number, Cost::Usd(1.5), at(0));
                assert!(!usage.spends("a", number));
                usage.began("a", number);
                assert!(usage.spends("a", number));
            },
            0.5,
        );
        usage.lost("a", 0.25, at(0));
        assert_eq!(usage.enter("a", &limits, 2.0, at(0)).unwrap().budget_usd, Some(0.25));
    }

    #[test]
    fn budgets_without_measure_leave_a_spend_that_can_be_read_back() {
        let mut usage = Usage::default();
        let modest = usage.enter("modest", &day_of(1.0), 5.0, at(0)).unwrap();
        usage.spent("modest", modest.number, Cost::Usd(1.0), at(0));
        usage.leave("modest", modest.number, at(0));
        let unlimited = TokenLimits::default();
        for _ in 0..2 {
            let huge = usage.enter("huge", &unlimited, f64::MAX, at(0)).unwrap();
            usage.began("huge", huge.number);
            usage.spent("huge", huge.number, Cost::Unknown, at(0));
            usage.leave("huge", huge.number, at(0));
        }
        usage.lost("huge", f64::MAX, at(0));
        let kept = usage.spend(at(1));
        let read: Spend = serde_json::from_slice(&serde_json::to_vec(&kept).unwrap()).unwrap();
        assert_eq!(read, kept);
        let mut usage = Usage::resume(&read);
        assert!(usage.enter("modest", &day_of(1.0), 5.0, at(2)).is_err(), "its day is spent");
        assert!(usage.enter("huge", &day_of(1.0), 5.0, at(2)).is_err(), "its day is spent");
    }

    #[test]
    fn what_runs_at_once_cannot_pass_the_limit_together() {
        let limits = day_of(7.0);
        let mut usage = Usage::default();
        let one = usage.enter("a", &limits, 5.0, at(0)).unwrap();
        let two = usage.enter("a", &limits, 5.0, at(0)).unwrap();
        assert_eq!((one.budget_usd, two.budget_usd), (Some(5.0), Some(2.0)));
        let reached = usage.enter("a", &limits, 5.0, at(0)).unwrap_err();
        assert!(reached.what.contains("7 US dollars of today is reserved"), "{reached:?}");
        assert_eq!(reached.retry_after, 1);
        assert!(usage.enter("b", &limits, 5.0, at(0)).is_ok());
        // What a turn has cost so far moves from reserved to spent: it does not become free.
        usage.spent("a", one.number, Cost::Usd(0.5), at(1));
        assert!(usage.enter("a", &limits, 5.0, at(1)).is_err());
        usage.leave("a", one.number, at(0));
        assert_eq!(usage.reserve("a", two.number, &limits, 5.0, at(2)), Some(5.0));
        let three = usage.enter("a", &limits, 5.0, at(2)).unwrap();
        assert_eq!(three.budget_usd, Some(1.5));
        // A request that cost more than its reserve leaves less for those that have not begun.
        usage.spent("a", two.number, Cost::Usd(6.0), at(3));
        usage.leave("a", two.number, at(0));
        assert_eq!(usage.reserve("a", three.number, &limits, 1.5, at(3)), Some(0.5));
        // A new day starts at zero, but for what is reserved for requests that still run.
        let four = usage.enter("a", &limits, 9.0, at(DAY)).unwrap();
        assert_eq!(four.budget_usd, Some(6.5));
        usage.leave("a", three.number, at(0));
        usage.leave("a", four.number, at(0));
        assert_eq!(usage.enter("a", &limits, 9.0, at(DAY)).unwrap().budget_usd, Some(7.0));
    }
}
