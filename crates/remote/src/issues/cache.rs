//! The cache of one repo's issues: kept between reads, and brought up to date by one request, the
//! probe.
//!
//! The probe reads the most recently updated entries of the list of all issues: whatever happens to
//! an issue brings it among them. An entry that differs from the known one means that the issue
//! changed; everything kept about it is dropped, and read again when it is asked for. Nothing here
//! does I/O.

use std::collections::BTreeMap;

use afk_core::digest::Digest;
use afk_core::ids::{At, IssueRef};
use afk_core::issue::{Comment, Issue, IssueEvent, same_label};
use serde::{Deserialize, Serialize};

use crate::http::Validator;

/// How many of the most recently updated entries are remembered.
const REMEMBERED: usize = 300;
/// How many issues' views, or comments, are kept: with more, all of them are dropped.
const READ: usize = 1000;

/// What is kept about a repo. It can be lost at any time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct IssueCache {
    /// The validator of the probe's last answer, where the forge supports conditional requests.
    pub(crate) probe: Option<Validator>,
    /// The newest entries as they were last answered, by the issue's number.
    entries: BTreeMap<u64, Known>,
    /// The open issues with each label that the loop lists, by the label.
    lists: BTreeMap<String, List>,
    /// Issues with their details, by the issue's number.
    views: BTreeMap<u64, View>,
    /// An issue's comments, and when they were read, by the issue's number.
    comments: BTreeMap<u64, (At, Vec<Comment>)>,
    /// The newest comments of the whole repo.
    newest_comments: Option<NewestComments>,
    /// Whether a blocker is open, and when that was read, by the blocker's number.
    open: BTreeMap<u64, (At, bool)>,
}

/// What is remembered of an entry of the probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    updated: At,
    entry: Digest,
}

/// The open issues with one label.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct List {
    issues: BTreeMap<u64, Issue>,
    /// When the whole list was last read: renaming a label updates no issue.
    swept: Option<At>,
}

/// An issue, its events and its blockers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct View {
    pub(crate) issue: Issue,
    pub(crate) events: Vec<IssueEvent>,
    /// The open issues that it depends on.
    pub(crate) blockers: Vec<IssueRef>,
    /// When it was last updated, by the forge's clock.
    pub(crate) updated: At,
    /// When it was read, by our clock.
    pub(crate) at: At,
}

/// The comments of the repo since a time. Dropped as soon as any entry changes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct NewestComments {
    since: At,
    /// When they were read.
    at: At,
    comments: Vec<(IssueRef, Comment)>,
}

/// An entry of the list of issues.
#[derive(Debug, Clone)]
pub(crate) struct ListedIssue {
    /// The issue; pull requests are entries, too.
    pub(crate) issue: Issue,
    /// Whether it is a pull request.
    pub(crate) pull: bool,
    /// When it was last updated, by the forge's clock.
    pub(crate) updated: At,
    /// The digest of the whole entry as it was answered.
    pub(crate) entry: Digest,
}

impl ListedIssue {
    fn number(&self) -> u64 {
        self.issue.issue.number
    }

    fn known(&self) -> Known {
        Known { updated: self.updated, entry: self.entry.clone() }
    }
}

/// Whether the entries that were read so far contain every change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// They do.
    Enough,
    /// Older entries, on the next page, may have changed, too.
    More,
}

impl IssueCache {
    /// The time of the last update of any entry that is known.
    pub(crate) fn newest(&self) -> Option<At> {
        self.entries.values().map(|known| known.updated).max()
    }

    /// Returns whether these entries of the probe, newest first, reach back to one that is known
    /// and unchanged. `last` says that there are no further ones.
    pub(crate) fn reach(&self, entries: &[ListedIssue], last: bool) -> Page {
        // Entries below one that is unchanged were there before, in the same order.
        let known =
            |listed: &ListedIssue| self.entries.get(&listed.number()) == Some(&listed.known());
        let reached = last || self.entries.is_empty() || entries.iter().any(known);
        if reached { Page::Enough } else { Page::More }
    }

    /// Takes in entries of the probe, and drops what is kept about issues that changed.
    pub(crate) fn take(&mut self, entries: Vec<ListedIssue>) {
        for listed in entries {
            let known = listed.known();
            if self.entries.get(&listed.number()) != Some(&known) {
                self.entries.insert(listed.number(), known);
                self.changed(&listed);
            }
        }
    }

