//! GitHub's official descriptions, against which everything that the fake takes and answers is
//! checked.
//!
//! They come from npm: REST as `OpenAPI`, from which validators are made once, and the schema of
//! GraphQL. Node does the checks; nothing is installed for the user. Where npm cannot be used the
//! check is skipped visibly, or fails if `CI` is set.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use afk_core::digest::Digest;
use serde_json::{Value, json};

use super::Route;
use super::route::OPERATIONS;
use super::state::Exchange;
use afk_stand_ins::tools::{Skip, found_or_skipped, run, skip, under_lock};

/// The npm packages, pinned.
const PACKAGES: [&str; 4] =
    ["@octokit/openapi@23.0.2", "@octokit/graphql-schema@15.26.1", "ajv@8.20.0", "graphql@17.1.0"];
/// The description of github.com within its package.
const OPENAPI: &str = "node_modules/@octokit/openapi/generated/api.github.com.json";
const GRAPHQL: &str = "node_modules/@octokit/graphql-schema/schema.graphql";
const PREPARE: &str = include_str!("schema/prepare.mjs");
const CHECK: &str = include_str!("schema/check.mjs");
const INSTALL_BOUND: Duration = Duration::from_mins(10);
const CHECK_BOUND: Duration = Duration::from_mins(2);

/// Checks exchanges against the descriptions.
///
/// # Panics
///
/// If one does not agree, or if the descriptions cannot be had although `CI` is set.
pub(super) fn check(test: &str, exchanges: &[Exchange]) {
    if exchanges.is_empty() {
        return;
    }
    let found = found_or_skipped(test, "description of GitHub", "AFK_TEST_GITHUB", ensure());
    let Some(folder) = found else { return };
    if let Err(why) = judged(&folder, exchanges) {
        panic!("{test}: GitHub's description does not agree: {why}");
    }
}

/// Says what does not agree, if anything.
fn judged(folder: &Path, exchanges: &[Exchange]) -> Result<(), String> {
    static CHECKS: AtomicU64 = AtomicU64::new(0);
    let all: Vec<Value> = exchanges.iter().map(told).collect();
    let nth = CHECKS.fetch_add(1, Ordering::Relaxed);
    let file = folder.join(format!("exchanges-{}-{nth}.json", std::process::id()));
    let written = std::fs::write(&file, Value::from(all).to_string());
    written.map_err(|error| format!("{}: {error}", file.display()))?;
    let mut node = Command::new("node");
    node.arg(folder.join(named("check", CHECK)));
    node.args([folder.join(validators()), folder.join(GRAPHQL), file.clone()]);
    let answer = run(node, CHECK_BOUND).map(drop).map_err(|skip| skip.reason);
    let _ = std::fs::remove_file(file);
    answer
}

fn told(exchange: &Exchange) -> Value {
    let Exchange { route, query, request, status, response } = exchange;
    let operation = route.operation();
    json!({
        "operation": format!("{} {}", operation.method, operation.template),
        "query": query,
        "request": request,
        "status": status,
        "response": response,
    })
}

/// The folder with packages, scripts and validators, which are installed and made if necessary.
fn ensure() -> Result<PathBuf, Skip> {
    under_lock("github-description", |folder| {
        let script = folder.join(named("check", CHECK));
        if folder.join(validators()).is_file() && script.is_file() {
            return Ok(folder.to_owned());
        }
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--prefix"]).arg(folder);
        npm.args(PACKAGES);
        run(npm, INSTALL_BOUND)?;
        let write = |name: &str, text: &str| {
            let file = folder.join(name);
            let written = std::fs::write(&file, text);
            written.map_err(|error| skip(format!("cannot write {}: {error}", file.display())))?;
            Ok(file)
        };
        let prepare = write("prepare.mjs", PREPARE)?;
        let operations = write("operations.json", &operations())?;
        let mut node = Command::new("node");
        node.arg(prepare).arg(folder.join(OPENAPI)).arg(operations).arg(folder.join(validators()));
        run(node, INSTALL_BOUND)?;
        write(&named("check", CHECK), CHECK)?;
        // It contains every server's description several times over: 400 MB.
        let _ = std::fs::remove_dir_all(folder.join("node_modules/@octokit/openapi"));
        Ok(folder.to_owned())
    })
}

/// The operations that `OpenAPI` describes, for the script that makes the validators.
fn operations() -> String {
    let rest = OPERATIONS.iter().filter(|operation| operation.route != Route::GraphQl);
    let names = rest.map(|one| Value::from(format!("{} {}", one.method, one.template)));
    Value::from(names.collect::<Vec<_>>()).to_string()
}

/// The name of the validators' file, which changes with the operations, the packages and the
/// script.
fn validators() -> String {
    let made_of = Digest::of_list(&[PREPARE, &operations(), &PACKAGES.join(" ")]);
    format!("validators-{}.cjs", made_of.short())
}

/// The name of a script's file, which changes with its text.
fn named(name: &str, text: &str) -> String {
    format!("{name}-{}.mjs", Digest::of(text).short())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &str = "query($owner: String!, $name: String!) { repository(owner: $owner, name: \
        $name) { issue(number: 1) { lastEditedAt } } }";

    /// What a check of this one exchange says; empty if it agrees.
    fn told_of(route: Route, status: u16, request: Value, response: Value) -> String {
        let found =
            found_or_skipped("told_of", "description of GitHub", "AFK_TEST_GITHUB", ensure());
        let Some(folder) = found else { return "skipped".to_owned() };
        let exchange = Exchange { route, query: Vec::new(), request, status, response };
        judged(&folder, &[exchange]).err().unwrap_or_default()
    }

    #[track_caller]
    fn check(told: &str, expected: &str) {
        let fits = if expected.is_empty() { told.is_empty() } else { told.contains(expected) };
        assert!(told == "skipped" || fits, "{told:?} is not {expected:?}");
    }

    #[test]
    fn what_the_description_does_not_have_is_told() {
        let label = json!({
            "id": 1, "node_id": "LA_1", "url": "https://x", "name": "ready", "description": null,
            "color": "ededed", "default": false,
        });
        let labels = |label: Value| json!([label]);
        let asked = json!({ "labels": ["ready"] });
        let told = |response| told_of(Route::AddLabels, 200, asked.clone(), response);
        check(&told(labels(label.clone())), "");
        let mut invented = label.clone();
        invented["author_association"] = "OWNER".into();
        check(&told(labels(invented)), "author_association");
        let mut missing = label.clone();
        missing["id"].take();
        check(&told(labels(missing)), "/0/id");
        check(&told_of(Route::AddLabels, 201, asked.clone(), labels(label)), "never answers 201");
        let body = json!({ "body": 7 });
        check(&told_of(Route::PostComment, 422, body, Value::Null), "/body must be string");
    }

    #[test]
    fn what_graphql_does_not_have_is_told() {
        let told = |query: &str, issue: Value| {
            let request = json!({ "query": query, "variables": { "owner": "o", "name": "r" } });
            let response = json!({ "data": { "repository": { "issue": issue } } });
            told_of(Route::GraphQl, 200, request, response)
        };
        check(&told(QUERY, json!({ "lastEditedAt": null })), "");
        check(&told(QUERY, json!({ "lastEditedAt": null, "invented": 1 })), "invented");
        check(&told(QUERY, json!(7)), "lastEditedAt");
        let unknown = QUERY.replace("lastEditedAt", "lastTouchedAt");
        check(&told(&unknown, json!({ "lastTouchedAt": null })), "lastTouchedAt");
    }
}
