//! What a tree needs from outside: the command that brings it, and the files that it may read.
//!
//! A command with a network must not run code of the repository, and must bring the same for every
//! tree with the same manifests. So it sees the content of manifests, lock files and settings only
//! (the classes `judge` and `protected`, and what would be `judge` if it were no fixture); every
//! other file is there, but empty. Of the files that it sees, it can only run the protected ones,
//! because settings may name programs. What it brings is stored under the digest of what it could
//! read.

use std::collections::BTreeMap;

use super::policy::ProofPolicy;
use super::result::Conditions;
use crate::change::{Diff, TreePath};
use crate::digest::Digest;

/// How what was fetched is kept; part of [`Fetch::key`], so that what is kept in another way is
/// fetched anew. In the second way, `node_modules` has folders that runs may write to.
const KEPT_AS: &str = "kept-as=2";

/// What is fetched for a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// The policy's `fetch` command.
    pub argv: Vec<String>,
    /// The files whose content it may read, and whether it may also run them.
    pub reads: BTreeMap<TreePath, bool>,
    /// The digest of the command, the readable files and the conditions, under which the result is
    /// stored: any tree with the same finds it.
    pub key: Digest,
}

impl ProofPolicy {
    /// Returns what is fetched for the tree with these `files`, given as its diff from the empty
    /// tree; `None` if the policy has no `fetch` command.
    pub fn fetch(&self, files: &Diff, conditions: &Conditions) -> Option<Fetch> {
        let argv = self.config().fetch.clone()?;
        let mut words = vec![KEPT_AS.to_owned()];
        words.extend(argv.iter().cloned());
        words.extend(conditions.words());
        let mut reads = BTreeMap::new();
        for change in &files.changes {
            let Some(entry) = &change.new else { continue };
            let runs = self.is_protected(&change.path);
            // A package among the fixtures may be one of the tree's own.
            if !(runs || self.is_judge_by_name(&change.path)) {
                continue;
            }
            let mode = entry.mode.octal().to_owned();
            words.extend([change.path.to_string(), mode, entry.oid.to_string()]);
            reads.insert(change.path.clone(), runs);
        }
        Some(Fetch { argv, reads, key: Digest::of_list(&words) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ProofPolicyConfig, Verify};
    use super::*;
    use crate::change::testing::{Side, diff, file};

    fn policy(fetch: Option<&[&str]>) -> ProofPolicy {
        let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let config = ProofPolicyConfig { fetch: fetch.map(argv), ..ProofPolicyConfig::default() };
        ProofPolicy::compile(config, Verify::Command(argv(&["npm", "test"])), []).unwrap()
    }

    fn of(policy: &ProofPolicy, files: &[(&str, &str)], conditions: &Conditions) -> Fetch {
        let added: Vec<(&str, Side<'_>, Side<'_>)> =
            files.iter().map(|(path, text)| (*path, None, file(text))).collect();
        policy.fetch(&diff(&added).0, conditions).unwrap()
    }

    #[test]
    fn it_is_kept_by_what_it_could_read() {
        let npm = policy(Some(&["npm", "ci", "--ignore-scripts"]));
        let none = Conditions::default();
        let files = [("package.json", "{}"), ("web/package-lock.json", "1"), ("src/a.js", "a")];
        let first = of(&npm, &files, &none);
        let reads: Vec<_> = first.reads.keys().map(ToString::to_string).collect();
        assert_eq!(reads, ["package.json", "web/package-lock.json"]);
        let fixture = [("package.json", "{}"), ("test/fixtures/a/package.json", "{}")];
        let reads: Vec<_> = of(&npm, &fixture, &none).reads.into_values().collect();
        assert_eq!(reads, [false, false], "a workspace may have it");
        let own = of(&npm, &[("package.json", "{}"), (".github/fetch.sh", "")], &none);
        assert_eq!(own.reads.into_values().collect::<Vec<_>>(), [true, false]);
        assert_eq!(first.argv, ["npm", "ci", "--ignore-scripts"]);

        let same = [
            [("package.json", "{}"), ("web/package-lock.json", "1"), ("src/a.js", "b")],
            [("package.json", "{}"), ("web/package-lock.json", "1"), ("test/a.js", "a")],
        ];
        for files in same {
            assert_eq!(of(&npm, &files, &none).key, first.key, "{files:?}");
        }
        let others = [
            [("package.json", "{}"), ("web/package-lock.json", "2"), ("src/a.js", "a")],
            [("package.json", "{}"), ("package-lock.json", "1"), ("src/a.js", "a")],
            [("package.json", "{}"), ("web/package-lock.json", "1"), (".npmrc", "a")],
        ];
        for files in others {
            assert_ne!(of(&npm, &files, &none).key, first.key, "{files:?}");
        }
        let elsewhere = Conditions { read: vec!["/opt/node".into()], ..Conditions::default() };
        assert_ne!(of(&npm, &files, &elsewhere).key, first.key);
        assert_ne!(of(&policy(Some(&["npm", "ci"])), &files, &none).key, first.key);
        assert_eq!(policy(None).fetch(&Diff::default(), &none), None);
    }
}
