//! The recipes of a proof's trees: which files each has from the base and which from the change.

use super::recipe::{Side, StartTree, TreeRecipe};
use super::test_changes::TestChange;
use super::{PathClass, ProofInputs, TreeRole, split};
use crate::change::{Entry, Mode, TreePath};

/// Text that no test runner accepts: closing brackets that nothing opened, and characters that
/// begin nothing. It ends no comment and no string, so that what stands in one stays there.
pub const UNREADABLE: &str = "@)]}>`\n<?php )]}\n";

/// A file to be written, with its content.
pub(super) type Written = (TreePath, Mode, Vec<u8>);

/// What the recipes depend on.
pub(super) struct Trees<'a> {
    pub(super) inputs: &'a ProofInputs<'a>,
    /// The tests that the newest change touches.
    pub(super) tests: &'a [TestChange<'a>],
    /// What of the newest change may steer the tests.
    pub(super) runners: &'a [TreePath],
}

impl Trees<'_> {
    /// How to make the tree of `role` where the change's red tree is that of `red`.
    pub(super) fn recipe(&self, role: TreeRole, red: TreeRole) -> TreeRecipe {
        match role {
            TreeRole::Base => TreeRecipe::plain(StartTree::Base),
            TreeRole::Red | TreeRole::Split => self.red(role, false),
            TreeRole::RedJudge => self.red(red, true),
            TreeRole::Candidate => self.candidate(),
            TreeRole::Kept => self.kept(),
            TreeRole::OldRunner => self.old_runner(),
            TreeRole::OldRunnerSilenced => {
                TreeRecipe { write: self.silenced(red), ..self.old_runner() }
            }
            TreeRole::Silenced => TreeRecipe { write: self.silenced(red), ..self.candidate() },
            TreeRole::MovedSilenced => {
                let moved = self.tests.iter().filter_map(|test| test.moved_to);
                let write = moved.filter_map(|path| self.unreadable(path)).collect();
                TreeRecipe { write, ..self.candidate() }
            }
        }
    }

    /// The base with the change's tests, and with what runs them if `judged`.
    fn red(&self, role: TreeRole, judged: bool) -> TreeRecipe {
        let class = |path: &TreePath| self.inputs.policy.class(path);
        let judge = |path: &TreePath| judged && class(path) == PathClass::Judge;
        let take = |diff, chosen: &dyn Fn(&TreePath) -> bool| {
            TreeRecipe::taking(StartTree::Base, Side::New, diff, chosen)
        };
        match (role, self.inputs.first) {
            (TreeRole::Split, Some(first)) => {
                let own = |path: &TreePath| {
                    !matches!(class(path), PathClass::Protected | PathClass::Judge)
                };
                let mut recipe = take(first, &own);
                recipe.add(take(self.inputs.diff, &judge));
                recipe
            }
            _ => take(self.inputs.diff, &|path| class(path) == PathClass::Test || judge(path)),
        }
    }

    /// What would land, with the base's protected files.
    fn candidate(&self) -> TreeRecipe {
        TreeRecipe::taking(StartTree::Candidate, Side::Old, self.inputs.diff, |path| {
            self.inputs.policy.class(path) == PathClass::Protected
        })
    }

    /// The candidate with exactly the tests, and what runs them, that there were before the newest
    /// change. A new test could write over an old one.
    fn kept(&self) -> TreeRecipe {
        let mut recipe =
            TreeRecipe::taking(StartTree::Candidate, Side::Old, self.inputs.newest(), |path| {
                self.tests.iter().any(|test| test.change.path == *path)
                    || self.runners.contains(path)
            });
        recipe.add(self.candidate());
        recipe
    }

    /// The candidate with what runs the tests as it was before the newest change.
    fn old_runner(&self) -> TreeRecipe {
        let newest = self.inputs.newest();
        let mut recipe = TreeRecipe::taking(StartTree::Candidate, Side::Old, newest, |path| {
            self.runners.contains(path)
        });
        recipe.add(self.candidate());
        recipe
    }

    /// The change's tests made unreadable: whole files, or the lines of its first commit.
    pub(super) fn silenced(&self, red: TreeRole) -> Vec<Written> {
        if let (TreeRole::Split, Some(first)) = (red, self.inputs.first) {
            let inputs = self.inputs;
            return split::silenced(inputs.policy, first, inputs.diff, inputs.blobs);
        }
        let touched = self.inputs.policy.of_class(self.inputs.diff, PathClass::Test);
        touched.filter_map(|change| self.unreadable(&change.path)).collect()
    }

    /// The file that the change has at `path`, made unreadable; none if it has no plain file.
    fn unreadable(&self, path: &TreePath) -> Option<Written> {
        let change = self.inputs.diff.changes.iter().find(|change| change.path == *path)?;
        let Some(Entry { mode: mode @ (Mode::Regular | Mode::Executable), .. }) = &change.new
        else {
            return None;
        };
        Some((path.clone(), *mode, UNREADABLE.as_bytes().to_vec()))
    }
}
