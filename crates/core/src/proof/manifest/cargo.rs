//! What of a `Cargo.toml` steers tests.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::Steers;

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
