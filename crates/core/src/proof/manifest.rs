//! Whether a changed judge file may steer the tests, or only lists dependencies.
//!
//! A make file, a build script or a runner's settings always may steer the tests: such a file is a
//! *runner*. A manifest such as `package.json` may, too, but mostly changes because a dependency
//! was added; it is a runner only if keys that steer tests differ: settings of test runners and of
//! linters, what decides which packages and tests there are, and what puts another package in the
//! place of one. A file that cannot be read, or that is a link, counts as a runner.

mod angular;
mod cargo;
mod dotnet;
mod go;
mod lines;
mod maven;
mod node;
mod python;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use self::angular::workspace;
use self::cargo::{cargo, new_cargo};
use self::dotnet::{msbuild, new_msbuild, new_versions, solution};
use self::go::go;
use self::lines::{gemfile, gradle, mix};
use self::maven::pom;
use self::node::node;
use self::python::{pipfile, pixi, python, requirements};
use crate::change::{Blobs, Change, Entry, Mode};

/// Files that only pin what manifests ask for. Yarn's `.pnp.cjs` changes with every package.
const LOCKS: &[&str] = &[
    ".pnp.cjs",
    "Cargo.lock",
    "Gemfile.lock",
    "Pipfile.lock",
    "bun.lock",
    "bun.lockb",
    "composer.lock",
    "gems.locked",
    "go.sum",
    "gradle.lockfile",
    "mix.lock",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "pdm.lock",
    "pixi.lock",
    "pnpm-lock.yaml",
    "poetry.lock",
    "uv.lock",
    "yarn.lock",
];

/// What of a manifest steers tests.
#[derive(Default)]
struct Steers {
    /// Keys that must stay as they are.
    keys: Json,
    /// Entries of lists that may grow, but from which nothing may be taken: the packages of a
    /// workspace, programs, examples, and features, without which tests may be left out.
    entries: BTreeSet<String>,
    /// Where dependencies come from.
    sources: Sources,
}

/// Dependencies by name, each with what says that it is another package than the one that a
/// registry has under that name; empty for a plain one. A new dependency may come from anywhere,
/// but files of the tree must not take the place of one that was there, such as a test library.
type Sources = BTreeMap<String, BTreeSet<String>>;

impl Steers {
    fn keys(keys: Json) -> Self {
        Self { keys, ..Self::default() }
    }

    /// Whether tests may run otherwise than with `old`.
    fn differ(&self, old: &Self) -> bool {
        let stands_in = self.sources.iter().any(|(name, sources)| {
            old.sources.get(name).is_some_and(|old| !sources.is_subset(old))
        });
        stands_in || self.keys != old.keys || !old.entries.is_subset(&self.entries)
    }
}