    /// Drops the oldest entries, and all views and comments, where there are too many to keep.
    pub(crate) fn trim(&mut self) {
        if self.views.len().max(self.comments.len()) > READ {
            self.views.clear();
            self.comments.clear();
        }
        if self.entries.len() <= REMEMBERED {
            return;
        }
        let mut times: Vec<At> = self.entries.values().map(|known| known.updated).collect();
        times.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = times[REMEMBERED - 1];
        self.entries.retain(|_, known| known.updated >= oldest);
    }

    /// Drops everything but the names of the labels that are listed. For when more changed than can
    /// be followed.
    pub(crate) fn reset(&mut self) {
        let labels = std::mem::take(&mut self.lists).into_keys();
        *self = Self {
            lists: labels.map(|label| (label, List::default())).collect(),
            ..Self::default()
        };
    }

    fn changed(&mut self, listed: &ListedIssue) {
        let number = listed.issue.issue.number;
        self.forget(number);
        self.newest_comments = None;
        self.open.remove(&number);
        for (label, list) in &mut self.lists {
            if !listed.pull && listed.issue.open && listed.issue.has(label) {
                list.issues.insert(number, listed.issue.clone());
            } else {
                list.issues.remove(&number);
            }
        }
    }

    /// Takes an issue off the list of a label that we removed from it. It comes back when the probe
    /// shows a changed entry with that label.
    pub(crate) fn unlabelled(&mut self, number: u64, label: &str) {
        let lists = self.lists.iter_mut().filter(|(name, _)| same_label(name, label));
        for (_, list) in lists {
            list.issues.remove(&number);
        }
    }

    /// Drops what was read of an issue: the next read is live.
    pub(crate) fn forget(&mut self, number: u64) {
        self.views.remove(&number);
        self.comments.remove(&number);
    }

    /// Takes note that the forge has no such issue any more, which no entry shows: the lists that it
    /// is in are read anew. Returns whether there are any.
    pub(crate) fn gone(&mut self, number: u64) -> bool {
        self.forget(number);
        let mut listed = false;
        for list in self.lists.values_mut().filter(|list| list.issues.contains_key(&number)) {
            list.swept = None;
            listed = true;
        }
        listed
    }

    /// The digest of the issue's entry. Details that were read are kept only if it is the same
    /// before and after they were read.
    pub(crate) fn entry(&self, number: u64) -> Option<Digest> {
        self.entries.get(&number).map(|known| known.entry.clone())
    }

    /// When the issue was last updated, as far as its entry is known.
    pub(crate) fn updated(&self, number: u64) -> Option<At> {
        self.entries.get(&number).map(|known| known.updated)
    }

    /// Returns whether the list has shown a later update of the issue than `updated`. If so, the
    /// issue's entry is dropped and the next probe is unconditional, so that neither answer is
    /// believed for good.
    pub(crate) fn is_ahead_of(&mut self, number: u64, updated: At) -> bool {
        let ahead = self.entries.get(&number).is_some_and(|known| known.updated > updated);
        if ahead {
            self.entries.remove(&number);
            self.probe = None;
        }
        ahead
    }

    /// The open issues with `label`, if the whole list was read at `oldest` or later.
    pub(crate) fn list(&self, label: &str, oldest: At) -> Option<Vec<Issue>> {
        let list = self.lists.get(label).filter(|list| list.swept >= Some(oldest))?;
        Some(list.issues.values().cloned().collect())
    }

    /// Keeps the whole list of `label`, which was read at `at`.
    pub(crate) fn swept(&mut self, label: &str, issues: Vec<Issue>, at: At) {
        let before = self.lists.remove(label).unwrap_or_default();
        let issues: BTreeMap<u64, Issue> =
            issues.into_iter().map(|issue| (issue.issue.number, issue)).collect();
        // Where the sweep differs from the list, something changed that no entry shows.
        let differ = before.issues.keys().chain(issues.keys());
        let differ: Vec<u64> =
            differ.filter(|n| before.issues.get(n) != issues.get(n)).copied().collect();
        for number in differ {
            self.forget(number);
        }
        self.lists.insert(label.to_owned(), List { issues, swept: Some(at) });
    }

    /// The issue with its details, if they were read at `oldest` or later and have not changed
    /// since.
    pub(crate) fn view(&self, number: u64, oldest: At) -> Option<&View> {
        self.views.get(&number).filter(|view| view.at >= oldest)
    }

    /// Keeps an issue with its details.
    pub(crate) fn viewed(&mut self, view: View) {
        self.views.insert(view.issue.issue.number, view);
    }

