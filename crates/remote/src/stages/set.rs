//! What a set of checks says about a commit, for GitHub and Forgejo alike. Pure.
//!
//! A failure decides at once. A success counts only when it is final: all required checks are there
//! and have passed, or, where none is required, the set has been still for a while and nothing that
//! could add to it is unfinished. Between two jobs there may be minutes without a running check.

use afk_core::ids::At;
use afk_core::verdict::StageAnswer;
use jiff::SignedDuration;

/// The state of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It runs, waits to run, or has a state that we do not know.
    Pending,
    /// It passed, or was skipped.
    Success,
    /// It failed.
    Failure,
    /// It gave no result: it was cancelled, or is stale.
    Void,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Check {
    /// The name of a check run, or the context of a status.
    pub(super) name: String,
    /// The id of the app that reported it; none where the forge does not tell.
    pub(super) app: Option<u64>,
    pub(super) state: State,
    /// When it last changed.
    pub(super) at: Option<At>,
}

/// A check that must have passed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Required {
    /// Its name.
    pub(super) name: String,
    /// Whether `*` in the name stands for any text.
    pub(super) pattern: bool,
    /// The id of the app that must have reported it; none for any app.
    pub(super) app: Option<u64>,
}

impl Required {
    /// A required check whose name matches, by any app.
    pub(super) fn matching(pattern: &str) -> Self {
        Self { name: pattern.to_owned(), pattern: true, app: None }
    }

    /// A required check of exactly that name, by `app` if one is given.
    pub(super) fn named(name: &str, app: Option<u64>) -> Self {
        Self { name: name.to_owned(), pattern: false, app }
    }

    fn is(&self, check: &Check) -> bool {
        let given = |app| check.app.is_none_or(|own| own == app);
        let named =
            if self.pattern { matches(&self.name, &check.name) } else { self.name == check.name };
        named && self.app.is_none_or(given)
    }
}

/// When a set of checks is final.
#[derive(Debug, Clone)]
pub(super) struct Terms<'a> {
    /// The checks that must have passed; empty if all must have.
    pub(super) required: &'a [Required],
    /// How long the set must have been still where none is required.
    pub(super) settle: SignedDuration,
    /// Whether something that may add to the set, such as a workflow run, is unfinished.
    pub(super) unfinished: bool,
    /// When any such thing last changed.
    pub(super) changed: Option<At>,
    /// The time by the clock that dates the checks: the forge's.
    pub(super) now: At,
}

/// What the set says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SetAnswer {
    pub(super) answer: StageAnswer,
    /// The index of the check that decided.
    pub(super) by: Option<usize>,
    /// How long from now the set must stay still to be final, if that is all that is missing.
    pub(super) after: Option<SignedDuration>,
    /// The names of required checks that are not there.
    pub(super) missing: Vec<String>,
}

/// Folds the checks into one answer.
pub(super) fn fold(checks: &[Check], terms: &Terms<'_>) -> SetAnswer {
    let counts = |check: &Check| {
        terms.required.is_empty() || terms.required.iter().any(|required| required.is(check))
    };
    let first = |state| checks.iter().position(|check| check.state == state && counts(check));
    let missing = terms.required.iter().filter(|one| !checks.iter().any(|check| one.is(check)));
    let missing: Vec<_> = missing.map(|one| one.name.clone()).collect();
    let says = |answer, by| SetAnswer { answer, by, after: None, missing: missing.clone() };
    if let Some(failed) = first(State::Failure) {
        return says(StageAnswer::Failure, Some(failed));
    }
    if checks.is_empty() {
        let answer = if terms.unfinished { StageAnswer::Pending } else { StageAnswer::None };
        return says(answer, None);
    }
    if let Some(pending) = first(State::Pending) {
        return says(StageAnswer::Pending, Some(pending));
    }
    if !missing.is_empty() || (terms.required.is_empty() && terms.unfinished) {
        return says(StageAnswer::Pending, None);
    }
    if terms.required.is_empty()
        && let Some(left) = unsettled(checks, terms)
    {
        return SetAnswer { after: Some(left), ..says(StageAnswer::Pending, None) };
    }
    match first(State::Void) {
        Some(void) => says(StageAnswer::Void, Some(void)),
        None => says(StageAnswer::Success, None),
    }
}

/// How much longer the set must stay still; none if it has been still long enough.
fn unsettled(checks: &[Check], terms: &Terms<'_>) -> Option<SignedDuration> {
    let newest = checks.iter().filter_map(|check| check.at).chain(terms.changed).max()?;
    // A check that is dated in the future has changed just now.
    let still = terms.now.duration_since(newest).max(SignedDuration::ZERO);
    (still < terms.settle).then(|| terms.settle - still)
}