/// Returns what a dependency says of where it comes from, by these keys of its table; `None` if it
/// only asks for a version.
fn source(dependency: &Json, keys: &[&str]) -> Option<String> {
    let said = keys.iter().filter_map(|key| Some(format!("{key} = {}", dependency.get(key)?)));
    let said: Vec<String> = said.collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// Whether a change of a judge file may steer the tests.
pub(super) fn is_runner(change: &Change, blobs: &Blobs) -> bool {
    let name = String::from_utf8_lossy(change.path.file_name());
    let is_link = |entry: &Entry| entry.mode == Mode::Symlink;
    if [&change.old, &change.new].into_iter().flatten().any(is_link) {
        return true;
    }
    if LOCKS.contains(&name.as_ref()) || is_yarn_cache(change) {
        return false;
    }
    // A folder with a `go.mod` is a module of its own, which `./...` above it leaves out.
    let comes_or_goes = change.old.is_none() || change.new.is_none();
    if name == "go.mod" && comes_or_goes && change.path.folders().next().is_some() {
        return true;
    }
    // `dotnet test` runs what the solution in its folder lists, if there is one.
    if comes_or_goes && is_solution(&name) {
        return true;
    }
    let side = |entry: &Option<_>| match entry {
        None => Some(String::new()),
        Some(entry) => {
            blobs.content(entry).and_then(|bytes| str::from_utf8(bytes).ok()).map(str::to_owned)
        }
    };
    let (Some(old), Some(new)) = (side(&change.old), side(&change.new)) else { return true };
    let steers: fn(&str) -> Option<Steers> = match name.as_ref() {
        "package.json" | "composer.json" => |text| node(text).map(Steers::keys),
        "Cargo.toml" if change.old.is_none() => new_cargo,
        "Cargo.toml" => cargo,
        "go.mod" => |text| Some(Steers::keys(go(text))),
        "pyproject.toml" => python,
        "Pipfile" => pipfile,
        "pixi.toml" => pixi,
        name if is_requirements(name) => |text| Some(requirements(text)),
        "Gemfile" | "gems.rb" => |text| Some(gemfile(text)),
        "mix.exs" => |text| Some(mix(text)),
        "pom.xml" => pom,
        name if is_gradle(name) => |text| Some(gradle(text)),
        "angular.json" | "workspace.json" => workspace,
        "Directory.Packages.props" if change.old.is_none() => new_versions,
        "Directory.Packages.props" => msbuild,
        name if is_solution(name) => |text| Some(solution(text)),
        name if is_msbuild(name) && change.old.is_none() => new_msbuild,
        name if is_msbuild(name) => msbuild,
        _ => return true,
    };
    match (steers(&old), steers(&new)) {
        (Some(old), Some(new)) => new.differ(&old),
        (None, _) | (_, None) => true,
    }
}

/// Whether a judge file is the manifest of a package in a folder, and the test is in that folder.
pub(super) fn is_package_of(judge: &Change, test: &Change) -> bool {
    let names = [&b"Cargo.toml"[..], b"package.json", b"composer.json", b"pyproject.toml"];
    let folder = judge.path.folders().last();
    let name = judge.path.file_name();
    (names.contains(&name) || is_msbuild(&String::from_utf8_lossy(name)))
        && folder.is_some_and(|folder| test.path.folders().any(|above| above == folder))
}

fn is_requirements(name: &str) -> bool {
    let bytes = name.as_bytes();
    name.starts_with("requirements") && bytes.ends_with(b".txt")
}

fn is_msbuild(name: &str) -> bool {
    let endings = [&b".csproj"[..], b".fsproj", b".vbproj"];
    endings.iter().any(|ending| name.as_bytes().ends_with(ending))
}

fn is_gradle(name: &str) -> bool {
    [&b".gradle"[..], b".gradle.kts"].iter().any(|ending| name.as_bytes().ends_with(ending))
}

fn is_solution(name: &str) -> bool {
    [&b".sln"[..], b".slnx"].iter().any(|ending| name.as_bytes().ends_with(ending))
}

/// Whether it is a package that Yarn keeps in the repository.
fn is_yarn_cache(change: &Change) -> bool {
    change
        .path
        .folders()
        .any(|folder| folder == b".yarn/cache" || folder.ends_with(b"/.yarn/cache"))
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
        for always in ["build.gradle", "gradle/checks.gradle", ".eslintrc", "turbo.json"] {
            changed(always, "a", "b", true);
        }
        changed("package-lock.json", "{}", "{ }", false);
        changed("requirements-dev.txt", "a", "b", false);
        changed("Cargo.lock", "a", "b", false);
        let link = Some((crate::change::Mode::Symlink, &b"tools/package.json"[..]));
        check("package.json", None, link, true);
        check("go.mod", file("module a\n"), link, true);
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
        for (table, expected) in [
            ("[[bin]]\nname = \"b\"\npath = \"src/b.rs\"\n", false),
            ("[[bin]]\nname = \"a\"\npath = \"src/main.rs\"\n", false),
            ("[[bin]]\nname = \"a\"\npath = \"src/b.rs\"\n", true),
            ("[[bin]]\nname = \"a\"\ntest = false\n", true),
            ("[[example]]\nname = \"b\"\n", false),
            ("[[example]]\nname = \"b\"\ntest = true\n", true),
        ] {
            changed("Cargo.toml", cargo, &format!("{cargo}{table}"), expected);
            if !expected {
                changed("Cargo.toml", &format!("{cargo}{table}"), cargo, true);
            }
        }
        let patch = "[patch.crates-io]\nproptest = { path = \"tools/proptest\" }\n";
        changed("Cargo.toml", cargo, &format!("{cargo}{patch}"), true);
        let replace = "[replace]\n\"proptest:1.0.0\" = { path = \"tools/proptest\" }\n";
        changed("Cargo.toml", cargo, &format!("{cargo}{replace}"), true);
        for table in ["lints.rust", "workspace.lints.clippy"] {
            let linted = format!("{cargo}[{table}]\nunsafe_code = \"forbid\"\n");
            changed("Cargo.toml", &linted, cargo, true);
            changed("Cargo.toml", &linted, &linted.replace("forbid", "allow"), true);
            changed("Cargo.toml", cargo, &linted, true);
            changed("Cargo.toml", &linted, &linted.replace("\"1\"", "\"2\""), false);
            // A new package is asked for what the others are asked for.
            check("new/Cargo.toml", None, file(&linted), false);
        }
        let whole = "[workspace]\nmembers = [\"a\", \"b\"]\n[features]\nx = [\"y\"]\ny = []\n";
        for (old, new, expected) in [
            ("[\"a\", \"b\"]", "[\"b\", \"new\", \"a\"]", false),
            ("\"a\", ", "", true),
            ("\"a\"", "\"a/*\"", true),
            ("members = [\"a\", \"b\"]", "", true),
            ("[\"y\"]", "[\"z\", \"y\"]", false),
            ("y = []", "y = []\nz = [\"x\"]", false),
            ("[\"y\"]", "[]", true),
            ("y = []", "", true),
        ] {
            changed("Cargo.toml", whole, &whole.replace(old, new), expected);
        }
        let python = "[project]\nname = \"a\"\ndependencies = []\n";
        changed("pyproject.toml", python, &python.replace("[]", "[\"x\"]"), false);
        let black = "[tool.black]\nline-length = 9\n";
        changed("pyproject.toml", python, &format!("{python}{black}"), false);
        // A linter judges the same from here as from a file of its own.
        for linter in ["ruff", "ruff.lint", "mypy", "pyright", "pylint.main"] {
            let linted = format!("{python}[tool.{linter}]\nignore = [\"a\"]\n");
            changed("pyproject.toml", python, &linted, true);
            changed("pyproject.toml", &linted, python, true);
        }
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

    #[test]
    fn packages_that_yarn_keeps_are_as_harmless_as_a_lock_file() {
        for (name, expected) in [
            (".pnp.cjs", false),
            (".yarn/cache/x-npm-1.zip", false),
            ("web/.yarn/cache/x-npm-1.zip", false),
            (".yarn/patches/x.patch", true),
            (".yarn/releases/yarn-4.0.0.cjs", true),
            (".pnpmfile.cjs", true),
        ] {
            let (diff, blobs) = diff(&[(name, file("a"), file("b"))]);
            assert_eq!(is_runner(&diff.changes[0], &blobs), expected, "{name}");
        }
    }
}
