//! Whether a changed judge file may steer the tests, or only lists dependencies.
//!
//! A make file, a build script or a runner's settings always may steer the tests: such a file is a
//! *runner*. A manifest such as `package.json` may, too, but mostly changes because a dependency
//! was added; it is a runner only if keys that steer tests differ: settings of test runners and of
//! linters, what decides which packages and tests there are, and what puts another package in the
//! place of one. A file that cannot be read, or that is a link, counts as a runner.

use std::collections::BTreeSet;

use serde_json::Value as Json;

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
    "sideEffects",
    "suggest",
    "support",
    "types",
    "typings",
    "version",
];

/// Those of them that list packages with where they come from.
const NODE_LISTS: &[&str] =
    &["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"];

/// What the source of a package begins with where files of the tree, or a package of another name,
/// stand in for it, such as for the test runner. Packages of a workspace do not: they have names of
/// their own.
const NODE_STAND_INS: &[&str] =
    &["../", "./", "/", "file:", "link:", "npm:", "patch:", "portal:", "~/"];

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
    &["lints"],
    &["package", "autobins"],
    &["package", "autoexamples"],
    &["package", "autotests"],
    &["package", "build"],
    &["package", "metadata"],
    &["package", "workspace"],
    &["patch"],
    &["profile"],
    &["replace"],
    &["test"],
    &["workspace", "default-members"],
    &["workspace", "exclude"],
    &["workspace", "lints"],
    &["workspace", "metadata"],
];

/// Those of them that set up lints. They loosen nothing in a new manifest, whose package was not
/// judged before.
const CARGO_LINTS: &[&str] = &["lints", "workspace.lints"];

/// Tables below `tool` of `pyproject.toml` that only list dependencies or describe a package, or
/// that lay code out. A linter's table is not among them: it judges as a file of its own would.
const PYTHON_PLAIN: &[&str] = &["black", "isort", "setuptools", "setuptools_scm", "uv"];

/// Elements of an `MSBuild` project that describe a package or hold others, and steer no tests
/// unless they have attributes.
const MSBUILD_PLAIN: &[&str] = &[
    "?xml",
    "Authors",
    "Company",
    "Copyright",
    "Description",
    "ItemGroup",
    "PackageId",
    "PackageTags",
    "PrivateAssets",
    "PropertyGroup",
    "RepositoryUrl",
    "Version",
    "VersionPrefix",
];

/// Its items that may be added, but not taken away: without its adapter, a runner finds no tests.
const MSBUILD_LISTS: &[&str] =
    &["Compile", "Content", "EmbeddedResource", "None", "PackageReference", "ProjectReference"];

/// What a new project says besides, which steers only its own tests.
const MSBUILD_NEW: &[&str] = &[
    "AssemblyName",
    "ImplicitUsings",
    "IncludeAssets",
    "IsPackable",
    "IsTestProject",
    "LangVersion",
    "Nullable",
    "OutputType",
    "Project",
    "RootNamespace",
    "TargetFramework",
    "TargetFrameworks",
    "Using",
];

/// What of a manifest steers tests.
#[derive(Default)]
struct Steers {
    /// Keys that must stay as they are.
    keys: Json,
    /// Entries of lists that may grow, but from which nothing may be taken: the packages of a
    /// workspace, programs, examples, and features, without which tests may be left out.
    entries: BTreeSet<String>,
}

impl Steers {
    fn keys(keys: Json) -> Self {
        Self { keys, ..Self::default() }
    }

    /// Whether tests may run otherwise than with `old`.
    fn differ(&self, old: &Self) -> bool {
        self.keys != old.keys || !old.entries.is_subset(&self.entries)
    }
}

