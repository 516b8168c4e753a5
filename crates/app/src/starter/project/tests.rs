//! Which commands are proposed for each kind of project.

use super::*;

fn with(files: &[(&str, &str)], facts: Facts) -> Option<Proposal> {
    let paths = files.iter().map(|(path, _)| (*path).to_owned());
    let text = |path: &str| files.iter().find(|(name, _)| *name == path).unwrap().1.to_owned();
    proposal(&Tree::of(paths, text), facts)
}

fn of(files: &[(&str, &str)]) -> Option<Proposal> {
    with(files, Facts::default())
}

/// The commands as lines: `verify`, `fetch` and the stage.
#[track_caller]
fn check(files: &[(&str, &str)], verify: &str, fetch: &str, ci: &str) {
    let found = of(files).unwrap_or_else(|| panic!("nothing for {files:?}"));
    let fetched = found.fetch.as_deref().map(script).unwrap_or_default();
    let told = (script(&found.verify), fetched, script(&found.ci));
    assert_eq!(told, (verify.to_owned(), fetch.to_owned(), ci.to_owned()), "{files:?}");
}

#[test]
fn cargo_fetches_only_what_comes_from_outside() {
    let plain = "[package]\nname = \"a\"\n";
    let test = "cargo test --quiet";
    check(&[("Cargo.toml", plain)], test, "", test);
    check(&[("Cargo.toml", plain), ("Cargo.lock", "version = 4\n")], test, "", test);
    let source = "[[package]]\nsource = \"registry+x\"\n";
    check(&[("Cargo.toml", plain), ("Cargo.lock", source)], test, "cargo fetch --locked", test);
    let vendored = [("Cargo.toml", plain), ("Cargo.lock", source), ("vendor/a/b", "")];
    check(&vendored, test, "", test);
    check(&[("Cargo.toml", "[dependencies]\nserde = \"1\"\n")], test, "cargo fetch", test);
    let local = "[dependencies]\nb = { path = \"b\" }\n";
    check(&[("Cargo.toml", local), ("b/Cargo.toml", plain)], test, "", test);
    let all = "cargo test --quiet --workspace";
    check(&[("Cargo.toml", "[workspace]\nmembers = [\"a\"]\n")], all, "", all);
}

#[test]
fn go_is_tested_by_its_own_tool() {
    let test = "go test ./...";
    check(&[("go.mod", "")], test, "", test);
    check(&[("go.mod", ""), ("go.sum", "")], test, "go mod download", test);
    // The language's own tests before a wrapper around them.
    check(&[("Makefile", "test:\n"), ("go.mod", "")], test, "", test);
}

#[test]
fn node_uses_the_manager_that_the_lock_file_names() {
    let bare = r#"{"scripts": {"test": "node --test"}}"#;
    check(&[("package.json", bare)], "npm test", "", "npm test");
    check(&[("package.json", bare), ("package-lock.json", "")], "npm test", "", "npm test");
    let needs = r#"{"scripts": {"test": "x"}, "devDependencies": {"x": "1"}}"#;
    check(
        &[("package.json", needs), ("package-lock.json", "")],
        "npm test",
        "npm ci --ignore-scripts --no-audit",
        "npm ci --no-audit && npm test",
    );
    check(
        &[("package.json", needs)],
        "npm test",
        "npm install --ignore-scripts --no-audit --no-package-lock",
        "npm install --no-audit --no-package-lock && npm test",
    );
    check(
        &[("package.json", needs), ("pnpm-lock.yaml", "")],
        "pnpm test",
        "pnpm install --frozen-lockfile --ignore-scripts",
        "pnpm install --frozen-lockfile && pnpm test",
    );
    let none = r#"{"scripts": {"test": "echo \"Error: no test specified\" && exit 1"}}"#;
    check(&[("package.json", none), ("a.test.js", "")], "node --test", "", "node --test");
    assert_eq!(of(&[("package.json", none)]), None);
    let workspaces = r#"{"workspaces": ["a"]}"#;
    let all = "npm test --workspaces --if-present";
    check(&[("package.json", workspaces), ("a/package.json", bare)], all, "", all);
}

