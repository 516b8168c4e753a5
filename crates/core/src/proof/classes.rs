//! What a path means to the proof, by its name alone.
//!
//! A `protected` or `judge` pattern that matches a folder covers its contents, and one that matches
//! the contents of a folder covers a link in its place; `tests` and `exempt` match files only,
//! because matching more there would weaken the proof. A word of a command protects the file at
//! that path and nothing below it: `npm test` does not protect a folder `test/`. What would be a
//! judge elsewhere is a test in a folder of fixtures, unless a command names that folder.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::policy::ProofPolicyConfig;
use crate::change::{Diff, TreePath};
use crate::globs::{GlobError, Globs};

/// What a path means to the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathClass {
    /// The operator's own rules; in every proof run it comes from the base.
    Protected,
    /// Decides what `verify` does: a make file, a runner's settings, a manifest.
    Judge,
    /// A test, or data that tests read.
    Test,
    /// Needs no test, such as documentation.
    Exempt,
    /// Code: everything else.
    Code,
}

impl PathClass {
    /// Returns the class's word in the evidence.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Protected => "protected",
            Self::Judge => "judge",
            Self::Test => "test",
            Self::Exempt => "exempt",
            Self::Code => "code",
        }
    }
}

/// The compiled patterns of a policy.
#[derive(Debug, Clone)]
pub(super) struct Classes {
    protected: Globs,
    judge: Globs,
    tests: Globs,
    exempt: Globs,
    /// Files that `verify` or a stage names.
    named: BTreeSet<TreePath>,
    /// Paths at which a new file would be run in place of what `verify` names.
    shadows: BTreeSet<TreePath>,
}

impl Classes {
    /// Compiles the classes for a repo with this `verify` command and the commands of these
    /// `stages`.
    pub(super) fn compile<'a>(
        config: &ProofPolicyConfig,
        verify: &[String],
        stages: impl IntoIterator<Item = &'a [String]>,
    ) -> Result<Self, GlobError> {
        let mut named = files_named_in(verify);
        named.extend(stages.into_iter().flat_map(files_named_in));
        let sent = sent_to(words_of(verify).into_iter());
        let folders: Vec<&str> = [""].into_iter().chain(sent).collect();
        Ok(Self {
            protected: Globs::compile("proof.protected", &config.protected)?,
            judge: Globs::compile("proof.judge", &config.judge)?,
            tests: Globs::compile("proof.tests", &config.tests)?,
            exempt: Globs::compile("proof.exempt", &config.exempt)?,
            shadows: shadows_of(verify, &folders),
            named,
        })
    }

    /// Returns the class of `path`: the first that matches, in the order of [`PathClass`].
    pub(super) fn class(&self, path: &TreePath) -> PathClass {
        if self.is_protected(path) {
            PathClass::Protected
        } else if self.is_judge_by_name(path) && !self.is_fixture(path) {
            PathClass::Judge
        } else if self.tests.matches(path) {
            PathClass::Test
        } else if self.exempt.matches(path) {
            PathClass::Exempt
        } else {
            PathClass::Code
        }
    }

    pub(super) fn is_protected(&self, path: &TreePath) -> bool {
        self.named.contains(path) || self.protected.covers(path)
    }

    /// Whether `path` is named like a file that decides what `verify` does. It may be a fixture all
    /// the same.
    pub(super) fn is_judge_by_name(&self, path: &TreePath) -> bool {
        self.judge.covers(path) || self.shadows.contains(path)
    }

    /// Whether `path` is in a folder that holds data for tests, and in which nothing that judges
    /// the tree is looked for.
    fn is_fixture(&self, path: &TreePath) -> bool {
        // Pytest loads it wherever it collects tests.
        if path.file_name() == b"conftest.py" || !self.tests.matches(path) {
            return false;
        }
        let holds_data = |folder: &TreePath| match folder.file_name() {
            b"testdata" | b"__snapshots__" => true,
            // A package may be called so, and Go leaves out a folder that is a module, with the
            // tests in it.
            b"fixtures" => self.tests.matches(folder) && path.file_name() != b"go.mod",
            _ => false,
        };
        let folders: Vec<TreePath> = path.folders().filter_map(TreePath::new).collect();
        // Not where a settings folder or the sources of a build have such a folder, nor where a
        // command is run in one.
        let begins = folders.iter().position(holds_data);
        begins.and_then(|at| folders.get(at..)).is_some_and(|within| {
            within.first().is_some_and(|outermost| !self.judge.covers(outermost))
                && !within.iter().any(|folder| self.named.contains(folder))
        })
    }

    /// Returns the files that commands name.
    pub(super) fn named(&self) -> impl Iterator<Item = &TreePath> {
        self.named.iter()
    }

    /// Adds paths at which a new file would be run in place of what is named.
    pub(super) fn add_shadows(&mut self, shadows: impl IntoIterator<Item = TreePath>) {
        self.shadows.extend(shadows);
    }

    /// Forgets the shadows that exist on the older side of `diff`: only a new file shadows what is
    /// run.
    pub(super) fn forget_shadows(&mut self, diff: &Diff) {
        for change in diff.changes.iter().filter(|change| change.old.is_some()) {
            self.shadows.remove(&change.path);
        }
    }

    /// Protects one more file, which a named one links to.
    pub(super) fn name(&mut self, path: TreePath) {
        self.named.insert(path);
    }
}

