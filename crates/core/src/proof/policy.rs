//! How a repo's changes must be proved: the settings that people write, and their compiled form.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error as _, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::classes::{Classes, PathClass};
use super::result::Conditions;
use super::scripts;
use crate::change::{Change, Diff, TreePath};
use crate::digest::Digest;
use crate::forms;
use crate::globs::GlobError;

/// How a change must be proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProofPolicyConfig {
    /// Patterns of the paths that are tests.
    pub tests: Vec<String>,
    /// Patterns of the paths that need no test, such as documents.
    pub exempt: Vec<String>,
    /// Patterns of the paths that a change may not touch: what CI runs and what agents are told.
    /// `allow_protected` lifts that.
    pub protected: Vec<String>,
    /// Patterns of the files that decide what `verify` does, such as make files, settings of test
    /// runners and manifests.
    pub judge: Vec<String>,
    /// A command (argv) that downloads the packages that `verify` needs, such as `["cargo",
    /// "fetch", "--locked"]`. It has the network, and sees the content of `judge` and `protected`
    /// files only. If unset, nothing is downloaded.
    #[schemars(length(min = 1))]
    pub fetch: Option<Vec<String>>,
    /// A command (argv) that builds the tests without running them. It tells a test that does not
    /// build from one that fails. If unset, the two are not told apart.
    #[schemars(length(min = 1))]
    pub build: Option<Vec<String>>,
    /// Path of the `JUnit` report that `verify` writes. Results are then compared test by test, and
    /// a change can be proved although the default branch fails. If unset, only the exit code of
    /// `verify` counts.
    pub junit: Option<String>,
    /// Which failures count when the tests are run without the change's code.
    pub red: RedMeans,
    /// For which changes the tests must be seen to fail without the change's code.
    pub require_red_proof: RequireRedProof,
    /// Whether a change that touches `exempt` files alone may land without a test and without the
    /// label `no_test_label`.
    pub exempt_closes: bool,
    /// What to do about a change with which existing tests fail unless they are changed, too.
    pub existing_tests: ExistingTests,
    /// The weakest proof with which a change may land.
    pub least: Least,
    /// How many times `verify` is run to see the tests fail without the change's code, and as many
    /// to see them pass with it, from 2 to 20. If unset, 2, or 6 if `verify` takes at most a
    /// second.
    #[schemars(range(min = 2, max = 20))]
    pub repeats: Option<u32>,
    /// Whether `verify` finds a `.git` with history and tags, for tools that call `git describe`.
    pub git: bool,
    /// Whether a change may touch the paths in `protected`.
    pub allow_protected: bool,
    /// Whether a change may remove, empty or skip tests that others wrote.
    pub allow_deleted_tests: bool,
}

/// The default patterns of tests.
const TESTS: &[&str] = &[
    "**/{test,tests,__tests__,spec,testdata,fixtures,__snapshots__}/**",
    "**/test_*",
    "**/*_{test,tests,spec}.*",
    "**/*.{test,spec}.*",
    "**/*{Test,Tests,IT}.{java,kt,cs}",
];

/// The default patterns of paths that need no test.
const EXEMPT: &[&str] = &["**/*.md", "docs/**", "**/*.tf"];

/// The default patterns of the operator's own rules: what a CI runs, and what agents are told.
const PROTECTED: &[&str] = &[
    ".afk/**",
    ".agents/**",
    ".circleci/**",
    ".claude/**",
    ".codex/**",
    ".forgejo/**",
    ".gemini/**",
    ".gitea/**",
    ".github/**",
    ".gitlab-ci.yml",
    ".gitmodules",
    ".mcp.json",
    ".woodpecker*",
    "**/.gitattributes",
    "**/{AGENTS,CLAUDE,GEMINI}.md",
    "**/{AGENTS,CLAUDE,GEMINI}.*.md",
    "**/CODEOWNERS",
    "Jenkinsfile",
    "afk.toml",
    "azure-pipelines.yml",
];

