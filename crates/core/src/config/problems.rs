//! What is wrong with a configuration of the right types: clashing names, enrolled repos without a
//! table, empty commands, patterns that do not compile.
//!
//! Problems name the key, never the value: any value may be a misplaced secret, and these lines
//! reach logs, comments and `status --json`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Landing, Policy, Repo};
use crate::globs::{GlobError, Globs};
use crate::ids::RepoName;
use crate::issue::same_label;
use crate::proof::ProofPolicyError;

/// What is wrong with an empty list of stages.
pub const NO_STAGES: &str = "there are none, so a landed commit could never be green; add one, for \
     instance { name = \"ci\", command = [\"sh\", \"ci.sh\"] }";

/// Something wrong in a configuration of the right types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The key as segments: names of keys and repos, and list indexes from 0.
    pub key: Vec<String>,
    /// What is wrong, and how to fix it. Contains no value of the configuration.
    pub what: String,
}

impl Mistake {
    /// A mistake at the key with the segments `key`.
    pub fn at(key: &[&str], what: impl Into<String>) -> Self {
        Self { key: key.iter().map(|word| (*word).to_owned()).collect(), what: what.into() }
    }

    /// The same mistake, with `outer` in front of its key.
    #[must_use]
    pub fn below(mut self, outer: &[&str]) -> Self {
        self.key.splice(0..0, outer.iter().map(|word| (*word).to_owned()));
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", dotted(&self.key), self.what)
    }
}

/// A key as TOML writes it: segments separated by dots, quoted if necessary.
pub fn dotted(key: &[String]) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let word = |word: &String| match word.as_str() {
        plain if !plain.is_empty() && plain.chars().all(bare) => plain.to_owned(),
        other => format!("{other:?}"),
    };
    key.iter().map(word).collect::<Vec<_>>().join(".")
}

impl Policy {
    /// What is wrong with it; empty if it is valid.
    pub fn mistakes(&self) -> Vec<Mistake> {
        let mut found = self.label_mistakes();
        if self.poll_seconds == 0 {
            found.push(Mistake::at(&["poll_seconds"], "must be at least 1"));
        }
        for (n, repo) in self.allowlist.iter().enumerate() {
            if !self.repos.contains_key(repo) {
                found.push(Mistake::at(
                    &["allowlist", &n.to_string()],
                    "is enrolled but not configured; add its table, \
                     [repos.\"owner/name\"]",
                ));
            }
        }
        let mut folded: BTreeMap<String, &RepoName> = BTreeMap::new();
        for name in self.repos.keys() {
            if let Some(other) = folded.insert(name.to_string().to_lowercase(), name) {
                // A forge takes both for one repository, and two runs would work on it at once.
                let what = format!("differs from {other} only in case; keep one");
                found.push(Mistake::at(&["repos", name.as_str()], what));
            }
        }
        found.extend(self.doorbell_mistakes());
        let mut patterns = Patterns::default();
        for (name, repo) in self.repos.iter() {
            let wrong = repo.mistakes_with(&mut patterns);
            let below = |mistake: Mistake| mistake.below(&["repos", name.as_str()]);
            found.extend(wrong.into_iter().map(below));
        }
        found
    }

    fn doorbell_mistakes(&self) -> Vec<Mistake> {
        let mut known = BTreeSet::new();
        let again =
            self.doorbells().enumerate().filter(|(_, (name, _))| !known.insert(name.clone()));
        again
            .map(|(n, _)| {
                let what = "has the name of one before it; give each a name of its own";
                Mistake::at(&["notify", &n.to_string(), "name"], what)
            })
            .collect()
    }

    fn label_mistakes(&self) -> Vec<Mistake> {
        let labels = [
            ("ready_label", &self.ready_label),
            ("in_progress_label", &self.in_progress_label),
            ("human_label", &self.human_label),
            ("no_test_label", &self.no_test_label),
            ("tests_label", &self.tests_label),
        ];
        let blank = labels.iter().filter(|(_, label)| label.trim().is_empty());
        let mut found: Vec<_> = blank
            .map(|(key, _)| Mistake::at(&[key], "is blank; set a label, or omit the key"))
            .collect();
        let is_ready = |other: &str| same_label(&self.ready_label, other);
        if is_ready(&self.in_progress_label) || is_ready(&self.human_label) {
            let what = "is also the name of another label; a run would release its issue again";
            found.push(Mistake::at(&["ready_label"], what));
        }
        let handed = same_label(&self.in_progress_label, &self.human_label);
        if handed && !self.human_label.trim().is_empty() {
            found.push(Mistake::at(
                &["human_label"],
                "is also the name of another label; an issue handed to a person would look like one \
                 under way",
            ));
        }
        found
    }
}