/// Words that are followed by the folder in which a command's later relative paths start.
const CHANGES_FOLDER: &[&str] =
    &["cd", "pushd", "-C", "--prefix", "--directory", "--cwd", "--dir", "--chdir", "-w"];

/// Returns the folders that programs are sent to by these words: `cd app`, `make -C app`.
pub(super) fn sent_to<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let words: Vec<&str> = words.collect();
    let sent = words.windows(2).filter_map(|pair| match pair {
        [how, folder] => CHANGES_FOLDER.contains(how).then_some(*folder),
        _ => None,
    });
    sent.collect()
}

/// Returns the words of a command, also those inside `sh -c` scripts and `--key=file`.
fn words_of(argv: &[String]) -> Vec<&str> {
    let cut = |c: char| c.is_whitespace() || ";&|()<>\"'`=,".contains(c);
    argv.iter().flat_map(|arg| arg.split(cut)).filter(|word| !word.is_empty()).collect()
}

/// Returns the files that a command may name, also inside `sh -c` scripts and `--key=file`.
///
/// A word that is not a file of the tree (a program, a verb, a folder) matches nothing. Words after
/// `cd app` and its like are also looked for below `app`.
fn files_named_in(argv: &[String]) -> BTreeSet<TreePath> {
    let words = words_of(argv);
    let mut found: BTreeSet<TreePath> = words.iter().filter_map(|word| file_at("", word)).collect();
    for (at, pair) in words.windows(2).enumerate() {
        if let [how, folder] = pair
            && CHANGES_FOLDER.contains(how)
        {
            let later = words.iter().skip(at + 2);
            found.extend(later.filter_map(|word| file_at(folder, word)));
        }
    }
    found
}

/// Returns the path in the tree that `word` spells relative to `folder`, if it may be a file's.
pub(super) fn file_at(folder: &str, word: &str) -> Option<TreePath> {
    if word.starts_with(['/', '-']) || folder.starts_with(['/', '-']) {
        return None;
    }
    let mut parts = Vec::new();
    for part in folder.split('/').chain(word.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    TreePath::new(parts.join("/").as_bytes())
}

/// Python's programs that judge a tree, by the name of their module.
const PYTHON_RUNNERS: &[&str] = &[
    "behave", "black", "coverage", "flake8", "mypy", "nose", "nose2", "nox", "py", "pylint",
    "pytest", "ruff", "stestr", "tox", "trial", "unittest",
];

/// Options of these with which a module is loaded, or only measured.
const LOADS: &[&str] = &["-p", "--ds", "--plugin", "--pyargs", "--settings"];
const MEASURES: &[&str] = &["--cov", "--source"];

/// Returns the paths, in these folders, at which an interpreter would find a new file in place of
/// what the command names: `unittest.py` for `python -m unittest`, a program in `node_modules/.bin`
/// for one on the search path. A word that is no module shadows nothing of Python's: not `check` of
/// `make check`, nor a folder of tests.
pub(super) fn shadows_of(command: &[String], folders: &[&str]) -> BTreeSet<TreePath> {
    let plain = |word: &str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    let words = words_of(command);
    // A dotted module is shadowed by its first part.
    let module = |word: &str| word.split('.').next().unwrap_or_default().to_owned();
    let is_runner = |word: &str| PYTHON_RUNNERS.contains(&module(word).as_str());
    let has_runner = words.iter().any(|word| is_runner(word));
    let mut names = Vec::new();
    // Whether the words are modules with tests, as those after `unittest` are.
    let mut modules = false;
    for (at, word) in words.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| words.get(at)).copied().unwrap_or_default();
        modules = (modules || before == "unittest") && *word != "discover";
        if !plain(word) {
            continue;
        }
        let bins = [format!(".bin/{word}"), format!("{word}/package.json"), (*word).to_owned()];
        names.extend(bins.map(|name| format!("node_modules/{name}")));
        // `-m`, also behind other letters, as in `-Im`.
        let is_run = before.starts_with('-') && !before.starts_with("--") && before.ends_with('m');
        let ends: &[&str] = if modules || is_run || is_runner(word) {
            // The module or package itself may be a link to a folder.
            &["", ".py", "/__init__.py", "/__main__.py"]
        } else if has_runner && LOADS.contains(&before) {
            &["", ".py", "/__init__.py"]
        } else if has_runner && MEASURES.contains(&before) {
            &[".py"]
        } else {
            &[]
        };
        names.extend(ends.iter().map(|end| format!("{}{end}", module(word))));
    }
    let paths = folders
        .iter()
        .flat_map(|folder| names.iter().filter_map(move |name| file_at(folder, name)));
    paths.collect()
}

