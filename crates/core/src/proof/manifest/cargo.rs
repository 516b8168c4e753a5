//! What of a `Cargo.toml` steers tests.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::{Sources, Steers, source};

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

/// Keys of a dependency that put another package in the place of the registry's.
const SOURCES: &[&str] = &["git", "package", "path", "registry", "workspace"];

pub(super) fn cargo(text: &str) -> Option<Steers> {
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
    if let Some(name) = all.get("lib").and_then(|lib| lib.get("name"))
        && !is_named_as(name, package)
    {
        keys.insert("lib.name".to_owned(), name.clone());
    }
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
    Some(Steers { keys: Json::Object(keys), entries, sources: sources(&all) })
}

/// Whether a library has the name that it would have by its package. Another name may be that of a
/// library that was there, which code and tests would then load from here.
fn is_named_as(library: &Json, package: Option<&Json>) -> bool {
    let package = package.and_then(Json::as_str).map(|name| name.replace('-', "_"));
    library.as_str() == package.as_deref()
}

/// Returns where the dependencies of a package and its workspace come from. One may be in several
/// tables.
fn sources(all: &Json) -> Sources {
    let targets = all.get("target").and_then(Json::as_object);
    let holders = [Some(all), all.get("workspace")].into_iter().flatten();
    let holders = holders.chain(targets.into_iter().flatten().map(|(_, target)| target));
    let tables = holders.filter_map(Json::as_object).flatten();
    let mut sources = Sources::new();
    for (_, table) in tables.filter(|(key, _)| key.ends_with("dependencies")) {
        for (name, dependency) in table.as_object().into_iter().flatten() {
            let known = sources.entry(name.clone()).or_default();
            known.extend(source(dependency, SOURCES));
        }
    }
    sources
}

/// As `cargo`, for a manifest that the base does not have.
pub(super) fn new_cargo(text: &str) -> Option<Steers> {
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

#[cfg(test)]
mod tests {
    use super::super::is_runner;
    use crate::change::testing::{diff, file};

    #[test]
    fn a_crate_that_stands_in_for_another_steers_tests() {
        let changed = |old: &str, new: &str, expected: bool| {
            let (diff, blobs) = diff(&[("Cargo.toml", file(old), file(new))]);
            assert_eq!(is_runner(&diff.changes[0], &blobs), expected, "{old} {new}");
        };
        let package = "[package]\nname = \"a\"\n";
        for table in [
            "dependencies",
            "dev-dependencies",
            "build-dependencies",
            "workspace.dependencies",
            "target.'cfg(unix)'.dev-dependencies",
        ] {
            let with = |source: &str| format!("{package}[{table}]\nx = {source}\n");
            for (old, new, expected) in [
                ("\"1\"", "\"2\"", false),
                ("\"1\"", "{ version = \"1\", features = [\"a\"] }", false),
                ("\"1\"", "{ path = \"tools/x\" }", true),
                ("\"1\"", "{ git = \"https://example.com/x\" }", true),
                ("\"1\"", "{ package = \"y\" }", true),
                ("\"1\"", "{ version = \"1\", registry = \"ours\" }", true),
                ("\"1\"", "{ workspace = true }", true),
                ("{ path = \"../x\" }", "{ path = \"tools/x\" }", true),
                ("{ path = \"../x\" }", "{ path = \"../x\", version = \"1\" }", false),
                ("{ path = \"../x\" }", "\"1\"", false),
            ] {
                changed(&with(old), &with(new), expected);
            }
            // A new one stands in for nothing.
            let more = format!("{}y = {{ path = \"../y\" }}\n", with("\"1\""));
            changed(&with("\"1\""), &more, false);
            changed(package, &with("{ path = \"../x\" }"), false);
        }
        // The same one in another table.
        let (old, path) = ("dev-dependencies]\nx = \"1\"\n", "x = { path = \"tools/x\" }\n");
        let old = format!("{package}[{old}");
        changed(&old, &format!("{old}[target.'cfg(all())'.dev-dependencies]\n{path}"), true);
        changed(&old, &format!("{package}[dependencies]\n{path}"), true);
    }

    #[test]
    fn a_library_of_another_name_than_its_package_steers_tests() {
        let package = "[package]\nname = \"one-two\"\n";
        for (name, expected) in [("one_two", false), ("pretty_assertions", true)] {
            let library = format!("{package}[lib]\nname = \"{name}\"\n");
            for old in [None, file(package)] {
                let (diff, blobs) = diff(&[("tools/Cargo.toml", old, file(&library))]);
                assert_eq!(is_runner(&diff.changes[0], &blobs), expected, "{old:?} {name}");
            }
        }
    }
}