    /// Whether an issue is open, if that was read at `oldest` or later and has not changed since.
    pub(crate) fn open(&self, number: u64, oldest: At) -> Option<bool> {
        self.open.get(&number).filter(|(at, _)| *at >= oldest).map(|(_, open)| *open)
    }

    /// Keeps whether an issue is open, as it was read at `at`.
    pub(crate) fn known_open(&mut self, number: u64, open: bool, at: At) {
        self.open.insert(number, (at, open));
    }

    /// The comments of an issue, if they were read at `oldest` or later and have not changed since.
    pub(crate) fn comments(&self, number: u64, oldest: At) -> Option<&[Comment]> {
        let (_, comments) = self.comments.get(&number).filter(|(at, _)| *at >= oldest)?;
        Some(comments)
    }

    /// Keeps the comments of an issue, as they were read at `at`.
    pub(crate) fn commented(&mut self, number: u64, comments: Vec<Comment>, at: At) {
        self.comments.insert(number, (at, comments));
    }

    /// The repo's comments since `since`, if they were read at `oldest` or later and nothing
    /// changed after that.
    pub(crate) fn comments_since(&self, since: At, oldest: At) -> Option<Vec<(IssueRef, Comment)>> {
        let newest = self.newest_comments.as_ref();
        let newest = newest.filter(|newest| newest.since <= since && newest.at >= oldest)?;
        Some(newest.comments.iter().filter(|(_, comment)| comment.at >= since).cloned().collect())
    }

    /// Keeps the repo's comments since `since`, as they were read at `at`.
    pub(crate) fn commented_since(
        &mut self,
        since: At,
        comments: Vec<(IssueRef, Comment)>,
        at: At,
    ) {
        self.newest_comments = Some(NewestComments { since, at, comments });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: i64) -> At {
        At::from_second(1_800_000_000 + n).unwrap()
    }

    fn issue(number: u64, labels: &[&str]) -> Issue {
        Issue {
            issue: format!("o/r#{number}").parse().unwrap(),
            title: "t".into(),
            body: String::new(),
            labels: labels.iter().map(|label| (*label).to_owned()).collect(),
            open: true,
        }
    }

    fn listed(number: u64, updated: i64, labels: &[&str]) -> ListedIssue {
        let entry = Digest::of(format!("{number} {updated} {labels:?}"));
        ListedIssue { issue: issue(number, labels), pull: false, updated: at(updated), entry }
    }

    fn view(number: u64) -> View {
        let issue = issue(number, &["ready"]);
        View { issue, events: vec![], blockers: vec![], updated: at(10), at: at(50) }
    }

    /// Three issues, of which two are ready and one was read with its details.
    fn known() -> IssueCache {
        let mut seen = IssueCache::default();
        let page = vec![listed(3, 30, &["ready"]), listed(2, 20, &[]), listed(1, 10, &["ready"])];
        assert_eq!(take(&mut seen, page, false), Page::Enough);
        seen.swept("ready", vec![issue(1, &["ready"]), issue(3, &["ready"])], at(40));
        seen.viewed(view(1));
        seen.commented_since(at(0), vec![], at(50));
        seen
    }

    /// Takes in these entries, and returns whether they reach back to one that is known.
    fn take(seen: &mut IssueCache, entries: Vec<ListedIssue>, last: bool) -> Page {
        let reach = seen.reach(&entries, last);
        seen.take(entries);
        reach
    }

    fn ready(seen: &IssueCache) -> Vec<u64> {
        let list = seen.list("ready", at(40)).unwrap();
        list.into_iter().map(|issue| issue.issue.number).collect()
    }

    #[test]
    fn what_did_not_change_stays_known() {
        let mut seen = known();
        let page = vec![listed(3, 30, &["ready"]), listed(2, 20, &[]), listed(1, 10, &["ready"])];
        assert_eq!(take(&mut seen, page, false), Page::Enough);
        assert_eq!(ready(&seen), [1, 3]);
        assert!(seen.view(1, at(50)).is_some());
        assert!(seen.view(1, at(51)).is_none(), "older than what is asked for");
        assert!(seen.comments_since(at(5), at(50)).is_some());
        assert!(seen.list("ready", at(41)).is_none(), "swept too long ago");
    }

    #[test]
    fn what_changed_is_dropped_and_listed_anew() {
        let mut seen = known();
        let page = vec![
            listed(4, 45, &["Ready"]),
            listed(1, 44, &[]),
            listed(3, 30, &["ready"]),
            listed(2, 20, &[]),
        ];
        assert_eq!(take(&mut seen, page, false), Page::Enough);
        assert_eq!(ready(&seen), [3, 4]);
        assert!(seen.view(1, at(0)).is_none());
        assert!(seen.comments_since(at(5), at(50)).is_none());
    }