#[cfg(test)]
mod tests {
    use super::super::{ProofPolicy, Verify};
    use super::*;
    use crate::change::testing::{diff, file};

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn policy(verify: &[&str]) -> ProofPolicy {
        let verify = Verify::Command(argv(verify));
        ProofPolicy::compile(ProofPolicyConfig::default(), verify, []).unwrap()
    }

    fn path(text: &str) -> TreePath {
        TreePath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_word_of_a_command_protects_a_file_and_no_folder() {
        let check = |words: &[&str], named: &str, expected: bool| {
            let (config, command) = (ProofPolicyConfig::default, argv(words));
            let named = path(named);
            assert_eq!(policy(words).is_protected(&named), expected, "verify {words:?}: {named}");
            let stages = [&command[..]];
            let by_stage = ProofPolicy::compile(config(), Verify::None, stages).unwrap();
            assert_eq!(by_stage.is_protected(&named), expected, "stage {words:?}: {named}");
        };
        check(&["npm", "test"], "test/calc.test.js", false);
        check(&["npm", "test"], "test", true);
        check(&["pytest", "tests"], "tests/test_calc.py", false);
        check(&["pytest", "tests/unit"], "tests/unit/a.py", false);
        check(&["pytest", "tests/a.py"], "tests/a.py", true);
        check(&["pytest", "tests/a.py"], "tests/b.py", false);
        check(&["sh", "test.sh"], "test.sh", true);
        check(&["sh", "./tools//run.sh"], "tools/run.sh", true);
        check(&["sh", "tools/../run.sh"], "run.sh", true);
        check(&["sh", "tools/../run.sh"], "tools/run.sh", false);
        check(&["sh", "../run.sh"], "run.sh", false);
        check(&["sh", "/run.sh"], "run.sh", false);
        check(&["pytest", "tests/", "tests"], "tests/a.py", false);
        check(&["sh", "-c", "cd x && ./check.sh --rc=tools/py.ini"], "check.sh", true);
        check(&["sh", "-c", "cd x && ./check.sh --rc=tools/py.ini"], "x/check.sh", true);
        check(&["sh", "-c", "cd x && ./check.sh --rc=tools/py.ini"], "tools/py.ini", true);
        check(&["sh", "-c", "cd x; sh ../run.sh"], "run.sh", true);
        check(&["make", "-C", "app", "check"], "app/check", true);
        check(&["make", "-C", "app", "check"], "other/check", false);
        check(&["ls", "src/*.rs", "."], "src/main.rs", false);
    }

    /// Checks the classes of paths by the default patterns and the words of a command.
    fn check_defaults(expected: &[(&str, PathClass)]) {
        let words = ["sh", "-c", "./ci/check.sh && pytest --cfg=tools/py.ini tests/unit"];
        let policy = policy(&words);
        for (name, class) in expected {
            assert_eq!(policy.class(&path(name)), *class, "{name}");
        }
    }

    #[test]
    fn paths_are_classed_by_the_defaults() {
        use PathClass::{Code, Exempt, Protected, Test};
        check_defaults(&[
            ("tests/a.rs", Test),
            ("test/calc.test.js", Test),
            ("crates/x/tests/deep/a.rs", Test),
            ("src/__tests__/a.ts", Test),
            ("pkg/a_test.go", Test),
            ("test_a.py", Test),
            ("src/a.spec.ts", Test),
            ("src/main/FooTest.java", Test),
            ("src/FooIT.kt", Test),
            ("tests/notes.md", Test),
            ("tests/unit/a.py", Test),
            ("README.md", Exempt),
            ("docs/a/b.rs", Exempt),
            ("infra/main.tf", Exempt),
            ("src/testing.rs", Code),
            ("src/latest.rs", Code),
            ("test_support/lib.rs", Code),
            ("src/contest.java", Code),
            ("CLAUDE.md", Protected),
            ("sub/AGENTS.md", Protected),
            ("CLAUDE.local.md", Protected),
            ("sub/AGENTS.override.md", Protected),
            (".agents/skills/a/SKILL.md", Protected),
            ("docs/AGENTS-howto.md", Exempt),
            (".claude/settings.json", Protected),
            (".mcp.json", Protected),
            (".circleci/config.yml", Protected),
            ("Jenkinsfile", Protected),
            ("azure-pipelines.yml", Protected),
            ("CODEOWNERS", Protected),
            ("docs/CODEOWNERS", Protected),
            (".github/workflows/a.yml", Protected),
            (".woodpecker.yml", Protected),
            (".woodpecker/tests/a.yml", Protected),
            (".gitattributes", Protected),
            ("sub/.gitattributes", Protected),
            (".gitmodules", Protected),
            (".afk/WORKFLOW.md", Protected),
            ("afk.toml", Protected),
            ("ci/check.sh", Protected),
            ("tools/py.ini", Protected),
        ]);
    }

    #[test]
    fn what_runs_the_tests_is_known_by_its_name() {
        use PathClass::{Code, Judge};
        check_defaults(&[
            ("conftest.py", Judge),
            ("tests/conftest.py", Judge),
            ("Makefile", Judge),
            ("sub/GNUmakefile", Judge),
            ("rules.mk", Judge),
            ("justfile", Judge),
            ("Taskfile.yml", Judge),
            ("package.json", Judge),
            ("web/package-lock.json", Judge),
            (".npmrc", Judge),
            ("vite.config.ts", Judge),
            (".mocharc.cjs", Judge),
            ("Cargo.toml", Judge),
            ("crates/a/Cargo.lock", Judge),
            ("build.rs", Judge),
            (".cargo/config.toml", Judge),
            ("rust-toolchain.toml", Judge),
            (".config/nextest.toml", Judge),
            ("pyproject.toml", Judge),
            ("setup.cfg", Judge),
            ("sub/sitecustomize.py", Judge),
            ("requirements-dev.txt", Judge),
            ("go.mod", Judge),
            ("build.gradle.kts", Judge),
            ("pom.xml", Judge),
            ("CMakeLists.txt", Judge),
            ("meson.build", Judge),
            ("BUILD.bazel", Judge),
            ("Rakefile", Judge),
            (".rspec", Judge),
            ("phpunit.xml.dist", Judge),
            ("mix.exs", Judge),
            (".env.test", Judge),
            (".envrc", Judge),
            ("app/build.gradle", Judge),
            ("gradle/checks.gradle", Judge),
            ("build-logic/src/main/kotlin/checks.kt", Judge),
            ("buildSrc/src/test/kotlin/ATest.kt", Judge),
            ("buildSrc", Judge),
            ("project/plugins.sbt", Judge),
            ("vitest.workspace.ts", Judge),
            ("turbo.json", Judge),
            ("nx.json", Judge),
            ("libs/a/project.json", Judge),
            ("lerna.json", Judge),
            (".bazelignore", Judge),
            (".eslintrc", Judge),
            ("web/.eslintrc.cjs", Judge),
            (".eslintignore", Judge),
            (".prettierrc.json", Judge),
            ("biome.jsonc", Judge),
            (".golangci.yml", Judge),
            (".flake8", Judge),
            ("ruff.toml", Judge),
            ("docs/.ruff.toml", Judge),
            ("mypy.ini", Judge),
            (".pylintrc", Judge),
            ("tests/clippy.toml", Judge),
            ("rustfmt.toml", Judge),
            (".rubocop.yml", Judge),
            ("src/clippy.rs", Code),
            ("src/gradle.kt", Code),
            ("pytest.toml", Judge),
            ("sub/.pytest.toml", Judge),
            ("jest.config.json", Judge),
            ("pytest.py", Judge),
            ("pytest/__init__.py", Judge),
            ("node_modules/.bin/pytest", Judge),
            ("src/Makefile.rs", Code),
            ("Makefile.am", Judge),
            ("tools/Makefile.inc", Judge),
            ("jest.setup.js", Judge),
            ("web/vitest.setup.ts", Judge),
            ("src/setupTests.ts", Judge),
            ("src/setup.ts", Code),
            ("karma.conf.js", Judge),
            ("wdio.conf.ts", Judge),
            (".pnp.cjs", Judge),
            (".pnpmfile.cjs", Judge),
            (".yarn/releases/yarn-4.0.0.cjs", Judge),
            ("build.xml", Judge),
            ("project/Build.scala", Judge),
            ("project/build.properties", Judge),
            ("src/main/scala/project/Model.scala", Code),
            ("Calc.sln", Judge),
            ("Calc/Calc.csproj", Judge),
            ("Calc.Tests/Calc.Tests.fsproj", Judge),
            ("Calc.Tests/xunit.runner.json", Judge),
            ("global.json", Judge),
            ("src/i18n/en/global.json", Code),
            ("mise.toml", Judge),
            (".tool-versions", Judge),
        ]);
    }

    #[test]
    fn what_runs_the_tests_in_some_projects_is_known_by_its_name() {
        use PathClass::{Code, Judge};
        check_defaults(&[
            (".rspec-local", Judge),
            ("gems.rb", Judge),
            ("gems.locked", Judge),
            (".bundle/config", Judge),
            (".bundle", Judge),
            ("cucumber.yml", Judge),
            ("config/cucumber.yml", Judge),
            ("cucumber.mjs", Judge),
            ("src/cucumber.js", Code),
            ("angular.json", Judge),
            ("workspace.json", Judge),
            (".obsidian/workspace.json", Code),
            ("jest.preset.js", Judge),
            ("babel.config.json", Judge),
            ("Gruntfile.js", Judge),
            ("web/gulpfile.babel.js", Judge),
            ("Calc/Calc.csproj.user", Judge),
            ("Directory.Packages.props", Judge),
            ("Directory.Build.rsp", Judge),
            ("tox.toml", Judge),
            ("hatch.toml", Judge),
            ("pixi.toml", Judge),
            ("pixi.lock", Judge),
            ("testng.xml", Judge),
            ("src/main/resources/testng.xml", Code),
            ("Makefile.toml", Judge),
            ("tools/checks.just", Judge),
            ("codeception.yml", Judge),
            ("behat.yml.dist", Judge),
            ("dart_test.yaml", Judge),
            ("magefile.go", Judge),
            ("magefiles/test.go", Judge),
        ]);
    }

    #[test]
    fn what_would_judge_elsewhere_is_a_test_among_fixtures() {
        use PathClass::{Code, Judge, Protected, Test};
        let check = |words: &[&str], name: &str, expected: PathClass| {
            assert_eq!(policy(words).class(&path(name)), expected, "{words:?}: {name}");
        };
        for (name, class) in [
            ("tests/fixtures/two/Makefile", Test),
            ("tests/fixtures/package.json", Test),
            ("web/__tests__/fixtures/a/.eslintrc", Test),
            ("internal/parse/testdata/mod/go.mod", Test),
            ("src/__snapshots__/Cargo.toml", Test),
            ("tests/fixtures/a/.cargo/config.toml", Test),
            ("tests/fixtures/a/.cargo", Test),
            ("tests/Makefile", Judge),
            ("crates/fixtures/Cargo.toml", Judge),
            ("tests/fixtures/conftest.py", Judge),
            ("tests/fixtures/a/go.mod", Judge),
            ("buildSrc/src/main/kotlin/fixtures/A.kt", Judge),
            ("buildSrc/src/test/fixtures/A.kt", Judge),
            ("testdata", Code),
            ("tests/fixtures/CLAUDE.md", Protected),
        ] {
            check(&["make", "check"], name, class);
            check(&["pytest", "tests"], name, class);
        }
        for words in [
            &["make", "-C", "tests/fixtures/two"][..],
            &["make", "-C", "tests/fixtures/two/", "check"],
            &["sh", "-c", "cd tests && make -C fixtures/two"],
            &["make", "--directory=tests/fixtures"],
        ] {
            check(words, "tests/fixtures/two/Makefile", Judge);
        }
    }

    #[test]
    fn a_link_in_the_place_of_a_folder_has_the_class_of_what_is_in_it() {
        use PathClass::{Code, Judge, Protected};
        check_defaults(&[
            (".cargo", Judge),
            ("sub/.cargo", Judge),
            ("node_modules", Judge),
            ("node_modules/.bin", Judge),
            ("node_modules/pytest", Judge),
            (".config", Judge),
            (".config/other.toml", Code),
            ("gradle", Judge),
            ("gradle/wrapper", Judge),
            ("gradle/libs.gradle.txt", Code),
            (".mvn", Judge),
            (".afk", Protected),
            (".agents", Protected),
            (".claude", Protected),
            (".codex", Protected),
            (".gemini", Protected),
            (".github", Protected),
            ("sub/.claude", Code),
        ]);
    }

    #[test]
    fn a_module_that_verify_names_is_not_shadowed_unseen() {
        let judge =
            |words: &[&str], name: &str| policy(words).class(&path(name)) == PathClass::Judge;
        assert!(judge(&["python3", "-m", "unittest", "discover", "-q"], "unittest.py"));
        assert!(judge(&["python3", "-m", "nose2.main"], "nose2/__init__.py"));
        assert!(judge(&["python3", "-m", "nose2.main"], "nose2"), "a link to another folder");
        assert!(judge(&["npx", "jest"], "node_modules/.bin/jest"));
        assert!(!judge(&["python3", "-m", "unittest"], "calc.py"));
        assert!(!judge(&["python3", "-m", "unittest"], "src/unittest.py"));
        assert!(judge(&["python3", "-Im", "checks"], "checks/__main__.py"));
        assert!(judge(&["pytest", "-p", "plugin"], "plugin.py"));
        assert!(judge(&["python3", "-m", "unittest", "calc"], "calc.py"));
        assert!(judge(&["coverage", "run", "-m", "pytest"], "pytest.py"));
        assert!(judge(&["sh", "-c", "cd app && python3 -m unittest"], "app/unittest.py"));

        // Nor is one that a line names which `verify` runs.
        let judge = |file: &str, text: &str, name: &str| {
            let mut policy = policy(&["make", "test"]);
            policy.add_shadows(policy.shadows_in(&path(file), text));
            policy.class(&path(name)) == PathClass::Judge
        };
        let recipe = |line: &str| format!("test:\n\t{line}\nserve:\n\tpython3 -m server\n");
        let discover = recipe("@python3 -m unittest discover -q -s tests");
        assert!(judge("Makefile", &discover, "unittest.py"));
        assert!(!judge("Makefile", &discover, "src/unittest.py"));
        assert!(!judge("Makefile", &discover, "tests/__init__.py"));
        assert!(!judge("Makefile", &discover, "server.py"), "another target");
        assert!(!judge("Makefile", &recipe("# pytest"), "pytest.py"));
        assert!(judge("Makefile", &recipe("@pytest -q"), "pytest/__init__.py"));
        assert!(judge("Makefile", &recipe("cd app && pytest"), "app/pytest.py"));
        assert!(judge("app/Makefile", &discover, "app/unittest.py"));
        assert!(!judge("Makefile", &recipe("python3 -m unittest; cc calc.c"), "cc.py"));
        let npm = r#"{"scripts":{"test":"jest --ci","build":"tsc"}}"#;
        assert!(judge("package.json", npm, "node_modules/jest"), "a link");
        assert!(judge("scripts/test.sh", "exec python3 -m pytest \"$@\"\n", "pytest.py"));
    }

    #[test]
    fn a_word_that_is_no_module_shadows_none() {
        let judge =
            |words: &[&str], name: &str| policy(words).class(&path(name)) == PathClass::Judge;
        assert!(!judge(&["make", "check"], "check.py"));
        assert!(!judge(&["npm", "run", "build"], "build.py"));
        assert!(judge(&["npm", "run", "build"], "node_modules/.bin/npm"));
        assert!(!judge(&["pytest", "tests"], "tests/__init__.py"));
        assert!(!judge(&["pytest", "--cov=src", "src"], "src/__main__.py"));
        assert!(!judge(&["pytest", "--junitxml=report.xml"], "report.py"));
        let discover = ["python3", "-m", "unittest", "discover", "-s", "tests"];
        assert!(!judge(&discover, "tests/__init__.py"));
    }

    #[test]
    fn what_the_base_has_shadows_nothing() {
        let words = ["pytest", "--cov=calc", "--cov=new"];
        let mut policy = policy(&words);
        let edited = diff(&[("calc.py", file("a"), file("b")), ("new.py", None, file("a"))]).0;
        policy.forget_shadows(&edited);
        assert_eq!(policy.class(&path("calc.py")), PathClass::Code);
        for new in ["new.py", "pytest.py"] {
            assert_eq!(policy.class(&path(new)), PathClass::Judge, "{new}");
        }
    }
}