/// Results for lists of patterns that were compiled before. Compiling takes milliseconds, and the
/// repos of a large fleet share their lists.
#[derive(Default)]
struct Patterns<'a> {
    known: BTreeMap<&'a [String], Option<GlobError>>,
}

impl<'a> Patterns<'a> {
    fn mistake(&mut self, key: [&'static str; 2], list: &'a [String]) -> Option<Mistake> {
        let compile = || Globs::compile(key[1], list).err();
        let GlobError { nth, why, .. } = self.known.entry(list).or_insert_with(compile).clone()?;
        let [table, list] = key;
        let what = format!("the pattern cannot be used: {why}");
        Some(Mistake::at(&[table, list, &nth.to_string()], what))
    }
}

impl Repo {
    /// What is wrong with one repo.
    pub(crate) fn mistakes(&self) -> Vec<Mistake> {
        self.mistakes_with(&mut Patterns::default())
    }

    fn mistakes_with<'a>(&'a self, patterns: &mut Patterns<'a>) -> Vec<Mistake> {
        let mut found = self.stage_mistakes();
        let hooks = &self.hooks;
        for (hook, argv) in [
            ("after_create", &hooks.after_create),
            ("before_run", &hooks.before_run),
            ("after_run", &hooks.after_run),
            ("before_remove", &hooks.before_remove),
        ] {
            if argv.as_ref().is_some_and(|argv| argv.first().is_none_or(String::is_empty)) {
                found.push(Mistake::at(&["hooks", hook], "is an empty command; omit it"));
            }
        }
        if let Err(error) = self.proof.check(&self.verify) {
            let key = match error {
                ProofPolicyError::EmptyBuild => "build",
                ProofPolicyError::NoVerify => "require_red_proof",
                ProofPolicyError::Repeats(_) => "repeats",
                ProofPolicyError::NoBuild | ProofPolicyError::Glob(_) => "red",
                ProofPolicyError::EmptyFetch => "fetch",
            };
            found.push(Mistake::at(&["proof", key], error.to_string()));
        }
        let lists = [
            (["proof", "tests"], &self.proof.tests),
            (["proof", "exempt"], &self.proof.exempt),
            (["proof", "protected"], &self.proof.protected),
            (["proof", "judge"], &self.proof.judge),
            (["guardrails", "deny"], &self.guardrails.deny),
            (["guardrails", "allow_ignored"], &self.guardrails.allow_ignored),
            (["guardrails", "uncounted"], &self.guardrails.uncounted),
            (["guardrails", "test_material"], &self.guardrails.test_material),
        ];
        found.extend(lists.into_iter().filter_map(|(key, list)| patterns.mistake(key, list)));
        found
    }

    fn stage_mistakes(&self) -> Vec<Mistake> {
        let mut found = Vec::new();
        if self.stages.is_empty() {
            found.push(Mistake::at(&["stages"], NO_STAGES));
        }
        for (n, stage) in self.stages.iter().enumerate() {
            let nth = n.to_string();
            let mut wrong = |what: &str| found.push(Mistake::at(&["stages", &nth], what));
            if self.stages.iter().take(n).any(|other| other.name == stage.name) {
                wrong("has the same name as an earlier one; names must be unique");
            }
            if stage.is_run()
                && (stage.name.is_empty() || stage.command.first().is_none_or(String::is_empty))
            {
                wrong("needs a name and a command");
            }
            if !stage.is_run() {
                let keys = [
                    ("command", !stage.command.is_empty()),
                    ("timeout_seconds", stage.timeout_seconds.is_some()),
                ];
                found.extend(keys.into_iter().filter(|(_, given)| *given).map(|(key, _)| {
                    let what = "only applies to stages of kind \"command\"; omit it";
                    Mistake::at(&["stages", &nth, key], what)
                }));
            }
        }
        let marked = self.stages.iter().position(|stage| stage.before_landing);
        match (self.landing, marked) {
            (Landing::Tested, None) => found.push(Mistake::at(
                &["landing"],
                "\"tested\" needs a stage that must pass before landing; mark one with \
                 before_landing = true",
            )),
            (Landing::Direct | Landing::PullRequest, Some(n)) => found.push(Mistake::at(
                &["stages", &n.to_string(), "before_landing"],
                "is true, but no stage runs before landing; set landing = \"tested\", or remove it",
            )),
            (Landing::Tested, Some(_)) | (Landing::Direct | Landing::PullRequest, None) => {}
        }
        found
    }
}
