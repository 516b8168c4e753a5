//! The recipes of a proof's trees: which files each has from the base and which from the change.

use std::collections::HashMap;

use super::grown::only_lists_sources;
use super::recipe::{Side, StartTree, TreeRecipe};
use super::test_changes::{TestChange, TestFate, is_demand};
use super::{PathClass, ProofInputs, TreeRole, split};
use crate::change::{Entry, Mode, TreePath, lines};

/// Text that no test runner accepts: closing brackets that nothing opened, and characters that
/// begin nothing. It does not end a comment or string, so that a line inside one is never run.
pub const UNREADABLE: &str = "@)]}>`\n<?php )]}\n";

/// The number of shares into which existing tests are divided, at most. Each share is made
/// unreadable in a run of its own; in a large change, several tests are in one share.
pub(super) const SHARES: usize = 8;

/// A file to be written: path, mode and content.
pub(super) type Written = (TreePath, Mode, Vec<u8>);

/// What the recipes depend on.
pub(super) struct Trees<'a> {
    pub(super) inputs: &'a ProofInputs<'a>,
    /// The tests that the newest change touches.
    pub(super) tests: &'a [TestChange<'a>],
    /// The judge files and scripts of the newest change that may steer the tests.
    pub(super) runners: &'a [TreePath],
    /// The code files in which the newest change marks tests to be skipped, without these marks.
    pub(super) unmarked: &'a [Written],
}

