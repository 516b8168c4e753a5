//! What of a `package.json` or `composer.json` steers tests.

use serde_json::Value as Json;

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

/// Returns the part of a JSON manifest that steers tests; `None` if it cannot be read.
pub(super) fn node(text: &str) -> Option<Json> {
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

#[cfg(test)]
mod tests {
    use super::super::is_runner;
    use crate::change::testing::{diff, file};

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
}