/// The default patterns of the files that decide what `verify` does.
const JUDGE: &[&str] = &[
    // make, just, task
    "**/{makefile,Makefile,GNUmakefile,BSDmakefile}",
    // What a make file includes, or is made of; not sources, such as `Makefile.rs`.
    "**/{makefile,Makefile,GNUmakefile}.{am,in,inc,include,common,defs,rules,config,local,test,tests,ci}",
    "**/*.mk",
    "**/{justfile,Justfile,.justfile,*.just}",
    "**/{Taskfile,taskfile}*.{yml,yaml}",
    // JavaScript
    "**/{package.json,package-lock.json,npm-shrinkwrap.json,yarn.lock,pnpm-lock.yaml,pnpm-workspace.yaml,bun.lock,bun.lockb,bunfig.toml,deno.json,deno.jsonc}",
    "**/{.npmrc,.yarnrc,.yarnrc.yml}",
    "**/tsconfig*.json",
    "**/*.{config,conf,setup}.{js,cjs,mjs,ts,cts,mts}",
    "**/{babel.config.json,jest.config.json,jest.preset.*,vitest.workspace.*}",
    "**/{Gruntfile,gruntfile,Gulpfile,gulpfile}.*",
    "**/{setupTests,setupJest,setup-jest,jest-setup,setupVitest,setup-vitest,vitest-setup}.*",
    "**/{turbo.json,nx.json,project.json,lerna.json,angular.json}",
    // Nx's, which other tools have, too, but only in folders.
    "workspace.json",
    "**/.{mocharc,babelrc,jestrc,nycrc,c8rc,taprc,swcrc}*",
    "**/node_modules/.bin/**",
    // A pattern that ends with a slash matches a link in the place of the folder.
    "**/node_modules/",
    "**/{.pnp.cjs,.pnp.loader.mjs,.pnpmfile.cjs}",
    "**/.yarn/**",
    // Rust
    "**/{Cargo.toml,Cargo.lock,build.rs,Makefile.toml}",
    "**/.cargo/**",
    "**/rust-toolchain*",
    "**/.config/nextest.toml",
    "**/.config/",
    // Python
    "**/{pyproject.toml,setup.py,setup.cfg,pytest.ini,.pytest.ini,pytest.toml,.pytest.toml,tox.ini,tox.toml,noxfile.py,conftest.py,sitecustomize.py,usercustomize.py,.coveragerc,Pipfile,Pipfile.lock,poetry.lock,uv.lock,pdm.lock}",
    "**/{hatch.toml,pixi.toml,pixi.lock}",
    "**/requirements*.txt",
    // Go
    "**/{go.mod,go.sum,go.work,go.work.sum,magefile.go}",
    "magefiles/**",
    // the JVM
    "**/{gradle.properties,gradlew,gradle.lockfile,pom.xml,mvnw}",
    "**/{*.gradle,*.gradle.kts,*.sbt}",
    "**/{gradle/wrapper,.mvn,buildSrc,build-logic}/**",
    "**/gradle/",
    "**/build.xml",
    "testng.xml",
    // Only in the root, because packages of code and of translations have such names, too.
    "project/*.{scala,properties}",
    // C and C++, Bazel
    "**/{CMakeLists.txt,CMakePresets.json,CTestTestfile.cmake,meson.build,meson_options.txt,meson.options}",
    "**/*.cmake",
    "**/{BUILD,BUILD.bazel,WORKSPACE,WORKSPACE.bazel,MODULE.bazel,.bazelrc,.bazelignore}",
    "**/*.bzl",
    // Ruby, PHP, Elixir, Dart
    "**/{Rakefile,rakefile,Gemfile,Gemfile.lock,gems.rb,gems.locked,.rspec,.rspec-local,.simplecov}",
    "**/{*.rake,cucumber.yml,cucumber.yaml}",
    "cucumber.{js,cjs,mjs,json}",
    "**/.bundle/config",
    "**/.bundle/",
    "**/phpunit*.xml*",
    "**/{composer.json,composer.lock}",
    "**/{behat,codeception}.{yml,yaml,yml.dist,yaml.dist,dist.yml,dist.yaml}",
    "**/{mix.exs,mix.lock}",
    "**/dart_test.yaml",
    // .NET
    "**/*.{csproj,fsproj,vbproj,sln,slnx}",
    // Read beside the project that it is named after.
    "**/*.{csproj,fsproj,vbproj}.user",
    "**/*.runsettings",
    "**/*xunit.runner.json",
    "**/Directory.Build.{props,targets,rsp}",
    "**/Directory.Packages.props",
    "global.json",
    // linters and formatters
    "**/{.eslintrc*,.eslintignore,.prettierrc*,.prettierignore,biome.json,biome.jsonc}",
    "**/{.flake8,.pylintrc,pylintrc,ruff.toml,.ruff.toml,mypy.ini,.mypy.ini,pyrightconfig.json}",
    "**/{clippy.toml,.clippy.toml,rustfmt.toml,.rustfmt.toml}",
    "**/{.golangci.*,.rubocop.yml,.rubocop_todo.yml}",
    // the environment
    "**/.env*",
    "**/.envrc",
    "**/{mise.toml,.mise.toml,.tool-versions}",
];

