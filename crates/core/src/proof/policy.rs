//! What counts as a test, as exempt, as protected, and what is run to judge a change.
//!
//! [`ProofPolicyConfig`] is what people write, [`ProofPolicy`] the compiled form. A `protected`
//! pattern that matches a folder protects its contents; `tests` and `exempt` match files only,
//! because matching more there would weaken the proof. A word of a command protects the file at
//! that path and nothing below it: `npm test` beside a folder `test/` says nothing about the tests.

use std::collections::BTreeSet;
use std::fmt;

use schemars::JsonSchema;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error as _, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::result::Conditions;
use crate::change::{Change, Diff, TreePath};
use crate::digest::Digest;
use crate::globs::{GlobError, Globs};

/// How a change must be proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProofPolicyConfig {
    /// Patterns of the paths that are tests.
    pub tests: Vec<String>,
    /// Patterns of the paths that need no test.
    pub exempt: Vec<String>,
    /// Patterns of the paths that judge a change: they always come from the base.
    pub protected: Vec<String>,
    /// A command (argv) that only builds the tests, to distinguish "does not build" from
    /// "assertion".
    pub build: Option<Vec<String>>,
    /// Path of the `JUnit` report that `verify` writes; needed to prove on a base that fails.
    pub junit: Option<String>,
    /// What a failing test must look like without the change.
    pub red: RedMeans,
    /// When a change must be seen to fail without its code.
    pub require_red_proof: RequireRedProof,
    /// Whether a change may touch protected paths.
    pub allow_protected: bool,
    /// Whether a change may delete test files.
    pub allow_deleted_tests: bool,
}

impl Default for ProofPolicyConfig {
    fn default() -> Self {
        let list = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect();
        Self {
            tests: list(&[
                "**/{test,tests,__tests__,spec,testdata,fixtures,__snapshots__}/**",
                "**/test_*",
                "**/*_{test,tests,spec}.*",
                "**/*.{test,spec}.*",
                "**/*{Test,Tests,IT}.{java,kt,cs}",
                "**/conftest.py",
            ]),
            exempt: list(&["**/*.md", "docs/**", "**/*.tf"]),
            protected: list(&[
                ".github/**",
                ".forgejo/**",
                ".gitea/**",
                ".woodpecker*",
                ".gitlab-ci.yml",
                ".afk/**",
                ".gitmodules",
                ".gitattributes",
            ]),
            build: None,
            junit: None,
            red: RedMeans::default(),
            require_red_proof: RequireRedProof::default(),
            allow_protected: false,
            allow_deleted_tests: false,
        }
    }
}

/// Which failures without the change count as red.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RedMeans {
    /// Any failure, including one to build.
    #[default]
    Any,
    /// The tests build and fail; needs `build`.
    Assertion,
}

/// When a red proof is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RequireRedProof {
    /// When the change touches anything besides exempt paths and tests.
    #[default]
    WhenCodeChanges,
    /// For every change.
    Always,
    /// Never; the candidate must still pass.
    Never,
}

/// The command that judges a tree.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum Verify {
    /// `"none"`: explicitly no command.
    None,
    /// The command (argv), never empty.
    Command(#[schemars(length(min = 1))] Vec<String>),
}

impl Serialize for Verify {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => to.serialize_str("none"),
            Self::Command(argv) => argv.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Verify {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(VerifyVisitor)
    }
}

struct VerifyVisitor;

impl<'de> Visitor<'de> for VerifyVisitor {
    type Value = Verify;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list such as [\"cargo\", \"test\"], or \"none\"")
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Verify, E> {
        match word {
            "none" => Ok(Verify::None),
            _ => Err(E::invalid_value(Unexpected::Other("another word"), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, words: A) -> Result<Verify, A::Error> {
        let argv = Vec::<String>::deserialize(SeqAccessDeserializer::new(words))?;
        if argv.first().is_some_and(|program| !program.is_empty()) {
            Ok(Verify::Command(argv))
        } else {
            Err(A::Error::invalid_value(Unexpected::Other("an empty command"), &self))
        }
    }
}

/// Settings that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofPolicyError {
    /// A pattern is wrong.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// `red = "assertion"` without `build`.
    #[error(
        "red = \"assertion\" needs build, a command that only builds the tests \
         (for instance [\"cargo\", \"test\", \"--no-run\"])"
    )]
    NoBuild,
    /// `build` is present but empty.
    #[error("build is an empty command: name a program, or omit it")]
    EmptyBuild,
    /// A proof is required, but there is no command to run.
    #[error("require_red_proof = \"always\" needs a verify command, and verify is \"none\"")]
    NoVerify,
}

