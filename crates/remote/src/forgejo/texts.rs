//! Since when an issue has its present text, on a forge that does not tell who edited it. Pure.
//!
//! Every edit moves the time of the issue's last update, and so does everything else that happens
//! to the issue. Its text is taken to be there since the update at which it was first seen, and not
//! a moment longer:
//!
//! - If another text was seen before, somebody edited it, and nobody knows who.
//! - If none was seen before, it may have been edited by its author, or by somebody who may edit
//!   every issue of the repo. The edit is reported as the author's.
//!
//! A label counts only for a text that is known to have been there when it was added. Two edits
//! between two reads, the second of which restores the text, are not noticed.

use std::collections::BTreeMap;

use afk_core::digest::Digest;
use afk_core::ids::{Actor, At};
use afk_core::issue::{IssueChange, IssueEvent};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

/// How many issues are remembered. One that is forgotten counts as never seen.
const REMEMBERED: usize = 5000;

/// The texts of a repo's issues.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Texts(BTreeMap<u64, Text>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Text {
    digest: Digest,
    /// The time of the update at which this text was first seen.
    since: At,
    /// Whether another text was seen before.
    edited: bool,
}

impl Texts {
    /// Records that the issue, last updated at `updated`, has this text. Returns whether that is
    /// news.
    pub(super) fn record(&mut self, number: u64, text: &str, updated: At) -> bool {
        let digest = Digest::of(text);
        let known = self.0.get(&number);
        if known.is_some_and(|known| known.digest == digest) {
            return false;
        }
        let text = Text { digest, since: updated, edited: known.is_some() };
        self.0.insert(number, text);
        if self.0.len() > REMEMBERED {
            let oldest = self.0.iter().min_by_key(|(_, text)| text.since);
            if let Some(oldest) = oldest.map(|(number, _)| *number) {
                self.0.remove(&oldest);
            }
        }
        true
    }

    /// The edit that gave the issue its present text, if there may have been one since `author`
    /// opened it at `created`.
    pub(super) fn edit(
        &self,
        number: u64,
        author: Option<Actor>,
        created: At,
    ) -> Option<IssueEvent> {
        let text = self.0.get(&number)?;
        if text.since <= created {
            return None;
        }
        // The edit came before that update, which may be a label, so that the label counts for the
        // text.
        let at = text.since.checked_sub(SignedDuration::from_nanos(1)).unwrap_or(text.since);
        let actor = author.filter(|_| !text.edited);
        Some(IssueEvent { at, actor, what: IssueChange::Edited })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: i64) -> At {
        At::from_second(1_800_000_000 + n).unwrap()
    }

    /// The edit that is told of an issue of `eve`, opened at 10, which was seen with these texts at
    /// these updates: the second that it is in, and who is told to have made it.
    #[track_caller]
    fn check(seen: &[(&str, i64)], expected: Option<(i64, Option<&str>)>) {
        let mut texts = Texts::default();
        for (text, updated) in seen {
            texts.record(7, text, at(*updated));
        }
        let eve = Actor { id: "9".into(), login: "eve".into(), bot: false };
        let edit = texts.edit(7, Some(eve), at(10)).map(|event| {
            let second = event.at.as_second() - 1_800_000_000;
            (second, event.actor.map(|actor| actor.login))
        });
        assert_eq!(edit, expected.map(|(at, by)| (at, by.map(str::to_owned))), "{seen:?}");
    }

    #[test]
    fn a_text_is_known_from_the_update_at_which_it_was_seen() {
        check(&[("a", 10)], None);
        check(&[("a", 10), ("a", 50)], None);
        // A label at 20 comes after it, one at 19 does not.
        check(&[("a", 20)], Some((19, Some("eve"))));
        check(&[("a", 20), ("a", 90)], Some((19, Some("eve"))));
        // A text that was seen to change has no known editor, even if it is restored.
        check(&[("a", 10), ("b", 50)], Some((49, None)));
        check(&[("a", 20), ("b", 50), ("b", 60)], Some((49, None)));
        check(&[("a", 10), ("b", 50), ("a", 60)], Some((59, None)));
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut texts = Texts::default();
        for n in 0..=REMEMBERED {
            let n = u64::try_from(n).unwrap();
            assert!(texts.record(n, "a", at(i64::try_from(n).unwrap())));
        }
        assert_eq!(texts.0.len(), REMEMBERED);
        assert!(!texts.0.contains_key(&0));
        assert!(texts.edit(0, None, at(0)).is_none());
    }
}