#[test]
fn python_is_tested_by_the_runner_that_is_there() {
    let unittest = "python3 -m unittest discover -s tests -t .";
    let class = "import unittest\nclass A(unittest.TestCase):\n    def test_a(self): pass\n";
    let packaged = [("tests/__init__.py", ""), ("tests/test_a.py", class)];
    check(&packaged, unittest, "", unittest);
    let loose = "python3 -m unittest discover -s tests";
    check(&[("tests/test_a.py", class)], loose, "", loose);
    let root = "python3 -m unittest discover";
    check(&[("test_a.py", class), ("pyproject.toml", "")], root, "", root);
    let ends = "python3 -m unittest discover -p '*_test.py'";
    check(&[("a_test.py", class)], ends, "", ends);

    let function = "def test_a():\n    assert True\n";
    let pytest = "PYTHONPATH=.packages python3 -m pytest -q";
    let bring = "python3 -m pip install -q --target .packages pytest";
    let both = format!("{bring} && {pytest}");
    for files in [
        &[("tests/test_a.py", function)][..],
        &[("test_a.py", class), ("conftest.py", "")],
        &[("test_a.py", class), ("pyproject.toml", "[tool.pytest.ini_options]\n")],
    ] {
        check(files, pytest, bring, &both);
        let here = with(files, Facts { pytest: true }).unwrap();
        assert_eq!((script(&here.verify).as_str(), here.fetch), ("python3 -m pytest -q", None));
    }
    let asks = [("tests/test_a.py", function), ("requirements.txt", "# ours\npytest==8\n")];
    let bring = "python3 -m pip install -q --target .packages -r requirements.txt";
    assert_eq!(script(&of(&asks).unwrap().fetch.unwrap()), bring);
    let project = "[project]\ndependencies = [\"attrs>=23\"]\n\
                   [project.optional-dependencies]\ntest = [\"pytest>=8\"]\n";
    let src = [("pyproject.toml", project), ("src/a.py", ""), ("tests/test_a.py", class)];
    let found = of(&src).unwrap();
    let path = "PYTHONPATH=src:.packages python3 -m pytest -q";
    assert_eq!(script(&found.verify), path);
    let bring = "python3 -m pip install -q --target .packages 'attrs>=23' 'pytest>=8'";
    assert_eq!(script(&found.fetch.unwrap()), bring);
}

#[test]
fn python_is_brought_by_the_tool_whose_lock_file_is_there() {
    let function = "def test_a():\n    assert True\n";
    let sync = "uv sync --quiet --frozen --no-install-project --python-preference only-system";
    let pytest = "PYTHONPATH=src .venv/bin/python -m pytest -q";
    let files =
        [("pyproject.toml", ""), ("uv.lock", ""), ("src/a.py", ""), ("tests/test_a.py", function)];
    check(&files, pytest, sync, &format!("{sync} && {pytest}"));
    assert_eq!(of(&files).unwrap().programs, ["uv", "python3"]);
    let install = "POETRY_VIRTUALENVS_IN_PROJECT=true POETRY_VIRTUALENVS_CREATE=true \
                   poetry install --quiet --no-interaction --no-root";
    let class = "import unittest\nclass A(unittest.TestCase):\n    def test_a(self): pass\n";
    let unittest = ".venv/bin/python -m unittest discover -s tests";
    let files = [("pyproject.toml", ""), ("poetry.lock", ""), ("tests/test_a.py", class)];
    check(&files, unittest, install, &format!("{install} && {unittest}"));
    // The project names pytest, so it runs the tests.
    let named = [
        ("pyproject.toml", "[tool.poetry.group.dev.dependencies]\npytest = \"*\"\n"),
        files[1],
        files[2],
    ];
    assert!(script(&of(&named).unwrap().verify).contains("pytest"));
}

#[test]
fn the_jvm_is_built_by_the_wrapper_of_the_repository() {
    let maven = |program: &str| format!("{program} -q -B -Dmaven.repo.local=\"$HOME/.m2\" test");
    check(&[("pom.xml", "")], &maven("mvn"), "", &maven("mvn"));
    check(&[("pom.xml", ""), ("mvnw", "")], &maven("./mvnw"), "", &maven("./mvnw"));
    let gradle =
        |program: &str| format!("GRADLE_USER_HOME=\"$HOME/.gradle\" {program} -q --no-daemon test");
    check(&[("build.gradle.kts", "")], &gradle("gradle"), "", &gradle("gradle"));
    let wrapped = [("settings.gradle", ""), ("app/build.gradle", ""), ("gradlew", "")];
    check(&wrapped, &gradle("./gradlew"), "", &gradle("./gradlew"));
    // Maven and Gradle find out what they need while they run.
    let found = of(&[("pom.xml", "")]).unwrap();
    assert!(found.network);
    assert_eq!(script(&found.build.unwrap()), maven("mvn").replace(" test", " test-compile"));
    assert_eq!(found.programs, ["mvn", "java"]);
    let inside = of(&[("api/pom.xml", ""), ("web/go.mod", "")]).unwrap();
    assert!(inside.network);
}

