//! Forgejo's official description, against which everything that the fake takes and answers is
//! checked.
//!
//! The server publishes it as Swagger; a copy comes with the crate `forgejo-api`, which cargo
//! fetches into a project that is thrown away. Validators are made from it once, and Node checks
//! with a library from npm; nothing is installed for the user. `AFK_TEST_FORGEJO` may name a folder
//! to use instead, with `swagger.v1.json` and, below `node_modules`, that library: the validators
//! are put there. Where the description cannot be had the check is skipped visibly, or fails if
//! `CI` is set.
//!
//! Gitea is checked against it, too: the fake Gitea answers nothing that Forgejo does not have.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use afk_core::digest::Digest;
use serde_json::{Value, json};

use super::route::OPERATIONS;
use super::state::Exchange;
use afk_stand_ins::tools::{Skip, found_or_skipped, run, skip, under_lock};

/// The crate that brings the description, pinned.
const CRATE: &str = "forgejo-api";
const CRATE_VERSION: &str = "0.12.0";
/// The library that checks, pinned.
const LIBRARY: &str = "ajv@8.20.0";
const DESCRIPTION: &str = "swagger.v1.json";
const NAMED_BY: &str = "AFK_TEST_FORGEJO";
const PREPARE: &str = include_str!("schema/prepare.mjs");
const CHECK: &str = include_str!("schema/check.mjs");
const INSTALL_BOUND: Duration = Duration::from_mins(10);
const CHECK_BOUND: Duration = Duration::from_mins(2);

/// Checks exchanges against the description.
///
/// # Panics
///
/// If one does not agree, or if the description cannot be had although `CI` is set.
pub(super) fn check(test: &str, exchanges: &[Exchange]) {
    if exchanges.is_empty() {
        return;
    }
    let found = found_or_skipped(test, "description of Forgejo", NAMED_BY, ensure());
    let Some(folder) = found else { return };
    if let Err(why) = judged(&folder, exchanges) {
        panic!("{test}: Forgejo's description does not agree: {why}");
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
    node.args([folder.join(validators()), file.clone()]);
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

/// The folder with description, library and validators, which are installed and made if necessary.
fn ensure() -> Result<PathBuf, Skip> {
    under_lock(&format!("forgejo-description-{CRATE_VERSION}"), |folder| {
        let given = std::env::var_os(NAMED_BY).map(PathBuf::from);
        let folder = given.as_deref().unwrap_or(folder);
        if given.is_none() {
            installed(folder)?;
        }
        prepared(folder)?;
        Ok(folder.to_owned())
    })
}

/// Puts the description and the library into the folder, if they are not there.
fn installed(folder: &Path) -> Result<(), Skip> {
    if !folder.join("node_modules/ajv/package.json").is_file() {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--prefix"]).arg(folder);
        npm.arg(LIBRARY);
        run(npm, INSTALL_BOUND)?;
    }
    if folder.join(DESCRIPTION).is_file() {
        return Ok(());
    }
    let project = folder.join("project");
    let _ = std::fs::remove_dir_all(&project);
    let made = std::fs::create_dir_all(&project);
    made.map_err(|error| skip(format!("cannot make {}: {error}", project.display())))?;
    // The project is in the folder of another workspace, so it has to be one of its own.
    let manifest = format!(
        "[package]\nname = \"description\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[lib]\npath \
         = \"lib.rs\"\n\n[dependencies]\n{CRATE} = {{ version = \"={CRATE_VERSION}\", \
         default-features = false }}\n\n[workspace]\n"
    );
    written(&project, "Cargo.toml", &manifest)?;
    written(&project, "lib.rs", "")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["vendor", "--quiet", "vendor"]).current_dir(&project);
    run(cargo, INSTALL_BOUND)?;
    let found = project.join("vendor").join(CRATE).join(DESCRIPTION);
    let text = std::fs::read_to_string(&found);
    let text = text.map_err(|error| skip(format!("cannot read {}: {error}", found.display())))?;
    written(folder, DESCRIPTION, &text)?;
    let _ = std::fs::remove_dir_all(project);
    Ok(())
}

/// Makes the validators, if they are not there.
fn prepared(folder: &Path) -> Result<(), Skip> {
    let script = named("check", CHECK);
    if folder.join(validators()).is_file() && folder.join(&script).is_file() {
        return Ok(());
    }
    let prepare = written(folder, "prepare.mjs", PREPARE)?;
    let operations = written(folder, "operations.json", &operations())?;
    let mut node = Command::new("node");
    node.arg(prepare).arg(folder.join(DESCRIPTION)).arg(operations).arg(folder.join(validators()));
    run(node, INSTALL_BOUND)?;
    written(folder, &script, CHECK).map(drop)
}

/// Writes a file, so that it is there as a whole or not at all.
fn written(folder: &Path, name: &str, text: &str) -> Result<PathBuf, Skip> {
    let (file, new) = (folder.join(name), folder.join(format!("{name}.new")));
    let done = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &file));
    done.map_err(|error| skip(format!("cannot write {}: {error}", file.display())))?;
    Ok(file)
}

