//! What of a `pyproject.toml` or a `Pipfile` steers tests.

use serde_json::Value as Json;

/// Tables below `tool` of `pyproject.toml` that only list dependencies or describe a package, or
/// that lay code out. A linter's table is not among them: it judges as a file of its own would.
const PYTHON_PLAIN: &[&str] = &["black", "isort", "setuptools", "setuptools_scm", "uv"];

pub(super) fn python(text: &str) -> Option<Json> {
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

pub(super) fn pipfile(text: &str) -> Option<Json> {
    let all: Json = toml::from_str(text).ok()?;
    Some(all.get("scripts").cloned().unwrap_or(Json::Null))
}
