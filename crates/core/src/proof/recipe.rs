//! How to make a tree that does not exist yet: a start tree, and entries to put into it.
//!
//! The git adapter carries out a recipe in a temporary index: `read-tree` of the start tree,
//! `update-index --index-info` of the entries and files, `write-tree`. The order of the entries
//! keeps the index valid after each of them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::change::{Change, Diff, Entry, Mode, TreePath};

/// The tree that a recipe starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartTree {
    /// The tree of the default head; for a corrective change, without what the run landed before.
    Base,
    /// The tree of the candidate.
    Candidate,
}

/// How to make a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRecipe {
    /// The tree to start from.
    pub start: StartTree,
    /// Entries to put; `None` removes the path. Removals come first, so that a file and a folder of
    /// the same name never collide.
    pub take: Vec<(TreePath, Option<Entry>)>,
    /// Files to put after the entries, with content that is not in an object of the repository yet.
    pub write: Vec<(TreePath, Mode, Vec<u8>)>,
}

/// Which side of a diff a recipe takes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Old,
    New,
}

impl TreeRecipe {
    /// The start tree, unchanged.
    pub(super) fn plain(start: StartTree) -> Self {
        Self { start, take: Vec::new(), write: Vec::new() }
    }

    /// The start tree with one side's entries of the chosen changes.
    pub(super) fn taking(
        start: StartTree,
        side: Side,
        diff: &Diff,
        chosen: impl Fn(&TreePath) -> bool,
    ) -> Self {
        let entry = |change: &Change| match side {
            Side::Old => change.old.clone(),
            Side::New => change.new.clone(),
        };
        let (picked, others): (Vec<_>, Vec<_>) = diff.changes.iter().partition(|c| chosen(&c.path));
        // A path that replaces a folder of the start tree, or lies below a file of it, displaces
        // that folder or file: on the side that is taken, it does not exist.
        let put: BTreeSet<&[u8]> =
            picked.iter().filter(|c| entry(c).is_some()).map(|c| c.path.bytes()).collect();
        let needed: BTreeSet<&[u8]> =
            picked.iter().filter(|c| entry(c).is_some()).flat_map(|c| c.path.folders()).collect();
        let displaced = others.into_iter().filter(|c| {
            needed.contains(c.path.bytes()) || c.path.folders().any(|f| put.contains(f))
        });
        let mut take: Vec<_> = picked
            .iter()
            .map(|c| (c.path.clone(), entry(c)))
            .chain(displaced.map(|c| (c.path.clone(), None)))
            .collect();
        take.sort_by(|(a, a_entry), (b, b_entry)| {
            (a_entry.is_some(), a).cmp(&(b_entry.is_some(), b))
        });
        Self { start, take, write: Vec::new() }
    }

    /// Whether the recipe makes the start tree itself.
    pub fn is_plain(&self) -> bool {
        self.take.is_empty() && self.write.is_empty()
    }

    /// Adds the entries and files of `other`. An entry at a path that this recipe already takes is
    /// left out.
    pub(super) fn add(&mut self, other: Self) {
        let known: BTreeSet<TreePath> = self.take.iter().map(|(path, _)| path.clone()).collect();
        self.take.extend(other.take.into_iter().filter(|(path, _)| !known.contains(path)));
        self.take.sort_by(|(a, a_entry), (b, b_entry)| {
            (a_entry.is_some(), a).cmp(&(b_entry.is_some(), b))
        });
        self.write.extend(other.write);
    }

    /// Returns the recipe for the newer tree of `whole` without the changes in `ours`: every path
    /// that one of `ours` changes is as in the older tree.
    pub fn without(whole: &Diff, ours: &[Diff]) -> Self {
        let paths: BTreeSet<&TreePath> =
            ours.iter().flat_map(|diff| &diff.changes).map(|change| &change.path).collect();
        Self::taking(StartTree::Candidate, Side::Old, whole, |path| paths.contains(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing::{Side as Content, diff, file};

    #[test]
    fn takes_the_chosen_and_clears_the_way_for_them() {
        type Changes<'a> = &'a [(&'a str, Content<'a>, Content<'a>)];
        let check = |changes: Changes<'_>, expected: &[(&str, bool)]| {
            let (diff, _) = diff(changes);
            let recipe = TreeRecipe::taking(StartTree::Base, Side::New, &diff, |p| {
                p.bytes().windows(1).any(|b| b == b"t")
            });
            let seen: Vec<_> =
                recipe.take.iter().map(|(p, e)| (p.to_string(), e.is_some())).collect();
            let seen: Vec<_> = seen.iter().map(|(p, e)| (p.as_str(), *e)).collect();
            assert_eq!(seen, expected);
        };
        check(
            &[
                ("a", file("1"), file("2")),
                ("t1", None, file("x")),
                ("t2", file("x"), None),
                ("t3", file("x"), file("y")),
            ],
            &[("t2", false), ("t1", true), ("t3", true)],
        );
        // A code file became a folder of tests.
        check(&[("a", file("1"), None), ("a/t", None, file("x"))], &[("a", false), ("a/t", true)]);
        // A folder of code became a test.
        check(&[("t", None, file("x")), ("u", file("1"), None)], &[("t", true)]);
    }

    #[test]
    fn what_is_ours_is_taken_out_and_the_rest_stays() {
        let (whole, _) = diff(&[
            ("added", None, file("x")),
            ("both", file("1"), file("3")),
            ("gone", file("1"), None),
            ("theirs", file("1"), file("2")),
        ]);
        let (first, _) = diff(&[("added", None, file("x")), ("both", file("1"), file("2"))]);
        let (second, _) = diff(&[("gone", file("1"), None), ("undone", file("1"), file("2"))]);
        let recipe = TreeRecipe::without(&whole, &[first, second]);
        let take: Vec<_> = recipe.take.iter().map(|(p, e)| (p.to_string(), e.clone())).collect();
        let old = |n: usize| whole.changes[n].old.clone();
        let expected = [("added", None), ("both", old(1)), ("gone", old(2))];
        assert_eq!(take, expected.map(|(path, entry)| (path.to_owned(), entry)));
    }

    #[test]
    fn a_file_in_place_of_a_folder_removes_what_it_held() {
        let (diff, _) = diff(&[("p", None, file("x")), ("p/code", file("1"), None)]);
        let recipe = TreeRecipe::taking(StartTree::Base, Side::New, &diff, |p| p.bytes() == b"p");
        let take: Vec<_> = recipe.take.iter().map(|(p, e)| (p.to_string(), e.clone())).collect();
        let put = diff.changes[0].new.clone();
        assert!(put.is_some());
        assert_eq!(take, [("p/code".to_owned(), None), ("p".to_owned(), put)]);
    }
}
