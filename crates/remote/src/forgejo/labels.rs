//! The former names of labels, on a forge whose timelines show a label by its present name only.
//! Pure.
//!
//! Without them, whoever renames a label to the ready label would release every issue that has it,
//! in the name of those who once put on something else. A label that was never seen under another
//! name is taken to have always had its present one.

use std::collections::BTreeMap;

use afk_core::ids::At;
use afk_core::issue::same_label;
use serde::{Deserialize, Serialize};

use super::api::Label;

/// The names of a repo's labels, by their ids.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Labels(BTreeMap<u64, Named>);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    name: String,
    /// When it was first seen under that name, if it was seen under another one before.
    renamed: Option<At>,
}

impl Labels {
    /// Records that the label has this name at `now`. Returns whether that is news.
    pub(super) fn record(&mut self, label: &Label, now: At) -> bool {
        let known = self.0.get(&label.id);
        if known.is_some_and(|known| same_label(&known.name, &label.name)) {
            return false;
        }
        let renamed = known.is_some().then_some(now);
        self.0.insert(label.id, Named { name: label.name.clone(), renamed });
        true
    }

    /// Whether, as far as is known, the label had its present name at `at`.
    pub(super) fn had_its_name(&self, id: u64, at: At) -> bool {
        self.0.get(&id).and_then(|named| named.renamed).is_none_or(|renamed| renamed < at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_label_counts_from_then_on() {
        let at = |n: i64| At::from_second(1_800_000_000 + n).unwrap();
        let label = |name: &str| Label { id: 7, name: name.to_owned() };
        let mut labels = Labels::default();
        assert!(labels.had_its_name(7, at(0)), "nothing else is known");
        assert!(labels.record(&label("later"), at(10)));
        assert!(!labels.record(&label("later"), at(20)));
        assert!(labels.had_its_name(7, at(0)));
        assert!(labels.record(&label("ready"), at(30)));
        assert!(!labels.had_its_name(7, at(15)) && !labels.had_its_name(7, at(30)));
        assert!(labels.had_its_name(7, at(31)));
    }
}
