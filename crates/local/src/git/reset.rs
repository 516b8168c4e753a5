//! The commands that reset an idle clone to another commit without losing what is in it. The caller
//! runs them in the box, in the clone's folder, in the order in which they are here. Between
//! [`commit`] and [`checkout`] it fetches the clone's head into the mirror.
//!
//! The clone is the agent's: its hooks are never run, and whatever else its configuration starts (a
//! filter, for instance) starts in the box.

use afk_core::ids::Oid;

/// Folders in which git keeps an operation that is in progress.
const BEGUN: [&str; 3] = [".git/rebase-merge", ".git/rebase-apply", ".git/sequencer"];

/// Removes the locks of a killed git, each of which would stop the next git.
pub fn unlock() -> Vec<String> {
    ["find", ".git", "-type", "f", "-name", "*.lock", "-delete"].map(str::to_owned).into()
}

/// Forgets an operation that git has begun and not finished, such as a rebase.
pub fn abandon() -> Vec<String> {
    ["rm", "-rf", "--"].into_iter().chain(BEGUN).map(str::to_owned).collect()
}

/// Adds every file that is not ignored to the index; fails, after adding all others, if git cannot
/// add one.
pub fn add() -> Vec<String> {
    git(&["add", "--all", "--ignore-errors", "--", "."])
}

/// Commits the index, even if nothing changed.
pub fn commit() -> Vec<String> {
    let quiet = ["commit", "--quiet", "--no-verify", "--no-gpg-sign", "--allow-empty"];
    let message = "What was left when the workspace was reset";
    git(&[&quiet[..], &["--message", message]].concat())
}

/// Sets the checked-out branch, the index and the tracked files to `onto`.
pub fn checkout(onto: &Oid) -> Vec<String> {
    git(&["reset", "--hard", "--quiet", onto.as_str(), "--"])
}

/// Removes files that git does not track; ignored ones (build output) and nested repositories stay.
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