impl Trees<'_> {
    /// Returns how to make the tree of `role`, where `red` is the tree that must be red for the
    /// change. For a tree of the whole of a run's work, `inputs` say that it landed at once.
    pub(super) fn recipe(&self, role: TreeRole, red: TreeRole) -> TreeRecipe {
        match role {
            TreeRole::Base => TreeRecipe::plain(StartTree::Base),
            TreeRole::Red | TreeRole::Split => self.red(role, false),
            TreeRole::RedJudge => self.red(red, true),
            TreeRole::Candidate => self.candidate(),
            TreeRole::Kept | TreeRole::KeptWhole => self.kept(false, self.runners),
            TreeRole::KeptBlank => self.kept(true, self.runners),
            TreeRole::KeptGrown | TreeRole::KeptWholeBlank => self.kept(true, &self.steering()),
            TreeRole::KeptScripts => self.kept_scripts(),
            TreeRole::OldRunner => self.old_runner(),
            TreeRole::OldRunnerSilenced => {
                // A runner that is unreadable fails whatever it hears.
                let mut write = self.silenced(red);
                write.retain(|(path, _, _)| !self.runners.contains(path));
                TreeRecipe { write, ..self.old_runner() }
            }
            TreeRole::Silenced => TreeRecipe { write: self.silenced(red), ..self.candidate() },
            TreeRole::LeftSilenced(share) => {
                let write = self.share(share).filter_map(|test| self.left_of(test)).collect();
                TreeRecipe { write, ..self.candidate() }
            }
            TreeRole::BaseSilenced(share) => {
                let old =
                    |test: &TestChange<'_>| unreadable(&test.change.path, test.change.old.as_ref());
                let write = self.share(share).filter_map(old).collect();
                TreeRecipe { write, ..TreeRecipe::plain(StartTree::Base) }
            }
        }
    }

    /// The base with the change's tests, and with the change's judge files if `judged`.
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

    /// The tree that would land, with the base's protected files.
    fn candidate(&self) -> TreeRecipe {
        TreeRecipe::taking(StartTree::Candidate, Side::Old, self.inputs.diff, |path| {
            self.inputs.policy.class(path) == PathClass::Protected
        })
    }

    /// The candidate with the tests, and those that are `old` of what runs them, exactly as they
    /// were before the newest change. New tests are left out, because one could write over an old
    /// one; if `blank`, they are there but empty, because code or a list may name them.
    fn kept(&self, blank: bool, old: &[TreePath]) -> TreeRecipe {
        let stays = |test: &&TestChange<'_>| blank && is_blanked(test);
        let as_before = |path: &TreePath| {
            let test = self.tests.iter().find(|test| test.change.path == *path);
            test.is_some_and(|test| !stays(&test)) || old.contains(path)
        };
        let newest = self.inputs.newest();
        let mut recipe = TreeRecipe::taking(StartTree::Candidate, Side::Old, newest, as_before);
        recipe.add(self.candidate());
        let as_now = |written: &&Written| !self.runners.contains(&written.0);
        recipe.write = self.unmarked.iter().filter(as_now).cloned().collect();
        let blanked = self.tests.iter().filter(stays).filter(|test| !is_data(&test.change.path));
        recipe.write.extend(blanked.filter_map(|test| {
            Some((test.change.path.clone(), test.change.new.as_ref()?.mode, Vec::new()))
        }));
        recipe
    }

    /// Returns the runners but for lists to which the change only adds new sources: without these,
    /// other code that needs them cannot be linked, and with them, no test is left out.
    fn steering(&self) -> Vec<TreePath> {
        let (policy, newest, blobs) = (self.inputs.policy, self.inputs.newest(), self.inputs.blobs);
        let lists: Vec<&TreePath> = policy
            .of_class(newest, PathClass::Judge)
            .filter(|change| only_lists_sources(change, policy, newest, blobs))
            .map(|change| &change.path)
            .collect();
        self.runners.iter().filter(|path| !lists.contains(path)).cloned().collect()
    }

    /// Whether the change only adds new sources to some of what runs the tests.
    pub(super) fn lists_sources(&self) -> bool {
        self.steering().len() < self.runners.len()
    }

    /// Whether scripts that run the tests stand in `kept_scripts` as the change has them, beside
    /// anything that is as it was: otherwise, other trees show as much.
    pub(super) fn has_new_scripts(&self) -> bool {
        let scripts = self.runners.iter().any(|path| !self.is_judge(path));
        scripts && self.kept_scripts() != self.candidate()
    }

    /// As `kept`, but with scripts that run the tests as they are now: the repository may run its
    /// own tool on itself, and then the tool is also what the old tests test. New tests are as in
    /// the candidate, because the scripts may name them, and a moved test has its old content where
    /// it is now.
    fn kept_scripts(&self) -> TreeRecipe {
        let as_before = |path: &TreePath| {
            if self.runners.contains(path) {
                return self.is_judge(path);
            }
            let test = self.tests.iter().find(|test| test.change.path == *path);
            test.is_some_and(|test| !matches!(test.fate, TestFate::Added | TestFate::Moved))
        };
        let newest = self.inputs.newest();
        let mut recipe = TreeRecipe::taking(StartTree::Candidate, Side::Old, newest, as_before);
        let moved = self.tests.iter().filter(|test| test.moved_to.is_some());
        let moved = moved.filter_map(TestChange::sides).filter(|(old, _, new)| old != new);
        let take = moved.map(|(old, now, _)| (now.path.clone(), Some(old.clone()))).collect();
        recipe.add(TreeRecipe { take, ..TreeRecipe::plain(StartTree::Candidate) });
        recipe.add(self.candidate());
        recipe.write = self.unmarked.to_vec();
        recipe
    }

    fn is_judge(&self, path: &TreePath) -> bool {
        self.inputs.policy.class(path) == PathClass::Judge
    }

    /// Returns the existing tests of one share that are still there, moved or not.
    pub(super) fn share(&self, share: u8) -> impl Iterator<Item = &TestChange<'_>> {
        let all = self.tests.iter().filter(|test| self.left_of(test).is_some());
        all.enumerate().filter(move |(at, _)| at % SHARES == usize::from(share)).map(|(_, t)| t)
    }

    /// Returns an existing test, where it is now, with what is left of its old demands made
    /// unreadable; `None` if nothing is left, or it is no plain file. Lines that the new content
    /// has more often than the old stay as they are, and so do imports and the frame around tests,
    /// which a runner reads even where it skips the rest.
    fn left_of(&self, test: &TestChange<'_>) -> Option<Written> {
        let (old, now, new) = test.sides()?;
        let (Mode::Regular | Mode::Executable) = new.mode else { return None };
        let (Some(old), Some(content)) =
            (self.inputs.blobs.content(old), self.inputs.blobs.content(new))
        else {
            return unreadable(&now.path, Some(new));
        };
        let (before, after) = (counts(lines(old)), counts(lines(content)));
        let is_left = |line: &[u8]| {
            is_demand(line) && before.get(line).is_some_and(|times| Some(times) >= after.get(line))
        };
        let whole = || test.moved_to.map(|_| UNREADABLE.as_bytes().to_vec());
        Some((now.path.clone(), new.mode, silence(content, is_left).or_else(whole)?))
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

    /// Returns the change's tests made unreadable: whole files, or the lines of its first commit.
    pub(super) fn silenced(&self, red: TreeRole) -> Vec<Written> {
        if let (TreeRole::Split, Some(first)) = (red, self.inputs.first) {
            let inputs = self.inputs;
            return split::silenced(inputs.policy, first, inputs.diff, inputs.blobs);
        }
        let touched = self.inputs.policy.of_class(self.inputs.diff, PathClass::Test);
        touched.filter_map(|change| self.unreadable(&change.path)).collect()
    }

    /// Returns the change's file at `path`, made unreadable; `None` if it is no plain file.
    fn unreadable(&self, path: &TreePath) -> Option<Written> {
        let change = self.inputs.diff.changes.iter().find(|change| change.path == *path)?;
        unreadable(&change.path, change.new.as_ref())
    }
}