/// Whether `name` is `pattern`, in which each `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    let mut parts: Vec<_> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        match name.split_once(part) {
            Some((_, after)) => name = after,
            None => return false,
        }
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::State::{Failure, Pending, Success, Void};
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn at(second: i64) -> At {
        At::from_second(second).unwrap()
    }

    /// Checks by name, state and age of the state in seconds.
    fn set(checks: &[(&str, State, i64)]) -> Vec<Check> {
        let check = |(name, state, age): &(&str, State, i64)| Check {
            name: (*name).to_owned(),
            app: Some(1),
            state: *state,
            at: Some(at(NOW - age)),
        };
        checks.iter().map(check).collect()
    }

    fn terms(required: &[Required]) -> Terms<'_> {
        let settle = SignedDuration::from_secs(60);
        Terms { required, settle, unfinished: false, changed: None, now: at(NOW) }
    }

    #[track_caller]
    fn check(checks: &[(&str, State, i64)], terms: &Terms<'_>, expected: StageAnswer) {
        let said = fold(&set(checks), terms);
        assert_eq!(said.answer, expected, "{checks:?} {terms:?}");
    }

    #[test]
    fn without_required_checks_all_must_pass_and_be_still() {
        use StageAnswer::{None as Nothing, Pending as Waits, Success as Passed};
        let still = terms(&[]);
        check(&[], &still, Nothing);
        check(&[("a", Success, 60)], &still, Passed);
        check(&[("a", Success, 59)], &still, Waits);
        check(&[("a", Success, 90), ("b", Success, 10)], &still, Waits);
        check(&[("a", Success, 90), ("b", Pending, 90)], &still, Waits);
        check(&[("a", Failure, 1), ("b", Pending, 90)], &still, StageAnswer::Failure);
        // A failure beside a running sibling of one name.
        check(&[("a", Failure, 1), ("a", Pending, 1)], &still, StageAnswer::Failure);
        check(&[("a", Success, 90), ("a", Failure, 90)], &still, StageAnswer::Failure);
        check(&[("a", Success, 90), ("b", Void, 90)], &still, StageAnswer::Void);
        check(&[("a", Void, 90), ("b", Pending, 90)], &still, Waits);
        check(&[("a", Void, 90), ("b", Failure, 90)], &still, StageAnswer::Failure);
        // Dated by a clock that is ahead.
        check(&[("a", Success, -5)], &still, Waits);
        // Nothing for 90 seconds between two jobs.
        let unfinished = Terms { unfinished: true, ..terms(&[]) };
        check(&[("a", Success, 90)], &unfinished, Waits);
        check(&[("a", Void, 90)], &unfinished, Waits);
        check(&[], &unfinished, Waits);
        let changed = Terms { changed: Some(at(NOW - 20)), ..terms(&[]) };
        check(&[("a", Success, 90)], &changed, Waits);
        let said = fold(&set(&[("a", Success, 90)]), &changed);
        assert_eq!(said.after, Some(SignedDuration::from_secs(40)));
    }

    #[test]
    fn required_checks_must_all_be_there_and_no_other_counts() {
        use StageAnswer::{None as Nothing, Pending as Waits, Success as Passed};
        let required = ["test", "lint"].map(Required::matching);
        let terms = Terms { unfinished: true, ..terms(&required) };
        check(&[], &Terms { unfinished: false, ..terms.clone() }, Nothing);
        check(&[("test", Success, 0)], &terms, Waits);
        check(&[("test", Success, 0), ("lint", Success, 0)], &terms, Passed);
        check(&[("test", Success, 0), ("lint", Pending, 0)], &terms, Waits);
        check(&[("test", Success, 0), ("lint", Void, 0)], &terms, StageAnswer::Void);
        check(&[("test", Void, 0)], &terms, Waits);
        check(&[("test", Failure, 0)], &terms, StageAnswer::Failure);
        let other = ("deploy", Failure, 0);
        check(&[("test", Success, 0), ("lint", Success, 0), other], &terms, Passed);
        check(&[other], &terms, Waits);
        // Two of one name: both must have passed.
        let twice = [("test", Success, 0), ("lint", Success, 0), ("test", Pending, 0)];
        check(&twice, &terms, Waits);
        let said = fold(&set(&[("test", Success, 0)]), &terms);
        assert_eq!(said.missing, ["lint"]);
    }

    #[test]
    fn a_required_check_of_an_app_is_that_apps_alone() {
        let given = |app| [Required::named("test", Some(app))];
        check(&[("test", Success, 0)], &terms(&given(1)), StageAnswer::Success);
        check(&[("test", Success, 0)], &terms(&given(2)), StageAnswer::Pending);
    }

    #[test]
    fn a_star_stands_for_anything() {
        let check = |pattern, name, expected| {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        };
        check("ci", "ci", true);
        check("ci", "ci2", false);
        check("ci/*", "ci/test", true);
        check("ci/*", "c/test", false);
        check("*", "", true);
        check("*/test", "ci/test", true);
        check("*/test", "ci/tests", false);
        check("a*b*c", "a-b-b-c", true);
        check("a*b*c", "a-c", false);
        check("a*a", "a", false);
    }
}
