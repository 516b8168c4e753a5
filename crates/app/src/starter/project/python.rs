//! Python: which runner the tests are written for, and what it needs from outside.
//!
//! Packages are fetched into `.packages`, a folder beside the code that the proof binds read-only.
//! pytest runs unittest's tests as well, so it is chosen wherever anything says that it is used;
//! unittest is in every Python, so it is chosen where nothing says so. With a lock file of uv or
//! Poetry, that tool fetches what it names, into the folder `.venv` that it makes anyway.

use std::path::Path;

use super::tree::{Tree, is_python_test, is_requirements};
use super::{Facts, Part, argv, quoted};

/// Files that mark a Python project.
const MARKERS: [&str; 6] =
    ["pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", "tox.ini", "conftest.py"];
/// Folders that hold tests.
const FOLDERS: [&str; 2] = ["tests", "test"];
/// The folder that packages are fetched into.
const PACKAGES: &str = ".packages";
/// The lock file of uv.
const UV_LOCK: &str = "uv.lock";
/// The lock file of Poetry.
const POETRY_LOCK: &str = "poetry.lock";
/// The interpreter of the environment that uv or Poetry makes.
const INTERPRETER: &str = ".venv/bin/python";
/// Customary names of the groups of dependencies that tests need.
const GROUPS: [&str; 4] = ["test", "tests", "testing", "dev"];

pub(super) fn part(tree: &Tree, facts: Facts) -> Option<Part> {
    let tests: Vec<(&str, &str)> = tree.files().filter(|(path, _)| is_test_here(path)).collect();
    let requirements = || tree.files().map(|(path, _)| path).find(|path| is_listed_here(path));
    let by = tree
        .first(&MARKERS)
        .or_else(requirements)
        .or_else(|| tests.first().map(|(path, _)| *path))?
        .to_owned();
    if let Some(bring) = locked(tree) {
        let pytest =
            uses_pytest(tree, &tests, &[]) || tree.text("pyproject.toml").contains("pytest");
        let run =
            if pytest { argv(&["python3", "-m", "pytest", "-q"]) } else { unittest(tree, &tests) };
        let words = [argv(&[INTERPRETER]), run[1..].to_vec()].concat();
        let programs = vec![if tree.has(UV_LOCK) { "uv" } else { "poetry" }, "python3"];
        return Some(Part {
            by,
            verify: on_path(&source(tree), words),
            before_ci: Some(bring.clone()),
            fetch: Some(bring),
            programs,
            ..Part::default()
        });
    }
    let needs = needs(tree);
    let pytest = uses_pytest(tree, &tests, &needs);
    let listed = brings_pytest(tree, &needs);
    let mut bring = needs;
    if pytest && !facts.pytest && !listed {
        bring.push("pytest".to_owned());
    }
    let run =
        if pytest { argv(&["python3", "-m", "pytest", "-q"]) } else { unittest(tree, &tests) };
    let mut path = source(tree);
    if !bring.is_empty() {
        path.push(PACKAGES);
    }
    let verify = on_path(&path, run);
    let fetch = (!bring.is_empty()).then(|| {
        let install = ["python3", "-m", "pip", "install", "-q", "--target", PACKAGES];
        argv(&install).into_iter().chain(bring).collect::<Vec<_>>()
    });
    Some(Part {
        by,
        verify,
        before_ci: fetch.clone(),
        fetch,
        programs: vec!["python3"],
        ..Part::default()
    })
}

/// The command by which uv or Poetry fetches what its lock file names; none without such a file.
/// The project itself is not installed, because its code is not there when packages are fetched. uv
/// must use the machine's Python: one that it installs would be in a home, which a box does not
/// show.
fn locked(tree: &Tree) -> Option<Vec<String>> {
    if tree.has(UV_LOCK) {
        let sync = ["uv", "sync", "--quiet", "--frozen", "--no-install-project"];
        return Some([argv(&sync), argv(&["--python-preference", "only-system"])].concat());
    }
    let install = "POETRY_VIRTUALENVS_IN_PROJECT=true POETRY_VIRTUALENVS_CREATE=true \
                   poetry install --quiet --no-interaction --no-root";
    tree.has(POETRY_LOCK).then(|| argv(&["sh", "-c", install]))
}

/// The folder `src` if it has Python files: its packages are found only if it is on Python's path.
fn source(tree: &Tree) -> Vec<&'static str> {
    let under = tree.files().any(|(path, _)| path.starts_with("src/") && is_python(path));
    if under { vec!["src"] } else { Vec::new() }
}