impl Default for ProofPolicyConfig {
    fn default() -> Self {
        let list = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect();
        Self {
            tests: list(TESTS),
            exempt: list(EXEMPT),
            protected: list(PROTECTED),
            judge: list(JUDGE),
            fetch: None,
            build: None,
            junit: None,
            red: RedMeans::default(),
            require_red_proof: RequireRedProof::default(),
            exempt_closes: false,
            existing_tests: ExistingTests::default(),
            least: Least::default(),
            repeats: None,
            git: false,
            allow_protected: false,
            allow_deleted_tests: false,
        }
    }
}

/// What to do about a change with which existing tests fail unless they are changed, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ExistingTests {
    /// The change may alter lines of existing tests, which makes its proof weaker. It may not
    /// remove or skip tests.
    #[default]
    MayChange,
    /// The change is refused: existing tests must pass as they were.
    MustHold,
}

/// The weakest proof with which a change may land.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Least {
    /// A proof with reservations is enough, for instance that existing tests were changed.
    #[default]
    Weaker,
    /// The proof must have no reservation.
    Proven,
}

/// Which failures count when the tests are run without the change's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RedMeans {
    /// Any failure, also that the tests do not build.
    #[default]
    Any,
    /// Only a failure of tests that were built; needs `build`.
    Assertion,
}

/// For which changes the tests must be seen to fail without the change's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RequireRedProof {
    /// For changes that touch anything besides exempt paths and tests.
    #[default]
    WhenCodeChanges,
    /// For every change.
    Always,
    /// For no change; the tests must still pass with it.
    Never,
}

/// The command that judges a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verify {
    /// No command, which a repo must state as `"none"`.
    None,
    /// The command (argv), never empty.
    Command(Vec<String>),
}

impl JsonSchema for Verify {
    fn schema_name() -> Cow<'static, str> {
        "Verify".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The command (argv) that tests the repo's files, or \"none\".",
            "anyOf": [{ "const": "none" }, forms::command_schema(generator)],
        })
    }
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

/// Settings that are malformed or contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofPolicyError {
    /// A pattern is malformed.
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
    /// `fetch` is present but empty.
    #[error("fetch is an empty command: name a program, or omit it")]
    EmptyFetch,
    /// `repeats` is too small to prove anything, or larger than anybody would wait for.
    #[error("repeats = {0} is not between 2 and 20")]
    Repeats(u32),
    /// A proof is required, but there is no command to run.
    #[error("require_red_proof = \"always\" needs a verify command, and verify is \"none\"")]
    NoVerify,
}

/// [`ProofPolicyConfig`], validated and compiled.
#[derive(Debug, Clone)]
pub struct ProofPolicy {
    config: ProofPolicyConfig,
    verify: Verify,
    classes: Classes,
    /// Scripts that decide what `verify` runs although no command names them.
    runs: BTreeSet<TreePath>,
}

impl ProofPolicyConfig {
    /// Checks that the settings are consistent, also with `verify`. Patterns are not checked.
    pub(crate) fn check(&self, verify: &Verify) -> Result<(), ProofPolicyError> {
        match (&self.build, self.red) {
            (None, RedMeans::Assertion) => return Err(ProofPolicyError::NoBuild),
            (Some(argv), RedMeans::Any | RedMeans::Assertion) if argv.is_empty() => {
                return Err(ProofPolicyError::EmptyBuild);
            }
            (None, RedMeans::Any) | (Some(_), RedMeans::Any | RedMeans::Assertion) => {}
        }
        if self.fetch.as_ref().is_some_and(Vec::is_empty) {
            return Err(ProofPolicyError::EmptyFetch);
        }
        if let Some(times) = self.repeats.filter(|times| !(2..=20).contains(times)) {
            return Err(ProofPolicyError::Repeats(times));
        }
        if *verify == Verify::None && self.require_red_proof == RequireRedProof::Always {
            return Err(ProofPolicyError::NoVerify);
        }
        Ok(())
    }
}