/// Whether a change of a judge file may steer the tests.
pub(super) fn is_runner(change: &Change, blobs: &Blobs) -> bool {
    let name = String::from_utf8_lossy(change.path.file_name());
    let is_link = |entry: &Entry| entry.mode == Mode::Symlink;
    if [&change.old, &change.new].into_iter().flatten().any(is_link) {
        return true;
    }
    if LOCKS.contains(&name.as_ref()) || is_requirements(&name) || is_yarn_cache(change) {
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
        "pyproject.toml" => |text| python(text).map(Steers::keys),
        "Pipfile" => |text| pipfile(text).map(Steers::keys),
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

/// Returns the part of a JSON manifest that steers tests; `None` if it cannot be read.
fn node(text: &str) -> Option<Json> {
    if text.is_empty() {
        return Some(Json::Object(serde_json::Map::new()));
    }
    let Json::Object(mut all) = serde_json::from_str(text).ok()? else { return None };
    let stands_in = |source: &Json| {
        let source = source.as_str().unwrap_or_default();
        NODE_STAND_INS.iter().any(|start| source.starts_with(start))
    };
    all.retain(|key, value| {
        if NODE_LISTS.contains(&key.as_str())
            && let Some(packages) = value.as_object_mut()
        {
            packages.retain(|_, source| stands_in(source));
            return !packages.is_empty();
        }
        !NODE_PLAIN.contains(&key.as_str())
    });
    Some(Json::Object(all))
}

fn cargo(text: &str) -> Option<Steers> {
    let all: Json = toml::from_str(text).ok()?;
    let found = CARGO_STEERS.iter().filter_map(|path| {
        let value = path.iter().try_fold(&all, |at, key| at.get(key))?;
        Some((path.join("."), value.clone()))
    });
    let mut keys: serde_json::Map<String, Json> = found.collect();
    let listed = |list: &Json| -> Vec<String> {
        list.as_array().into_iter().flatten().map(ToString::to_string).collect()
    };
    let members = all.get("workspace").and_then(|workspace| workspace.get("members"));
    let mut entries: BTreeSet<String> = members.map(listed).into_iter().flatten().collect();
    let features = all.get("features").and_then(Json::as_object);
    for (feature, list) in features.into_iter().flatten() {
        entries.insert(format!("feature {feature}"));
        entries.extend(listed(list).into_iter().map(|one| format!("feature {feature} {one}")));
    }
    let package = all.get("package").and_then(|package| package.get("name"));
    for kind in ["bin", "example"] {
        for target in all.get(kind).and_then(Json::as_array).into_iter().flatten() {
            let entry = format!("{kind} {target}");
            if steers_tests(target, package) {
                keys.insert(entry, Json::Null);
            } else {
                entries.insert(entry);
            }
        }
    }
    Some(Steers { keys: Json::Object(keys), entries })
}

/// As `cargo`, for a manifest that the base does not have.
fn new_cargo(text: &str) -> Option<Steers> {
    let mut steers = cargo(text)?;
    if let Some(keys) = steers.keys.as_object_mut() {
        keys.retain(|key, _| !CARGO_LINTS.contains(&key.as_str()));
    }
    Some(steers)
}

/// Whether a program or an example of a package says which tests it has, or has the name of the
/// package's own program, whose tests would be left out.
fn steers_tests(target: &Json, package: Option<&Json>) -> bool {
    let says = ["harness", "required-features", "test"].iter().any(|key| target.get(key).is_some());
    let elsewhere = target.get("path").is_some_and(|path| path != "src/main.rs");
    says || (elsewhere && target.get("name") == package)
}

/// Returns the directives of a `go.mod` that put another module in the place of one, such as a
/// library for tests, or leave folders out of `./...`.
fn go(text: &str) -> Json {
    let mut found = BTreeSet::new();
    let mut block = None;
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default().replace('(', " ( ");
        let words: Vec<&str> = line.split_whitespace().collect();
        let (directive, rest) = match (block, &*words) {
            (_, [")"]) => {
                block = None;
                continue;
            }
            (None, [directive, "("]) => {
                block = ["ignore", "replace"].into_iter().find(|known| known == directive);
                continue;
            }
            (None, [directive, rest @ ..]) => (*directive, rest),
            (Some(directive), rest) => (directive, rest),
            (None, []) => continue,
        };
        if ["ignore", "replace"].contains(&directive) && !rest.is_empty() {
            found.insert(format!("{directive} {}", rest.join(" ")));
        }
    }
    found.into_iter().collect()
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

/// Returns what of an `MSBuild` project steers tests: any element that is not known to be harmless.
/// Comments are not told from elements, so a change of one counts, too.
fn msbuild(text: &str) -> Option<Steers> {
    let (mut keys, mut entries, mut group) = (Vec::new(), BTreeSet::new(), "");
    for part in text.split('<').skip(1) {
        let (tag, _) = part.split_once('>')?;
        let tag = tag.trim_end_matches('/').trim_end();
        let name = element(tag);
        if name == "ItemGroup" {
            group = tag;
        }
        let attributes: Vec<&str> = tag.split_whitespace().skip(1).collect();
        let key = |attribute: &str| attribute.split('=').next().unwrap_or_default().to_owned();
        let is_item = attributes.iter().all(|attribute| {
            ["Include", "Link", "PrivateAssets", "Version"].contains(&key(attribute).as_str())
        });
        if MSBUILD_LISTS.contains(&name) && is_item {
            // Neither the version nor the order matters, but the condition of the group does.
            let kept = attributes.into_iter().filter(|attribute| key(attribute) != "Version");
            let words: Vec<&str> = [group, name].into_iter().chain(kept).collect();
            entries.insert(words.join(" "));
        } else if !(MSBUILD_PLAIN.contains(&name) && (attributes.is_empty() || name == "?xml")) {
            let words: Vec<&str> = part.split_whitespace().collect();
            keys.push(Json::from(words.join(" ")));
        }
    }
    Some(Steers { keys: Json::Array(keys), entries })
}

/// As `msbuild`, for a project that the base does not have.
fn new_msbuild(text: &str) -> Option<Steers> {
    let mut steers = msbuild(text)?;
    if let Some(keys) = steers.keys.as_array_mut() {
        keys.retain(|key| {
            let part = key.as_str().unwrap_or_default();
            part.contains("Condition") || !MSBUILD_NEW.contains(&element(part))
        });
    }
    Some(steers)
}

/// Returns the name of the element that a tag begins or ends.
fn element(tag: &str) -> &str {
    let tag = tag.trim_start_matches('/');
    tag.split(|c: char| c.is_whitespace() || "/>".contains(c)).next().unwrap_or_default()
}

/// Returns the lines of a solution, which may list more projects, but not fewer.
fn solution(text: &str) -> Steers {
    let lines = text.lines().map(|line| line.trim().to_owned());
    Steers { entries: lines.filter(|line| !line.is_empty()).collect(), ..Steers::default() }
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

    #[test]
    fn a_project_of_dotnet_is_a_runner_unless_it_only_gains_dependencies() {
        let check = |name: &str, old: Side<'_>, new: Side<'_>, expected: bool| {
            let (diff, blobs) = diff(&[(name, old, new)]);
            assert_eq!(is_runner(&diff.changes[0], &blobs), expected, "{name}: {old:?} {new:?}");
        };
        let items = "  <ItemGroup>\n    <PackageReference Include=\"xunit\" Version=\"2.9.0\" />\n  \
                     </ItemGroup>\n";
        let project = format!(
            "\u{feff}<Project Sdk=\"Microsoft.NET.Sdk\">\n  <PropertyGroup>\n    \
             <TargetFramework>net8.0</TargetFramework>\n    <Version>1.0</Version>\n  \
             </PropertyGroup>\n{items}</Project>\n"
        );
        let path = "Calc.Tests/Calc.Tests.csproj";
        let changed = |from: &str, to: &str, expected: bool| {
            assert!(project.contains(from), "{from}");
            check(path, file(&project), file(&project.replace(from, to)), expected);
        };
        let more = |item: &str| format!("<ItemGroup>\n    {item}\n");
        for item in [
            "<PackageReference Include=\"Moq\" Version=\"4.0\" />",
            "<PackageReference Include=\"Moq\"><PrivateAssets>all</PrivateAssets>\
             </PackageReference>",
            "<ProjectReference Include=\"..\\Calc\\Calc.csproj\" />",
            "<Compile Include=\"Triple.cs\" />",
        ] {
            changed("<ItemGroup>\n", &more(item), false);
        }
        for item in [
            "<Compile Remove=\"**/*Tests.cs\" />",
            "<PackageReference Include=\"a\" /><Compile Remove=\"**/*Tests.cs\" />",
            "<PackageReference Update=\"xunit\" ExcludeAssets=\"all\" />",
            "<PackageReference Remove=\"xunit\" />",
            "<!-- why -->",
        ] {
            changed("<ItemGroup>\n", &more(item), true);
        }
        changed("2.9.0", "2.9.1", false);
        changed("<Version>1.0", "<Version>1.1", false);
        changed("net8.0", "net9.0", true);
        changed("<ItemGroup>", "<ItemGroup Condition=\"false\">", true);
        changed("xunit", "nunit", true);
        changed(items, "", true);
        changed("</Project>", "<Target Name=\"VSTest\" /></Project>", true);
        changed("</Project>", "<", true);
        // A project of its own, whose tests were not run before.
        check(path, None, file(&project), false);
        let steered = project.replace("</Project>", "<Import Project=\"a.targets\" /></Project>");
        check(path, None, file(&steered), true);
        check(path, file(&project), None, true);

        let solution = "Global\nProject(\"A\") = \"a\"\nEndProject\n";
        let grown = solution.replace("EndProject\n", "EndProject\nProject(\"B\") = \"b\"\n");
        check("Calc.sln", file(solution), file(&grown), false);
        check("Calc.sln", file(&grown), file(solution), true);
        check("Calc.sln", None, file(solution), true);
    }

    #[test]
    fn a_package_that_stands_in_for_another_steers_tests() {
        let changed = |old: &str, new: &str, expected: bool| {
            let (diff, blobs) = diff(&[("package.json", file(old), file(new))]);
            assert_eq!(is_runner(&diff.changes[0], &blobs), expected, "{old} {new}");
        };
        let npm = r#"{"name":"a","scripts":{"test":"node --test"},"dependencies":{"x":"1"}}"#;
        let replaces = npm.replace("\"name\"", "\"resolutions\":{\"jest\":\"2\"},\"name\"");
        changed(npm, &replaces, true);
        for (source, expected) in [
            ("file:tools/x", true),
            ("link:./tools/x", true),
            ("portal:tools/x", true),
            ("patch:x@npm:1#tools/x.patch", true),
            ("npm:y@1", true),
            ("./tools/x", true),
            ("../x", true),
            ("workspace:*", false),
            ("~1.2.0", false),
            ("github:x/x", false),
        ] {
            let other = npm.replace("\"1\"", &format!("\"{source}\""));
            changed(npm, &other, expected);
            changed(&other, npm, expected);
            let developed = other.replace("dependencies", "devDependencies");
            changed(npm, &developed, expected);
            changed(&other, &other.replace("\"a\"", "\"b\""), false);
        }
        let paths = npm.replace("\"name\"", "\"exports\":{\".\":\"./a.js\"},\"name\"");
        changed(npm, &paths, false);
    }

    #[test]
    fn a_go_module_is_a_runner_where_it_leaves_packages_out_or_replaces_them() {
        let check = |name: &str, old: Side<'_>, new: Side<'_>, expected: bool| {
            let (diff, blobs) = diff(&[(name, old, new)]);
            assert_eq!(is_runner(&diff.changes[0], &blobs), expected, "{name}: {old:?} {new:?}");
        };
        let module = "module a\n\ngo 1.25\n\nrequire (\n\tb v1.0.0\n\tc v1.0.0 // indirect\n)\n";
        check("go.mod", file("a"), file("b"), false);
        check("go.mod", file(module), file(&module.replace("b v1.0.0", "b v1.1.0")), false);
        check("go.mod", None, file(module), false);
        for steers in [
            "ignore ./internal/billing\n",
            "ignore (\n\t./docs\n\t./internal/billing\n)\n",
            "ignore(\n./internal\n)\n",
            "replace b => ./tools/b\n",
            "replace (\n\tb v1.0.0 => ./tools/b // ours\n)\n",
        ] {
            let whole = format!("{module}{steers}");
            check("go.mod", file(module), file(&whole), true);
            check("go.mod", file(&whole), file(module), true);
            check("go.mod", file(&whole), file(&whole.replace("c v1.0.0", "c v1.1.0")), false);
        }
        // One in a block is the same as one alone.
        let (one, block) = ("ignore ./a\nignore ./b\n", "ignore (\n./b\n\n./a // why\n)\n");
        check("go.mod", file(one), file(block), false);
        // A module within the module takes its folder out of `./...`.
        check("internal/go.mod", None, file(module), true);
        check("internal/go.mod", file(module), None, true);
        check("internal/go.mod", file(module), file(&module.replace("1.25", "1.26")), false);
    }
}