fn operations() -> String {
    let names =
        OPERATIONS.iter().map(|one| Value::from(format!("{} {}", one.method, one.template)));
    Value::from(names.collect::<Vec<_>>()).to_string()
}

/// The name of the validators' file, which changes with the operations, the versions and the
/// script.
fn validators() -> String {
    let made_of = Digest::of_list(&[PREPARE, &operations(), CRATE_VERSION, LIBRARY]);
    format!("validators-{}.cjs", made_of.short())
}

/// The name of a script's file, which changes with its text.
fn named(name: &str, text: &str) -> String {
    format!("{name}-{}.mjs", Digest::of(text).short())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forgejo::Route;

    /// What a check of this one exchange says; empty if it agrees.
    fn told_of(
        route: Route,
        query: &[&str],
        request: Value,
        status: u16,
        response: Value,
    ) -> String {
        let found = found_or_skipped("told_of", "description of Forgejo", NAMED_BY, ensure());
        let Some(folder) = found else { return "skipped".to_owned() };
        let query = query.iter().map(|name| (*name).to_owned()).collect();
        let exchange = Exchange { route, query, request, status, response };
        judged(&folder, &[exchange]).err().unwrap_or_default()
    }

    #[track_caller]
    fn check(told: &str, expected: &str) {
        let fits = if expected.is_empty() { told.is_empty() } else { told.contains(expected) };
        assert!(told == "skipped" || fits, "{told:?} is not {expected:?}");
    }

    fn label() -> Value {
        json!({
            "id": 1, "url": "https://x", "name": "ready", "description": "", "color": "ededed",
            "exclusive": false, "is_archived": false,
        })
    }

    #[test]
    fn an_answer_has_the_fields_of_the_description_and_no_others() {
        let told = |label: Value| {
            let asked = json!({ "labels": ["ready", 7] });
            told_of(Route::AddLabels, &[], asked, 200, json!([label]))
        };
        check(&told(label()), "");
        let mut invented = label();
        invented["node_id"] = "LA_1".into();
        check(&told(invented), "node_id");
        let mut missing = label();
        missing.as_object_mut().unwrap().remove("is_archived");
        check(&told(missing), "is_archived");
        let mut other = label();
        other["id"] = "1".into();
        check(&told(other), "/0/id must be integer");
    }

    #[test]
    fn null_is_where_go_has_a_pointer_or_a_slice_alone() {
        let told = |at: &str, value: Value| {
            let mut hook = json!({
                "active": true, "authorization_header": "", "branch_filter": "", "config": {},
                "content_type": "json", "created_at": "2026-11-02T11:00:00+01:00", "events": null,
                "id": 1, "metadata": null, "type": "gitea", "updated_at": "2026-11-02T10:00:00Z",
                "url": "https://x",
            });
            hook[at] = value;
            told_of(Route::Hooks, &["page"], Value::Null, 200, json!([hook]))
        };
        check(&told("events", json!(["push"])), "");
        check(&told("branch_filter", Value::Null), "/0/branch_filter must be string");
        check(&told("active", Value::Null), "/0/active must be boolean");
        check(&told("created_at", json!("2026-11-02T10:00:00.25Z")), "/0/created_at must match");
        let list = |route, list| told_of(route, &[], Value::Null, 200, list);
        check(&list(Route::Timeline, Value::Null), "");
        check(&list(Route::Timeline, json!([null])), "");
        check(&list(Route::IssueComments, Value::Null), "must be array");
        check(&list(Route::Issues, json!([null])), "/0 must be object");
    }

    #[test]
    fn what_is_asked_is_what_the_description_has() {
        let told = |query: &[&str], request: Value| {
            told_of(Route::PostComment, query, request, 423, Value::Null)
        };
        check(&told(&[], json!({ "body": "hello" })), "");
        check(&told(&["dry"], json!({ "body": "hello" })), "no parameter dry");
        check(&told(&[], json!({ "body": 7 })), "/body must be string");
        check(&told(&[], json!({ "body": "hello", "text": "x" })), "text");
        check(&told(&[], json!({})), "body");
        let read = told_of(Route::Issue, &[], json!({ "body": "x" }), 404, Value::Null);
        check(&read, "request has no body");
    }

    #[test]
    fn an_answer_has_a_status_of_the_description() {
        let told = |status: u16, response: Value| {
            told_of(Route::RemoveLabel, &[], Value::Null, status, response)
        };
        check(&told(204, Value::Null), "");
        check(&told(200, json!([label()])), "never answers 200");
        check(&told(204, json!([])), "has no body");
        let refusal = json!({ "message": "no", "url": "https://x/api/swagger" });
        check(&told(422, refusal.clone()), "");
        check(&told(401, refusal), "");
        check(&told(500, json!({ "message": "no" })), "url");
        check(&told(404, json!({ "message": "no", "url": "", "errors": [] })), "");
        check(&told(404, json!({ "message": "no", "url": "", "code": 7 })), "code");
    }
}
