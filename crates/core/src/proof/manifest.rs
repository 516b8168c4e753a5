//! Whether a changed judge file may steer the tests, or only lists dependencies.
//!
//! A make file, a build script or a runner's settings always may steer the tests: such a file is a
//! *runner*. A manifest such as `package.json` may, too, but mostly changes because a dependency
//! was added; it is a runner only if keys that steer tests differ. A file that cannot be read
//! counts as a runner.

use serde_json::Value as Json;

use crate::change::{Blobs, Change};

/// Files that only pin what manifests ask for.
const LOCKS: &[&str] = &[
    "Cargo.lock",
    "Gemfile.lock",
    "Pipfile.lock",
    "bun.lock",
    "bun.lockb",
    "composer.lock",
    "go.sum",
    "gradle.lockfile",
    "mix.lock",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "pdm.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "uv.lock",
    "yarn.lock",
];

/// Keys of `package.json` and `composer.json` that do not steer tests.
const NODE_PLAIN: &[&str] = &[
    "author",
    "authors",
    "bin",
    "browser",
    "bugs",
    "bundledDependencies",
    "conflict",
    "contributors",
    "dependencies",
    "description",
    "devDependencies",
    "engines",
    "exports",
    "files",
    "funding",
    "homepage",
    "keywords",
    "license",
    "main",
    "minimum-stability",
    "module",
    "name",
    "optionalDependencies",
    "peerDependencies",
    "peerDependenciesMeta",
    "private",
    "provide",
    "replace",
    "repository",
    "require",
    "require-dev",
    "resolutions",
    "sideEffects",
    "suggest",
    "support",
    "types",
    "typings",
    "version",
];

/// Tables of `Cargo.toml` that steer tests, each as a path of keys.
const CARGO_STEERS: &[&[&str]] = &[
    &["bench"],
    &["cargo-features"],
    &["lib", "crate-type"],
    &["lib", "doctest"],
    &["lib", "harness"],
    &["lib", "path"],
    &["lib", "proc-macro"],
    &["lib", "test"],
    &["package", "autobins"],
    &["package", "autoexamples"],
    &["package", "autotests"],
    &["package", "build"],
    &["package", "metadata"],
    &["profile"],
    &["test"],
    &["workspace", "default-members"],
    &["workspace", "exclude"],
    &["workspace", "metadata"],
];

/// Tables below `tool` of `pyproject.toml` that only list dependencies or describe a package, or
/// that judge style alone.
const PYTHON_PLAIN: &[&str] =
    &["black", "isort", "mypy", "pyright", "ruff", "setuptools", "setuptools_scm", "uv"];

/// Whether a change of a judge file may steer the tests.
pub(super) fn is_runner(change: &Change, blobs: &Blobs) -> bool {
    let name = String::from_utf8_lossy(change.path.file_name());
    if LOCKS.contains(&name.as_ref()) || name == "go.mod" || is_requirements(&name) {
        return false;
    }
    let side = |entry: &Option<_>| match entry {
        None => Some(String::new()),
        Some(entry) => {
            blobs.content(entry).and_then(|bytes| str::from_utf8(bytes).ok()).map(str::to_owned)
        }
    };
    let (Some(old), Some(new)) = (side(&change.old), side(&change.new)) else { return true };
    let steers: fn(&str) -> Option<Json> = match name.as_ref() {
        "package.json" | "composer.json" => node,
        "Cargo.toml" => cargo,
        "pyproject.toml" => python,
        "Pipfile" => pipfile,
        _ => return true,
    };
    match (steers(&old), steers(&new)) {
        (Some(old), Some(new)) => old != new,
        (None, _) | (_, None) => true,
    }
}

fn is_requirements(name: &str) -> bool {
    let bytes = name.as_bytes();
    name.starts_with("requirements") && bytes.ends_with(b".txt")
}

/// Returns the part of a JSON manifest that steers tests; `None` if it cannot be read.
fn node(text: &str) -> Option<Json> {
    if text.is_empty() {
        return Some(Json::Object(serde_json::Map::new()));
    }
    let Json::Object(mut all) = serde_json::from_str(text).ok()? else { return None };
    all.retain(|key, _| !NODE_PLAIN.contains(&key.as_str()));
    Some(Json::Object(all))
}

fn cargo(text: &str) -> Option<Json> {
    let all: Json = toml::from_str(text).ok()?;
    let found = CARGO_STEERS.iter().filter_map(|path| {
        let value = path.iter().try_fold(&all, |at, key| at.get(key))?;
        Some((path.join("."), value.clone()))
    });
    Some(Json::Object(found.collect()))
}