impl ProofPolicy {
    /// Compiles the settings of a repo. Files that the commands of `stages` name are protected,
    /// like those that `verify` names, because both judge a change.
    pub fn compile<'a>(
        config: ProofPolicyConfig,
        verify: Verify,
        stages: impl IntoIterator<Item = &'a [String]>,
    ) -> Result<Self, ProofPolicyError> {
        config.check(&verify)?;
        let command = match &verify {
            Verify::None => &[][..],
            Verify::Command(argv) => argv,
        };
        let classes = Classes::compile(&config, command, stages)?;
        Ok(Self { config, verify, classes, runs: BTreeSet::new() })
    }

    /// Returns the settings that the policy was compiled from.
    pub fn config(&self) -> &ProofPolicyConfig {
        &self.config
    }

    /// Returns the command that judges a tree.
    pub fn verify(&self) -> &Verify {
        &self.verify
    }

    /// Returns the class of `path`.
    pub fn class(&self, path: &TreePath) -> PathClass {
        self.classes.class(path)
    }

    /// Whether `path` is named like a file that decides what `verify` does, also among fixtures.
    pub(super) fn is_judge_by_name(&self, path: &TreePath) -> bool {
        self.classes.is_judge_by_name(path)
    }

    /// Whether `path` is one of the operator's own rules, or named by a command.
    pub fn is_protected(&self, path: &TreePath) -> bool {
        self.classes.is_protected(path)
    }

    /// Returns the files that `verify` or a stage may name.
    pub fn named(&self) -> impl Iterator<Item = &TreePath> {
        self.classes.named()
    }

    /// Exempts the files of the base, the older side of `diff`, from the rule that a file may not
    /// shadow what `verify` runs by name: only a new file can.
    pub fn forget_shadows(&mut self, diff: &Diff) {
        self.classes.forget_shadows(diff);
    }

    /// Returns the paths at which a new file would be run in place of what the file at `path`, which
    /// has this `text`, names where it runs for `verify`.
    pub fn shadows_in(&self, path: &TreePath, text: &str) -> BTreeSet<TreePath> {
        match &self.verify {
            Verify::None => BTreeSet::new(),
            Verify::Command(argv) => scripts::shadows_in(path, text, argv),
        }
    }

    /// Counts new files at these paths as what decides what `verify` does.
    pub fn add_shadows(&mut self, shadows: impl IntoIterator<Item = TreePath>) {
        self.classes.add_shadows(shadows);
    }

    /// Protects `path` as well, which a named file links to.
    pub fn name(&mut self, path: TreePath) {
        self.classes.name(path);
    }

    /// Returns the files in which to search the base for [scripts](ProofPolicy::scripts_in) that
    /// `verify` runs without naming them; none if the repo has no `verify`.
    pub fn searched(&self) -> BTreeSet<TreePath> {
        match &self.verify {
            Verify::None => BTreeSet::new(),
            Verify::Command(argv) => {
                let mut searched = scripts::looked_up(argv);
                searched.extend(self.named().cloned());
                searched
            }
        }
    }

    /// Returns the scripts that the file at `path`, which has this `text`, may run for `verify`.
    pub fn scripts_in(&self, path: &TreePath, text: &str) -> BTreeSet<TreePath> {
        match &self.verify {
            Verify::None => BTreeSet::new(),
            Verify::Command(argv) => scripts::scripts_in(path, text, argv),
        }
    }

    /// Counts changes of these scripts as changes to what runs the tests.
    pub fn add_scripts(&mut self, scripts: impl IntoIterator<Item = TreePath>) {
        self.runs.extend(scripts);
    }

    /// Whether `path` was [added](ProofPolicy::add_scripts) as a script that `verify` runs.
    pub(super) fn runs(&self, path: &TreePath) -> bool {
        self.runs.contains(path)
    }

    /// Returns the changes of `diff` at paths of one class.
    pub(super) fn of_class<'a>(
        &'a self,
        diff: &'a Diff,
        class: PathClass,
    ) -> impl Iterator<Item = &'a Change> {
        diff.changes.iter().filter(move |c| self.class(&c.path) == class)
    }

    /// Returns the digest of a command, of the report that is read from its run, of what is fetched
    /// for it, and of the conditions.
    pub(super) fn digest(&self, argv: &[String], conditions: &Conditions) -> Digest {
        let mut all = argv.to_vec();
        all.push(format!("junit={}", self.config.junit.as_deref().unwrap_or("")));
        all.extend(self.config.fetch.iter().flatten().map(|word| format!("fetch={word}")));
        all.extend(conditions.words());
        Digest::of_list(&all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let fetch = ProofPolicyConfig { fetch: Some(vec![]), ..default() };
        assert_eq!(check(fetch, cargo()), ProofPolicyError::EmptyFetch);
        for times in [0, 1, 21] {
            let repeats = ProofPolicyConfig { repeats: Some(times), ..default() };
            assert_eq!(check(repeats, cargo()), ProofPolicyError::Repeats(times));
        }
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