/// [`ProofPolicyConfig`], validated and compiled.
#[derive(Debug, Clone)]
pub struct ProofPolicy {
    config: ProofPolicyConfig,
    verify: Verify,
    tests: Globs,
    exempt: Globs,
    protected: Globs,
    named: BTreeSet<TreePath>,
}

/// What a path means to the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathClass {
    /// It judges changes; in every proof run it comes from the base.
    Protected,
    /// It is a test.
    Test,
    /// It is neither, and needs no test.
    Exempt,
    /// It is code.
    Code,
}

impl ProofPolicyConfig {
    /// Whether the settings fit together, and with `verify`; patterns are not checked.
    pub(crate) fn check(&self, verify: &Verify) -> Result<(), ProofPolicyError> {
        match (&self.build, self.red) {
            (None, RedMeans::Assertion) => return Err(ProofPolicyError::NoBuild),
            (Some(argv), RedMeans::Any | RedMeans::Assertion) if argv.is_empty() => {
                return Err(ProofPolicyError::EmptyBuild);
            }
            (None, RedMeans::Any) | (Some(_), RedMeans::Any | RedMeans::Assertion) => {}
        }
        if *verify == Verify::None && self.require_red_proof == RequireRedProof::Always {
            return Err(ProofPolicyError::NoVerify);
        }
        Ok(())
    }
}

impl ProofPolicy {
    /// Compiles the settings of a repo whose command is `verify` and whose `stages` run these
    /// commands: files that they name judge a change as those that `verify` names do.
    pub fn compile<'a>(
        config: ProofPolicyConfig,
        verify: Verify,
        stages: impl IntoIterator<Item = &'a [String]>,
    ) -> Result<Self, ProofPolicyError> {
        config.check(&verify)?;
        let mut named = match &verify {
            Verify::None => BTreeSet::new(),
            Verify::Command(argv) => files_named_in(argv),
        };
        named.extend(stages.into_iter().flat_map(files_named_in));
        Ok(Self {
            named,
            tests: Globs::compile("proof.tests", &config.tests)?,
            exempt: Globs::compile("proof.exempt", &config.exempt)?,
            protected: Globs::compile("proof.protected", &config.protected)?,
            config,
            verify,
        })
    }

    /// The settings that this was compiled from.
    pub fn config(&self) -> &ProofPolicyConfig {
        &self.config
    }

    /// The command that judges a tree.
    pub fn verify(&self) -> &Verify {
        &self.verify
    }

    /// The class of `path`. Protected wins over test, and test over exempt.
    pub fn class(&self, path: &TreePath) -> PathClass {
        if self.is_protected(path) {
            PathClass::Protected
        } else if self.tests.matches(path) {
            PathClass::Test
        } else if self.exempt.matches(path) {
            PathClass::Exempt
        } else {
            PathClass::Code
        }
    }

    /// Whether `path` judges changes.
    pub fn is_protected(&self, path: &TreePath) -> bool {
        self.named.contains(path) || self.protected.covers(path)
    }

    /// The changes of `diff` at paths of one class.
    pub(super) fn of_class<'a>(
        &'a self,
        diff: &'a Diff,
        class: PathClass,
    ) -> impl Iterator<Item = &'a Change> {
        diff.changes.iter().filter(move |c| self.class(&c.path) == class)
    }

    /// The digest of a command, of what is read from its run, and of what it may reach.
    pub(super) fn digest(&self, argv: &[String], conditions: &Conditions) -> Digest {
        let mut all = argv.to_vec();
        all.push(format!("junit={}", self.config.junit.as_deref().unwrap_or("")));
        all.extend(conditions.words());
        Digest::of_list(&all)
    }
}

/// The files that a command may name, also inside `sh -c` scripts and `--key=file`.
///
/// A word that is not a file of the tree (a program, a verb, a folder) matches nothing.
fn files_named_in(argv: &[String]) -> BTreeSet<TreePath> {
    let cut = |c: char| c.is_whitespace() || ";&|()<>\"'`=,".contains(c);
    argv.iter().flat_map(|arg| arg.split(cut)).filter_map(file_named_by).collect()
}