    #[test]
    fn a_label_that_we_took_is_gone_before_the_probe_shows_it() {
        let mut seen = known();
        seen.unlabelled(1, "Ready");
        assert_eq!(ready(&seen), [3]);
        // An answer from before changes nothing; one that has it again does.
        assert_eq!(take(&mut seen, vec![listed(3, 30, &["ready"])], true), Page::Enough);
        assert_eq!(ready(&seen), [3]);
        assert_eq!(take(&mut seen, vec![listed(1, 50, &["ready"])], true), Page::Enough);
        assert_eq!(ready(&seen), [1, 3]);
    }

    #[test]
    fn a_change_within_the_second_is_a_change() {
        let mut seen = known();
        // The same time, other labels.
        assert_eq!(
            take(&mut seen, vec![listed(3, 30, &[]), listed(2, 20, &[])], false),
            Page::Enough
        );
        assert_eq!(ready(&seen), [1]);
    }

    #[test]
    fn a_page_of_nothing_but_changes_is_followed_by_another() {
        let mut seen = known();
        let mut pages = vec![listed(9, 90, &[]), listed(8, 80, &["ready"])];
        assert_eq!(seen.reach(&pages, false), Page::More);
        // Something happened meanwhile: what was the last entry is the first of the next page.
        pages.push(listed(8, 80, &["ready"]));
        assert_eq!(seen.reach(&pages, false), Page::More);
        pages.extend([listed(1, 60, &[]), listed(3, 30, &["ready"])]);
        assert_eq!(take(&mut seen, pages, false), Page::Enough);
        assert_eq!(ready(&seen), [3, 8]);
        let mut seen = known();
        assert_eq!(take(&mut seen, vec![listed(9, 90, &[])], true), Page::Enough);
        seen.reset();
        assert!(seen.list("ready", At::MIN).is_none());
        assert_eq!(take(&mut seen, vec![listed(9, 90, &[])], false), Page::Enough);
    }

    #[test]
    fn closed_issues_and_pull_requests_are_not_listed() {
        let mut seen = known();
        let closed = ListedIssue {
            issue: Issue { open: false, ..issue(1, &["ready"]) },
            ..listed(1, 60, &[])
        };
        let pull = ListedIssue { pull: true, ..listed(7, 61, &["ready"]) };
        assert_eq!(
            take(&mut seen, vec![pull, closed, listed(3, 30, &["ready"])], false),
            Page::Enough
        );
        assert_eq!(ready(&seen), [3]);
    }

    #[test]
    fn details_from_a_copy_that_is_behind_the_list_are_told_from_others() {
        let mut seen = known();
        assert!(!seen.is_ahead_of(1, at(10)) && !seen.is_ahead_of(1, at(11)));
        assert!(!seen.is_ahead_of(9, at(0)), "not listed");
        let before = seen.entry(1);
        assert!(seen.is_ahead_of(1, at(9)));
        assert!(!seen.is_ahead_of(1, at(9)), "it is asked anew who is right");
        assert_ne!(seen.entry(1), before);
    }

    #[test]
    fn nothing_that_was_read_is_believed_for_ever() {
        let mut seen = known();
        seen.commented(1, vec![], at(50));
        seen.known_open(2, true, at(50));
        assert!(seen.comments(1, at(50)).is_some() && seen.comments(1, at(51)).is_none());
        assert_eq!((seen.open(2, at(50)), seen.open(2, at(51))), (Some(true), None));
        assert!(seen.comments_since(at(5), at(51)).is_none());
    }

    #[test]
    fn a_sweep_finds_what_no_entry_shows() {
        let mut seen = known();
        // The label of issue 1 was renamed.
        seen.swept("ready", vec![issue(3, &["ready"])], at(90));
        assert_eq!(ready(&seen), [3]);
        assert!(seen.view(1, at(0)).is_none());
    }

    #[test]
    fn only_the_newest_entries_are_remembered() {
        let mut seen = IssueCache::default();
        let page: Vec<ListedIssue> =
            (1..=400_u32).map(|n| listed(n.into(), n.into(), &[])).collect();
        seen.take(page);
        seen.trim();
        assert_eq!(seen.entries.len(), REMEMBERED);
        assert!(seen.entries.contains_key(&400) && !seen.entries.contains_key(&100));
    }
}
