//! What of a workspace of Angular, or of Nx, steers tests.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::Steers;

/// Keys of a workspace that are settings of its tools, besides its projects.
const PLAIN: &[&str] = &["$schema", "cli", "newProjectRoot", "projects", "schematics", "version"];

/// Targets of a project that judge nothing. Tests inherit what its `build` says.
const PLAIN_TARGETS: &[&str] = &[
    "app-shell",
    "build-storybook",
    "deploy",
    "extract-i18n",
    "prerender",
    "serve",
    "serve-ssr",
    "server",
    "storybook",
];

/// Options of a target that say what is delivered, and how large it may be.
const PLAIN_OPTIONS: &[&str] = &[
    "allowedCommonJsDependencies",
    "assets",
    "baseHref",
    "budgets",
    "deployUrl",
    "extractLicenses",
    "index",
    "inlineStyleLanguage",
    "namedChunks",
    "optimization",
    "outputHashing",
    "outputPath",
    "serviceWorker",
    "sourceMap",
    "stylePreprocessorOptions",
    "styles",
];

/// Returns what of a workspace steers tests. It may have more projects, targets and configurations,
/// which only tests of their own use.
pub(super) fn workspace(text: &str) -> Option<Steers> {
    let Json::Object(mut all) = serde_json::from_str(text).ok()? else { return None };
    let mut entries = BTreeSet::new();
    for (name, project) in all.get("projects").and_then(Json::as_object).into_iter().flatten() {
        let kinds = ["architect", "targets"].into_iter().filter_map(|key| project.get(key));
        let kinds: Vec<&Json> = kinds.collect();
        let targets = kinds.iter().filter_map(|kind| kind.as_object()).flatten();
        for (target, settings) in targets.filter(|(key, _)| !PLAIN_TARGETS.contains(&key.as_str()))
        {
            add_target(&mut entries, &format!("{name} {target}"), settings);
        }
        let place = [project.get("root"), project.get("sourceRoot"), project.get("extends")];
        // Nx may only say where the project is.
        let place = (place, project.as_str(), kinds.len());
        entries.insert(format!("{name} {place:?}"));
    }
    all.retain(|key, _| !PLAIN.contains(&key.as_str()));
    Some(Steers { keys: Json::Object(all), entries, ..Steers::default() })
}

fn add_target(entries: &mut BTreeSet<String>, name: &str, settings: &Json) {
    let mut settings = settings.clone();
    let configurations = settings.as_object_mut().and_then(|all| all.remove("configurations"));
    let configurations = configurations.as_ref().and_then(Json::as_object);
    for (configuration, options) in configurations.into_iter().flatten() {
        let mut options = options.clone();
        drop_plain(&mut options);
        entries.insert(format!("{name} {configuration} {options}"));
    }
    if let Some(options) = settings.get_mut("options") {
        drop_plain(options);
    }
    entries.insert(format!("{name} {settings}"));
}

fn drop_plain(options: &mut Json) {
    if let Some(options) = options.as_object_mut() {
        options.retain(|key, _| !PLAIN_OPTIONS.contains(&key.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use super::super::is_runner;
    use crate::change::testing::{diff, file};

    #[test]
    fn a_workspace_of_angular_is_a_runner_where_it_steers_tests() {
        let old = r#"{"version":1,"cli":{"analytics":false},"projects":{"app":{
            "root":"","sourceRoot":"src","architect":{
                "build":{"builder":"b","options":{"assets":["a"],"tsConfig":"t"},
                    "configurations":{"production":{"budgets":[1]}}},
                "serve":{"builder":"s","options":{"port":1}},
                "test":{"builder":"k","options":{"assets":["a"],"include":["src"]}}}}}}"#;
        let library = r#""lib":{"root":"lib","architect":{"test":{"builder":"k"}}},"app":{"#;
        for (from, to, expected) in [
            (r#""assets":["a"]"#, r#""assets":["a","b"]"#, false),
            (r#""budgets":[1]"#, r#""budgets":[2]"#, false),
            (r#""port":1"#, r#""port":2"#, false),
            (r#""analytics":false"#, r#""analytics":true"#, false),
            (r#""production":{"#, r#""staging":{"fileReplacements":[1]},"production":{"#, false),
            (r#""app":{"#, library, false),
            (r#""include":["src"]"#, r#""include":["src"],"exclude":["src/a"]"#, true),
            (r#""include":["src"]"#, r#""include":["src/b"]"#, true),
            (r#""tsConfig":"t""#, r#""tsConfig":"u""#, true),
            (r#""builder":"k""#, r#""builder":"./tools:k""#, true),
            (r#""sourceRoot":"src""#, r#""sourceRoot":"other""#, true),
            (r#""architect":{"#, r#""targets":{},"architect":{"#, true),
            (r#""version":1"#, r#""defaultProject":"lib","version":1"#, true),
            (r#""test":{"#, r#""lint":{"#, true),
            (r#""version":1"#, r"// Ours.", true),
        ] {
            assert!(old.contains(from), "{from}");
            let new = old.replace(from, to);
            let (diff, blobs) = diff(&[("angular.json", file(old), file(&new))]);
            assert_eq!(is_runner(&diff.changes[0], &blobs), expected, "{from} {to}");
        }
    }
}