/// The path in the tree that a word spells, if it may be a file's.
fn file_named_by(word: &str) -> Option<TreePath> {
    if word.starts_with(['/', '-']) || word.ends_with('/') {
        return None;
    }
    let mut parts = Vec::new();
    for part in word.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    TreePath::new(parts.join("/").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn policy(verify: &[&str]) -> ProofPolicy {
        ProofPolicy::compile(ProofPolicyConfig::default(), Verify::Command(argv(verify)), [])
            .unwrap()
    }

    #[test]
    fn a_word_of_a_command_protects_a_file_and_no_folder() {
        let check = |words: &[&str], path: &str, expected: bool| {
            let (config, command) = (ProofPolicyConfig::default, argv(words));
            let path = TreePath::new(path.as_bytes()).unwrap();
            let verify = Verify::Command(command.clone());
            let by_verify = ProofPolicy::compile(config(), verify, []).unwrap();
            assert_eq!(by_verify.is_protected(&path), expected, "verify {words:?}: {path}");
            let by_stage = ProofPolicy::compile(config(), Verify::None, [&command[..]]).unwrap();
            assert_eq!(by_stage.is_protected(&path), expected, "stage {words:?}: {path}");
        };
        check(&["npm", "test"], "test/double.test.js", false);
        check(&["npm", "test"], "npm/index.js", false);
        check(&["npm", "test"], "test", true);
        check(&["sh", "ci/run.sh"], "ci/run.sh", true);
        check(&["sh", "./ci//run.sh"], "ci/run.sh", true);
        check(&["sh", "ci/../tools/./run.sh"], "tools/run.sh", true);
        check(&["sh", "../run.sh"], "run.sh", false);
        check(&["sh", "/run.sh"], "run.sh", false);
        check(&["pytest", "tests/", "tests"], "tests/a.py", false);
        check(&["sh", "-c", "cd x && ./check.sh --rc=tools/py.ini"], "check.sh", true);
        check(&["sh", "-c", "cd x && ./check.sh --rc=tools/py.ini"], "tools/py.ini", true);
        check(&["ls", "src/*.rs", "."], "src/main.rs", false);
    }

    #[test]
    fn paths_are_classed_by_the_defaults() {
        use PathClass::{Code, Exempt, Protected, Test};
        let policy = policy(&["sh", "-c", "./ci/check.sh && pytest --cfg=tools/py.ini tests/unit"]);
        for (path, expected) in [
            ("tests/a.rs", Test),
            ("crates/x/tests/deep/a.rs", Test),
            ("src/__tests__/a.ts", Test),
            ("pkg/a_test.go", Test),
            ("test_a.py", Test),
            ("src/a.spec.ts", Test),
            ("src/main/FooTest.java", Test),
            ("src/FooIT.kt", Test),
            ("conftest.py", Test),
            ("tests/notes.md", Test),
            ("README.md", Exempt),
            ("docs/a/b.rs", Exempt),
            ("infra/main.tf", Exempt),
            ("src/testing.rs", Code),
            ("src/latest.rs", Code),
            ("test_support/lib.rs", Code),
            ("src/contest.java", Code),
            (".github/workflows/a.yml", Protected),
            (".woodpecker.yml", Protected),
            (".woodpecker/tests/a.yml", Protected),
            (".gitattributes", Protected),
            (".afk/WORKFLOW.md", Protected),
            ("ci/check.sh", Protected),
            ("tools/py.ini", Protected),
            ("tests/unit/a.py", Test),
            ("sub/.gitattributes", Code),
        ] {
            let path = TreePath::new(path.as_bytes()).unwrap();
            assert_eq!(policy.class(&path), expected, "{path}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        let check = |config: ProofPolicyConfig, verify: Verify| {
            ProofPolicy::compile(config, verify, []).map(|_| ()).unwrap_err()
        };
        let default = ProofPolicyConfig::default;
        let cargo = || Verify::Command(vec!["cargo".to_owned()]);
        let assertion = ProofPolicyConfig { red: RedMeans::Assertion, ..default() };
        assert_eq!(check(assertion, cargo()), ProofPolicyError::NoBuild);
        let empty = ProofPolicyConfig { build: Some(vec![]), ..default() };
        assert_eq!(check(empty, cargo()), ProofPolicyError::EmptyBuild);
        let always = RequireRedProof::Always;
        let always = ProofPolicyConfig { require_red_proof: always, ..default() };
        assert_eq!(check(always, Verify::None), ProofPolicyError::NoVerify);
        let glob = ProofPolicyConfig { tests: vec!["[".to_owned()], ..default() };
        assert!(matches!(check(glob, cargo()), ProofPolicyError::Glob(_)));
    }

    #[test]
    fn verify_is_a_command_or_the_word_none() {
        let read = |json: &str| serde_json::from_str::<Verify>(json).ok();
        assert_eq!(read("\"none\""), Some(Verify::None));
        assert_eq!(read("[\"make\"]"), Some(Verify::Command(vec!["make".to_owned()])));
        for bad in ["\"make\"", "[]", "[\"\"]", "null", "{}"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let json = serde_json::to_string(&Verify::None).unwrap();
        assert_eq!(read(&json), Some(Verify::None));
    }
}
