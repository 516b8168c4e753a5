//! Putting an idle clone on another commit without losing what is in it: the
//! commands that the caller runs in the box, with the clone as their folder, in
//! this order. Between [`commit`] and [`checkout`] the head is taken over.
//!
//! The clone is the agent's: its hooks are never run, and whatever else its
//! configuration starts (a filter, for one) starts in the box.

use afk_core::ids::Oid;

/// What a git that is to be gone on with keeps of what it had begun.
const BEGUN: [&str; 3] = [".git/rebase-merge", ".git/rebase-apply", ".git/sequencer"];

/// Removes the locks that a git which was killed left behind: each would stop the next.
pub fn unlock() -> Vec<String> {
    ["find", ".git", "-type", "f", "-name", "*.lock", "-delete"].map(str::to_owned).into()
}

/// Gives up what a git had begun and not ended, such as a rebase.
pub fn abandon() -> Vec<String> {
    ["rm", "-rf", "--"].into_iter().chain(BEGUN).map(str::to_owned).collect()
}

/// Takes every file into the index that is not ignored; fails, with all others taken,
/// where git cannot take one.
pub fn add() -> Vec<String> {
    git(&["add", "--all", "--ignore-errors", "--", "."])
}

/// Commits the index, also where there is nothing new in it.
pub fn commit() -> Vec<String> {
    let quiet = ["commit", "--quiet", "--no-verify", "--no-gpg-sign", "--allow-empty"];
    let message = "What was left when the workspace was reset";
    git(&[&quiet[..], &["--message", message]].concat())
}

/// Puts the branch that is checked out, index and files on `onto`.
pub fn checkout(onto: &Oid) -> Vec<String> {
    git(&["reset", "--hard", "--quiet", onto.as_str(), "--"])
}

/// Removes files that git does not know; ignored ones (build output) and repositories
/// of their own stay.
pub fn clean() -> Vec<String> {
    git(&["clean", "--quiet", "-fd", "--", "."])
}

fn git(args: &[&str]) -> Vec<String> {
    let neutral = [
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "submodule.recurse=false",
        "user.name=afk",
        "user.email=afk@localhost",
    ];
    let neutral = neutral.into_iter().flat_map(|setting| ["-c", setting]);
    let all = std::iter::once("git").chain(neutral).chain(args.iter().copied());
    all.map(str::to_owned).collect()
}
