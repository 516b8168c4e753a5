//! How long a token of Vault lasts, and when to renew or replace it. Pure: the time is an argument.

use afk_core::ids::At;
use jiff::SignedDuration;

/// What is known of the token that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    /// When it was obtained or last renewed, by our clock.
    since: At,
    /// How long it lasts from then on; zero for ever.
    lasts: SignedDuration,
    /// How long it was to last when it was obtained.
    first: SignedDuration,
    /// Whether it can be renewed.
    renewable: bool,
}

/// What to do before the token is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Use it as it is.
    Use,
    /// Renew it. If that fails for now, the token is still good.
    Renew,
    /// Obtain another one.
    Obtain,
}

impl Lease {
    /// The lease of a token that was just obtained.
    pub(super) fn new(lasts: SignedDuration, renewable: bool, now: At) -> Self {
        Self { since: now, lasts, first: lasts, renewable }
    }

    /// The same token after a renewal. If it lasts less than at first, it is near its maximum, and
    /// is not renewed again.
    pub(super) fn renewed(self, lasts: SignedDuration, renewable: bool, now: At) -> Self {
        let renewable = renewable && lasts >= self.first;
        Self { since: now, lasts, renewable, ..self }
    }

    /// The same token, which cannot be renewed.
    pub(super) fn unrenewable(self) -> Self {
        Self { renewable: false, ..self }
    }

    /// The time since it was obtained or last renewed.
    pub(super) fn age(&self, now: At) -> SignedDuration {
        now.duration_since(self.since)
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self, now: At) -> bool {
        !self.lasts.is_zero() && self.age(now) >= self.lasts
    }

    /// What to do at `now`; `can_log_in` says whether another token can be obtained.
    pub(super) fn step(&self, can_log_in: bool, now: At) -> Step {
        let age = self.age(now);
        if self.lasts.is_zero() {
            return Step::Use;
        }
        // After the clock was set back, nobody knows how long the token has lasted.
        if age.is_negative() || self.is_over(now) {
            return Step::Obtain;
        }
        let is_late = age.as_secs().saturating_mul(3) >= self.lasts.as_secs().saturating_mul(2);
        match (is_late, self.renewable, can_log_in) {
            (false, _, _) | (true, false, false) => Step::Use,
            (true, true, _) => Step::Renew,
            (true, false, true) => Step::Obtain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> At {
        At::from_second(1_800_000_000 + second).unwrap()
    }

    fn seconds(n: i64) -> SignedDuration {
        SignedDuration::from_secs(n)
    }

    #[test]
    fn a_token_is_renewed_after_two_thirds_and_replaced_at_its_end() {
        let check = |renewable, can_log_in, age, expected| {
            let lease = Lease::new(seconds(3600), renewable, at(0));
            assert_eq!(lease.step(can_log_in, at(age)), expected, "{renewable} {can_log_in} {age}");
        };
        for (renewable, can_log_in) in [(true, true), (true, false), (false, true), (false, false)]
        {
            check(renewable, can_log_in, 0, Step::Use);
            check(renewable, can_log_in, 2399, Step::Use);
            check(renewable, can_log_in, 3600, Step::Obtain);
            check(renewable, can_log_in, -1, Step::Obtain);
        }
        for age in [2400, 3599] {
            check(true, true, age, Step::Renew);
            check(true, false, age, Step::Renew);
            check(false, true, age, Step::Obtain);
            check(false, false, age, Step::Use);
        }
    }

    #[test]
    fn one_near_its_maximum_is_not_renewed_again() {
        let lease = Lease::new(seconds(3600), true, at(0));
        let whole = lease.renewed(seconds(3600), true, at(2400));
        assert_eq!(whole.step(true, at(2400 + 2400)), Step::Renew);
        let cut = whole.renewed(seconds(600), true, at(4800));
        assert_eq!(cut.step(true, at(4800 + 399)), Step::Use);
        assert_eq!(cut.step(true, at(4800 + 400)), Step::Obtain);
        assert_eq!(lease.renewed(seconds(3600), false, at(1)).step(true, at(2401)), Step::Obtain);
    }

    #[test]
    fn one_without_an_end_is_used_for_ever() {
        let lease = Lease::new(SignedDuration::ZERO, false, at(0));
        assert_eq!(lease.step(true, at(1_000_000_000)), Step::Use);
        assert!(!lease.is_over(at(1_000_000_000)));
        assert_eq!(lease.unrenewable(), lease);
    }
}