/// The command with these folders on Python's path.
fn on_path(path: &[&str], run: Vec<String>) -> Vec<String> {
    if path.is_empty() {
        return run;
    }
    let words: Vec<String> = run.iter().map(|word| quoted(word)).collect();
    argv(&["sh", "-c", &format!("PYTHONPATH={} {}", path.join(":"), words.join(" "))])
}

fn is_python(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|ending| ending == "py")
}

/// Whether the path is a test of this project, and not of one in a folder of it.
fn is_test_here(path: &str) -> bool {
    let folder = path.split_once('/').map(|(folder, _)| folder);
    is_python_test(path) && folder.is_none_or(|folder| FOLDERS.contains(&folder) || folder == "src")
}

fn is_listed_here(path: &str) -> bool {
    is_requirements(path) && (!path.contains('/') || path.starts_with("requirements/"))
}

fn uses_pytest(tree: &Tree, tests: &[(&str, &str)], needs: &[String]) -> bool {
    let says = |file: &str, what: &str| tree.text(file).contains(what);
    let in_test = |text: &str| {
        text.contains("import pytest")
            || text.contains("from pytest")
            // A function outside a class, which unittest does not see.
            || text.lines().any(|l| l.starts_with("def test_") || l.starts_with("async def test_"))
    };
    tree.files().any(|(path, _)| path.rsplit('/').next() == Some("conftest.py"))
        || tree.has("pytest.ini")
        || says("pyproject.toml", "[tool.pytest")
        || says("setup.cfg", "[tool:pytest]")
        || says("tox.ini", "[pytest]")
        || brings_pytest(tree, needs)
        || tests.iter().any(|(_, text)| in_test(text))
}

/// Whether pytest is among the project's own requirements.
fn brings_pytest(tree: &Tree, needs: &[String]) -> bool {
    let lists = |text: &str| text.lines().any(|line| name(line) == "pytest");
    needs.iter().any(|word| name(word) == "pytest")
        || tree.files().any(|(path, text)| is_listed_here(path) && lists(text))
}

/// The name of a requirement such as `pytest>=8; python_version > "3.8"`.
fn name(requirement: &str) -> &str {
    let end = |c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c));
    requirement.trim().split(end).next().unwrap_or_default()
}

/// The command that runs these tests with unittest.
fn unittest(tree: &Tree, tests: &[(&str, &str)]) -> Vec<String> {
    let mut words = argv(&["python3", "-m", "unittest", "discover"]);
    // Discovery descends only into packages, so it must begin in the folder of the tests.
    let folder = FOLDERS.into_iter().find(|folder| {
        !tests.is_empty() && tests.iter().all(|(path, _)| path.starts_with(&format!("{folder}/")))
    });
    if let Some(folder) = folder {
        words.extend(argv(&["-s", folder]));
        if tree.has(&format!("{folder}/__init__.py")) {
            words.extend(argv(&["-t", "."]));
        }
    }
    let base = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    if !tests.is_empty() && tests.iter().all(|(path, _)| base(path).ends_with("_test.py")) {
        words.extend(argv(&["-p", "*_test.py"]));
    }
    words
}

/// Arguments of `pip install`: files of requirements, or what `pyproject.toml` names.
fn needs(tree: &Tree) -> Vec<String> {
    let mut words = Vec::new();
    let asks = |text: &str| {
        let lines = text.lines().map(str::trim);
        lines.into_iter().any(|line| !line.is_empty() && !line.starts_with('#'))
    };
    for (path, _) in tree.files().filter(|(path, text)| is_listed_here(path) && asks(text)) {
        words.extend(["-r".to_owned(), path.to_owned()]);
    }
    if words.is_empty() {
        words = of_pyproject(tree.text("pyproject.toml")).unwrap_or_default();
    }
    words
}

fn of_pyproject(text: &str) -> Option<Vec<String>> {
    let document: toml::Table = text.parse().ok()?;
    let strings = |value: Option<&toml::Value>| -> Vec<String> {
        let list = value.and_then(toml::Value::as_array).into_iter().flatten();
        list.filter_map(|one| Some(one.as_str()?.to_owned())).collect()
    };
    let project = document.get("project");
    let mut words = strings(project.and_then(|project| project.get("dependencies")));
    for groups in [
        project.and_then(|project| project.get("optional-dependencies")),
        document.get("dependency-groups"),
    ] {
        for group in GROUPS {
            words.extend(strings(groups.and_then(|groups| groups.get(group))));
        }
    }
    let mut known = std::collections::BTreeSet::new();
    words.retain(|word| known.insert(word.clone()));
    Some(words)
}