/// Returns the file made unreadable; `None` if it is no plain file.
fn unreadable(path: &TreePath, entry: Option<&Entry>) -> Option<Written> {
    let mode @ (Mode::Regular | Mode::Executable) = entry?.mode else { return None };
    Some((path.clone(), mode, UNREADABLE.as_bytes().to_vec()))
}

/// Returns the content with the chosen lines made unreadable; `None` if no line is chosen. In
/// documentation, a line stays a comment, so that only a test that it belongs to notices.
pub(super) fn silence(content: &[u8], chosen: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
    let unreadable = UNREADABLE.lines().next().unwrap_or_default().as_bytes();
    let all = lines(content);
    if !all.iter().any(|line| chosen(line)) {
        return None;
    }
    let mut text = Vec::with_capacity(content.len());
    for line in all {
        if chosen(line) {
            if let Some((mark, _)) = documentation(line) {
                text.extend_from_slice(mark);
            }
            text.extend_from_slice(unreadable);
        } else {
            text.extend_from_slice(line);
        }
        text.push(b'\n');
    }
    Some(text)
}

/// Splits a line of documentation, in which Rust has tests, into its mark and what it says.
pub(super) fn documentation(line: &[u8]) -> Option<(&'static [u8], &[u8])> {
    let marks = [&b"///"[..], b"//!"];
    let of = |mark: &'static [u8]| Some((mark, line.trim_ascii_start().strip_prefix(mark)?));
    marks.into_iter().find_map(of)
}

/// Counts how often each line occurs.
pub(super) fn counts<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> HashMap<&'a [u8], u32> {
    let mut counts = HashMap::new();
    for line in lines {
        *counts.entry(line).or_default() += 1;
    }
    counts
}

/// Whether the test is new, and a plain file that can be made empty.
pub(super) fn is_blanked(test: &TestChange<'_>) -> bool {
    let plain = |new: &Entry| matches!(new.mode, Mode::Regular | Mode::Executable);
    test.fate == TestFate::Added && test.change.new.as_ref().is_some_and(plain)
}

/// Whether a new test file is only data that tests read, by its folder and its extension, so that
/// nothing runs it.
fn is_data(path: &TreePath) -> bool {
    let folders = [&b"fixtures"[..], b"testdata", b"__snapshots__"];
    let endings: [&[u8]; 12] = [
        b"txt", b"json", b"csv", b"tsv", b"xml", b"html", b"svg", b"png", b"snap", b"golden",
        b"yaml", b"yml",
    ];
    let ending = path.file_name().rsplit(|b| *b == b'.').next().unwrap_or_default();
    endings.contains(&ending) && path.components().any(|part| folders.contains(&part))
}