#[test]
fn ruby_is_tested_by_the_runner_that_its_files_show() {
    let fetch = "BUNDLE_PATH=.gems BUNDLE_FROZEN=true bundle install --quiet";
    let specs = [("Gemfile", ""), ("Gemfile.lock", ""), ("spec/a_spec.rb", "")];
    let rspec = "BUNDLE_PATH=.gems bundle exec rspec";
    check(&specs, rspec, fetch, &format!("{fetch} && {rspec}"));
    let fetch = "BUNDLE_PATH=.gems bundle install --quiet";
    let rake = [("Gemfile", ""), ("Rakefile", "Rake::TestTask.new\n"), ("test/a_test.rb", "")];
    let run = "BUNDLE_PATH=.gems bundle exec rake -f Rakefile test";
    check(&rake, run, fetch, &format!("{fetch} && {run}"));
    let bare = of(&[("test/a_test.rb", "")]).unwrap();
    assert_eq!(bare.verify[..3], ["ruby", "-Ilib", "-Itest"].map(str::to_owned));
    assert_eq!((bare.fetch, bare.programs), (None, vec!["ruby"]));
    assert_eq!(of(&[("Gemfile", "")]), None);
}

#[test]
fn a_wrapper_is_used_where_there_is_no_language() {
    check(&[("Makefile", "all:\n\ntest: all\n\tx\n")], "make test", "", "make test");
    check(&[("makefile", "tests:\ncheck :\n")], "make check", "", "make check");
    check(&[("test.sh", "#!/bin/sh\n")], "sh test.sh", "", "sh test.sh");
    check(&[("tests/run.sh", "")], "sh tests/run.sh", "", "sh tests/run.sh");
    check(&[("test.sh", "#!/usr/bin/env bash\n")], "bash test.sh", "", "bash test.sh");
    check(&[("test.sh", ""), ("ci.sh", "")], "sh test.sh", "", "sh ci.sh");
}

#[test]
fn the_projects_of_a_monorepo_are_gone_through_in_their_folders() {
    let class = "import unittest\n";
    let package = r#"{"scripts": {"test": "x"}, "dependencies": {"x": "1"}}"#;
    let files = [
        ("services/api/tests/__init__.py", ""),
        ("services/api/tests/test_api.py", class),
        ("web/package.json", package),
        ("web/package-lock.json", ""),
        ("web/node_modules/x/package.json", package),
        ("examples/Cargo.toml", ""),
    ];
    let api = "(cd services/api && python3 -m unittest discover -s tests -t .)";
    let fetch = "(cd web && npm ci --ignore-scripts --no-audit)";
    check(
        &files,
        &format!("{api} && (cd web && npm test)"),
        fetch,
        &format!("(cd web && npm ci --no-audit) && {api} && (cd web && npm test)"),
    );
    let found = of(&files).unwrap();
    assert_eq!(found.by, "services/api/tests/test_api.py, web/package.json");
    assert_eq!(found.programs, ["python3", "npm", "node"]);
    // A make file at the root says how to test, but not what must be fetched.
    let made = [&files[..], &[("Makefile", "test:\n\ttrue\n")]].concat();
    let found = of(&made).unwrap();
    assert_eq!(
        (script(&found.verify), script(&found.fetch.unwrap())),
        ("make test".into(), fetch.into())
    );
    assert_eq!(found.programs, ["make", "python3", "npm", "node"]);
}

#[test]
fn nothing_is_guessed_where_nothing_tells() {
    for files in [
        &[("README.md", "")][..],
        &[("package.json", "{}")],
        &[("Makefile", "all:\ntest := 1\n")],
        &[],
    ] {
        assert_eq!(of(files), None, "{files:?}");
    }
}

#[test]
fn a_word_is_quoted_for_a_shell() {
    assert_eq!(quoted("a/b-c"), "a/b-c");
    assert_eq!(quoted("it's"), "'it'\\''s'");
    assert_eq!(quoted(""), "''");
}
