//! What of a `pyproject.toml` or another manifest of Python steers tests.

use serde_json::Value as Json;

use super::{Sources, Steers, source};

/// Tables below `tool` of `pyproject.toml` that only list dependencies or describe a package, or
/// that lay code out. A linter's table is not among them: it judges as a file of its own would.
const PYTHON_PLAIN: &[&str] = &["black", "isort", "setuptools", "setuptools_scm"];

/// Keys of the table of `uv` that decide which packages there are, besides its sources.
const UV_STEERS: &[&str] = &["find-links", "index", "override-dependencies"];

/// Keys of a dependency that put another package in the place of the registry's.
const SOURCES: &[&str] =
    &["file", "git", "hg", "index", "path", "source", "svn", "url", "workspace"];

pub(super) fn python(text: &str) -> Option<Steers> {
    let mut all: Json = toml::from_str(text).ok()?;
    let sources = sources(&all);
    let tools = all.get_mut("tool").and_then(Json::as_object_mut).map(std::mem::take);
    let mut tools = tools.unwrap_or_default();
    tools.retain(|key, _| !PYTHON_PLAIN.contains(&key.as_str()));
    if let Some(poetry) = tools.get_mut("poetry").and_then(Json::as_object_mut) {
        // All other keys of `poetry` describe the package.
        poetry.retain(|key, _| ["build", "plugins", "scripts"].contains(&key.as_str()));
    }
    if let Some(uv) = tools.get_mut("uv").and_then(Json::as_object_mut) {
        uv.retain(|key, value| UV_STEERS.contains(&key.as_str()) && !is_far(value));
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
    Some(Steers { keys: Json::Object(found), sources, ..Steers::default() })
}

/// Whether a list of indexes has only servers, and no folder of the tree.
fn is_far(indexes: &Json) -> bool {
    let is_server = |index: &Json| {
        let url = index.get("url").and_then(Json::as_str);
        url.is_some_and(|url| url.starts_with("http"))
    };
    indexes.as_array().is_some_and(|indexes| indexes.iter().all(is_server))
}

/// Returns where the dependencies of a `pyproject.toml` come from.
fn sources(all: &Json) -> Sources {
    let at = |path: &str| all.pointer(path);
    let mut sources = Sources::new();
    let groups = ["/project/optional-dependencies", "/dependency-groups"];
    let groups = groups.into_iter().filter_map(at).filter_map(Json::as_object).flatten();
    let lists = ["/project/dependencies", "/tool/uv/dev-dependencies"].into_iter().filter_map(at);
    for list in lists.chain(groups.map(|(_, group)| group)) {
        for requirement in list.as_array().into_iter().flatten().filter_map(Json::as_str) {
            add_requirement(&mut sources, requirement);
        }
    }
    let groups = at("/tool/poetry/group").and_then(Json::as_object).into_iter().flatten();
    let groups = groups.filter_map(|(_, group)| group.get("dependencies"));
    let tables = ["/tool/poetry/dependencies", "/tool/poetry/dev-dependencies", "/tool/uv/sources"];
    for table in tables.into_iter().filter_map(at).chain(groups) {
        add_table(&mut sources, table);
    }
    sources
}

/// Adds the dependencies of a table. One with several forms for several platforms is a list.
fn add_table(sources: &mut Sources, table: &Json) {
    for (name, dependency) in table.as_object().into_iter().flatten() {
        let known = sources.entry(plain_name(name)).or_default();
        let forms = dependency.as_array().map_or(std::slice::from_ref(dependency), Vec::as_slice);
        known.extend(forms.iter().filter_map(|form| source(form, SOURCES)));
    }
}

/// Adds a requirement as pip writes it, such as `x[y]>=1; python_version<"3.9"` or `x @ file:y`.
fn add_requirement(sources: &mut Sources, requirement: &str) {
    let requirement = requirement.split(" #").next().unwrap_or_default();
    let requirement = requirement.split(" --").next().unwrap_or_default();
    let parts = requirement.split_once('@');
    let (asked, address) = parts.map_or((requirement, None), |(asked, at)| (asked, Some(at)));
    let in_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name = asked.trim().split(|c: char| !in_name(c)).next().unwrap_or_default();
    let known = sources.entry(plain_name(name)).or_default();
    known.extend(address.map(|address| address.trim().to_owned()));
}

/// Returns a package's name in the one form that all its spellings have.
fn plain_name(name: &str) -> String {
    let parts: Vec<&str> = name.split(['-', '_', '.']).filter(|part| !part.is_empty()).collect();
    parts.join("-").to_lowercase()
}

pub(super) fn pipfile(text: &str) -> Option<Steers> {
    let all: Json = toml::from_str(text).ok()?;
    let mut sources = Sources::new();
    for (_, table) in all.as_object().into_iter().flatten() {
        add_table(&mut sources, table);
    }
    let keys = all.get("scripts").cloned().unwrap_or(Json::Null);
    Some(Steers { keys, sources, ..Steers::default() })
}

pub(super) fn pixi(text: &str) -> Option<Steers> {
    let mut keys: Json = toml::from_str(text).ok()?;
    let mut sources = Sources::new();
    take_dependencies(&mut keys, &mut sources);
    Some(Steers { keys, sources, ..Steers::default() })
}

/// Moves the dependencies of a `pixi.toml`, also those of its features and platforms, to `sources`.
fn take_dependencies(table: &mut Json, sources: &mut Sources) {
    let Some(table) = table.as_object_mut() else { return };
    for (key, value) in table.iter_mut() {
        if key.ends_with("dependencies") {
            add_table(sources, &value.take());
        } else if ["feature", "target"].contains(&key.as_str()) {
            for (_, inner) in value.as_object_mut().into_iter().flatten() {
                take_dependencies(inner, sources);
            }
        }
    }
    table.retain(|_, value| !value.is_null());
}

/// Returns what of a list of requirements steers tests: options, files of the tree without a name,
/// which may be any package, and where the others come from. An address elsewhere is a package like
/// one of a registry.
pub(super) fn requirements(text: &str) -> Steers {
    let text = text.replace("\\\n", " ");
    let (mut keys, mut sources) = (Vec::new(), Sources::new());
    let lines = text.lines().map(str::trim);
    for line in lines.filter(|line| !(line.is_empty() || line.starts_with('#'))) {
        let place = line.split(['@', ' ']).next().filter(|word| word.contains(['/', ':']));
        let is_elsewhere = |place: &str| place.contains("://") && !place.contains("file:");
        match place {
            Some(place) if is_elsewhere(place) => {}
            None if !line.starts_with(['-', '.']) => add_requirement(&mut sources, line),
            Some(_) | None => keys.push(Json::from(line)),
        }
    }
    Steers { keys: Json::Array(keys), sources, ..Steers::default() }
}

#[cfg(test)]
mod tests {
    use super::super::is_runner;
    use crate::change::testing::{diff, file};

    fn check(name: &str, old: &str, new: &str, expected: bool) {
        let (diff, blobs) = diff(&[(name, file(old), file(new))]);
        assert_eq!(is_runner(&diff.changes[0], &blobs), expected, "{name}: {old} {new}");
    }

    #[test]
    fn a_package_of_the_tree_that_stands_in_for_another_steers_tests() {
        let project = "[project]\nname = \"a\"\ndependencies = [\"Py_Test>=8\"]\n\
                       [dependency-groups]\ndev = [\"mock[x]; python_version<'3.9'\"]\n";
        let changed = |new: &str, expected| check("pyproject.toml", project, new, expected);
        changed(&project.replace(">=8", ">=9"), false);
        changed(&project.replace("\"mock", "\"new @ file:tools/new\", \"mock"), false);
        changed(&project.replace(">=8", " @ file:///tools/pytest"), true);
        changed(&project.replace("mock[x]", "mock @ git+https://example.com/mock"), true);
        for (name, expected) in [("py-test", true), ("mock", true), ("new", false)] {
            for source in ["{ path = \"tools\" }", "[{ git = \"https://example.com/x\" }]"] {
                let sourced = format!("{project}[tool.uv.sources]\n{name} = {source}\n");
                changed(&sourced, expected);
                check("pyproject.toml", &sourced, &sourced.replace(">=8", ">=9"), false);
            }
        }
        for (uv, expected) in [
            ("override-dependencies = [\"pluggy @ file:tools/pluggy\"]\n", true),
            ("find-links = [\"tools/wheels\"]\n", true),
            ("index = [{ url = \"tools/wheels\", format = \"flat\" }]\n", true),
            ("index = [{ url = \"https://example.com/simple\" }]\n", false),
            ("required-version = \">=0.9\"\n", false),
        ] {
            changed(&format!("{project}[tool.uv]\n{uv}"), expected);
        }
    }

    #[test]
    fn the_same_holds_for_poetry_pipenv_and_pip() {
        for (name, table) in [
            ("pyproject.toml", "tool.poetry.dependencies"),
            ("pyproject.toml", "tool.poetry.group.dev.dependencies"),
            ("Pipfile", "dev-packages"),
        ] {
            let old = format!("[{table}]\npytest = \"8\"\n");
            let changed =
                |new: &str, expected| check(name, &old, &format!("[{table}]\n{new}"), expected);
            changed("pytest = { path = \"tools/pytest\" }\n", true);
            changed("pytest = [{ git = \"https://example.com/pytest\" }]\n", true);
            changed("pytest = { version = \"9\", extras = [\"x\"] }\n", false);
            changed("pytest = \"8\"\nnew = { path = \"../new\" }\n", false);
        }
        let old = "# Ours.\npytest==8 --hash=sha256:a \\\n  --hash=sha256:b\nother\n";
        for (new, expected) in [
            (old.replace("==8", "==9"), false),
            (old.replace("other", "other\nnew @ file:tools/new"), false),
            (old.replace("pytest==8", "pytest @ file:tools/pytest"), true),
            (old.replace("other", "other\n./tools/pytest"), true),
            (old.replace("other", "other\ntools/pytest.whl"), true),
            (old.replace("other", "other\n-e tools/pytest"), true),
            (old.replace("other", "other\n--find-links tools"), true),
        ] {
            check("requirements-dev.txt", old, &new, expected);
        }
    }

    #[test]
    fn a_manifest_of_pixi_steers_tests_unless_it_only_lists_dependencies() {
        let pixi = "[workspace]\nname = \"a\"\n[tasks]\ntest = \"pytest\"\n\
                    [dependencies]\npytest = \"8\"\n[feature.x.dependencies]\ny = \"1\"\n";
        let changed = |new: &str, expected| check("pixi.toml", pixi, new, expected);
        changed(&pixi.replace("\"8\"", "\"9\"\nnew = \"*\""), false);
        changed(&format!("{pixi}z = \"1\"\n"), false);
        changed(&format!("{pixi}[pypi-dependencies]\nz = \"1\"\n"), false);
        changed(&pixi.replace("\"8\"", "{ path = \"tools\" }"), true);
        changed(&pixi.replace("= \"pytest\"", "= \"true\""), true);
    }
}