fn python(text: &str) -> Option<Json> {
    let mut all: Json = toml::from_str(text).ok()?;
    let tools = all.get_mut("tool").and_then(Json::as_object_mut).map(std::mem::take);
    let mut tools = tools.unwrap_or_default();
    tools.retain(|key, _| !PYTHON_PLAIN.contains(&key.as_str()));
    if let Some(poetry) = tools.get_mut("poetry").and_then(Json::as_object_mut) {
        // All other keys of `poetry` describe the package.
        poetry.retain(|key, _| ["build", "plugins", "scripts"].contains(&key.as_str()));
    }
    tools.retain(|_, value| value.as_object().is_none_or(|table| !table.is_empty()));
    let mut found = serde_json::Map::new();
    found.insert("tool".to_owned(), Json::Object(tools));
    for (name, key) in
        [("build-system", &["build-system"][..]), ("plugins", &["project", "entry-points"])]
    {
        let value = key.iter().try_fold(&all, |at, key| at.get(key));
        found.insert(name.to_owned(), value.cloned().unwrap_or(Json::Null));
    }
    Some(Json::Object(found))
}

fn pipfile(text: &str) -> Option<Json> {
    let all: Json = toml::from_str(text).ok()?;
    Some(all.get("scripts").cloned().unwrap_or(Json::Null))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::testing::{Side, diff, file};

    #[test]
    fn a_manifest_is_a_runner_only_where_it_steers_tests() {
        let check = |name: &str, old: Side<'_>, new: Side<'_>, expected: bool| {
            let (diff, blobs) = diff(&[(name, old, new)]);
            assert_eq!(is_runner(&diff.changes[0], &blobs), expected, "{name}: {old:?} {new:?}");
        };
        let changed = |name: &str, old: &str, new: &str, expected: bool| {
            check(name, file(old), file(new), expected);
        };
        changed("Makefile", "test:\n", "test:\n\t@true\n", true);
        changed("package-lock.json", "{}", "{ }", false);
        changed("requirements-dev.txt", "a", "b", false);
        changed("go.mod", "a", "b", false);
        let npm = r#"{"name":"a","scripts":{"test":"node --test"},"dependencies":{"x":"1"}}"#;
        changed("package.json", npm, &npm.replace("\"1\"", "\"2\""), false);
        changed("package.json", npm, &npm.replace("node --test", "true"), true);
        changed("web/package.json", npm, &npm.replace("\"name\"", "\"jest\":{},\"name\""), true);
        changed("package.json", npm, "{", true);
        check("package.json", None, file(r#"{"name":"a"}"#), false);
        check("package.json", None, file(npm), true);
        check("package.json", file(npm), None, true);
        let cargo = "[package]\nname = \"a\"\n[dependencies]\nx = \"1\"\n";
        changed("Cargo.toml", cargo, &cargo.replace("\"1\"", "\"2\""), false);
        changed("Cargo.toml", cargo, &format!("{cargo}[features]\nextra = []\n"), false);
        changed("Cargo.toml", cargo, &format!("{cargo}[lib]\ntest = false\n"), true);
        changed("Cargo.toml", cargo, &format!("{cargo}[[test]]\nname = \"a\"\n"), true);
        changed("Cargo.toml", cargo, &format!("{cargo}[profile.test]\npanic = \"abort\"\n"), true);
        changed("Cargo.toml", cargo, "[package]\nautotests = false\nname = \"a\"\n", true);
        changed("Cargo.toml", cargo, "not toml", true);
        let python = "[project]\nname = \"a\"\ndependencies = []\n";
        changed("pyproject.toml", python, &python.replace("[]", "[\"x\"]"), false);
        changed(
            "pyproject.toml",
            python,
            &format!("{python}[tool.ruff]\nline-length = 9\n"),
            false,
        );
        let poetry = "[tool.poetry.dependencies]\nx = \"1\"\n";
        changed("pyproject.toml", python, &format!("{python}{poetry}"), false);
        let pytest = "[tool.pytest.ini_options]\naddopts = \"--co\"\n";
        changed("pyproject.toml", python, &format!("{python}{pytest}"), true);
        let plugin = "[project.entry-points.pytest11]\nx = \"x\"\n";
        changed("pyproject.toml", python, &format!("{python}{plugin}"), true);
        changed("Pipfile", "[packages]\n", "[packages]\nx = \"*\"\n", false);
        changed("Pipfile", "[packages]\n", "[scripts]\ntest = \"true\"\n", true);
        check("package.json", Some((crate::change::Mode::Regular, b"\xff")), file(npm), true);
    }
}
