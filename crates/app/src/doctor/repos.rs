//! What the loop needs of each configured repository.

use std::path::Path;

use afk_core::change::Diff;
use afk_core::config::{Landing, Repo};
use afk_core::gates::{Dispatcher, Gate, GateVerdict};
use afk_core::ids::{Oid, RepoName};
use afk_core::proof::{PathClass, Verify};
use afk_core::shared::Shared;
use afk_core::workflow::{self, Workflow};
use afk_engine::switches::Brake;
use afk_local::git::{BlobAt, GitError, Mirror};
use afk_local::{Cache, boxed};
use afk_remote::{Needs, RemoteFinding, Severity};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::machine::run_boxed;
use super::{Finding, State, stages, table, within};
use crate::App;

/// Git's id of the empty tree, in repositories of either hash kind.
const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
const EMPTY_TREE_SHA256: &str = "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321";
/// A script that prints those of its arguments that are not found as programs.
const MISSING: &str = "for p; do command -v \"$p\" >/dev/null || echo \"$p\"; done";
/// Maximum number of ready issues of a repository whose release is checked.
const READY: usize = 20;

/// Checks all repositories side by side; keeps their order.
pub(super) async fn examine(app: &App, fix: bool) -> Vec<Finding> {
    let brake = Brake::new(CancellationToken::new());
    brake.read(app.engine.ports()).await;
    let brake = &brake;
    let all = app.config.policy.repos.iter().map(|(name, repo)| async move {
        let home = std::env::home_dir();
        let table = table::examine(&app.config, name, repo, home.as_deref());
        let boxable = table.iter().all(|found| found.about != "read");
        let (git, programs, trust) = tokio::join!(
            within(name.as_str(), "remote", remote(app, name, repo)),
            within(name.as_str(), "programs", programs(app, name, repo, boxable)),
            within(name.as_str(), "labels", labels(app, name, brake, fix)),
        );
        let far = within(name.as_str(), "agent", t3(app, name, repo)).await;
        [table, far, git, programs, trust].concat()
    });
    join_all(all).await.concat()
}

/// The remote, and the contents of its default branch.
async fn remote(app: &App, name: &RepoName, repo: &Shared<Repo>) -> Vec<Finding> {
    let found = |about: &str, state, says: String| Finding::new(name.as_str(), about, state, says);
    let failed = |says: String| vec![found("remote", State::Failure, says)];
    let mirror = match app.local.mirror(name) {
        Ok(mirror) => mirror,
        Err(error) => return failed(error.chain()),
    };
    let heads = match mirror.remote_heads().await {
        Ok(heads) => heads,
        Err(error) => {
            let mend = match &error {
                // It says so itself.
                GitError::Empty { .. } => return failed(error.to_string()),
                _ if mirror.remote().is_here() => "correct `remote` in the repository's table",
                _ => {
                    "correct `remote` in the repository's table; it must open without a password \
                     prompt, for example with your ssh-agent"
                }
            };
            return failed(error.to_string()).into_iter().map(|one| one.mend(mend)).collect();
        }
    };
    let Some(head) = heads.heads.get(&heads.default).cloned() else {
        let remote = app.engine.ports().git.remote(name);
        return failed(format!("{remote} has no branch {}", heads.default));
    };
    let says = format!("{} at {}", heads.default, head.short());
    let mut all = vec![found("remote", State::Ok, says)];
    let fetched = async {
        mirror.ensure().await?;
        mirror.fetch().await
    };
    if let Err(error) = fetched.await {
        all.push(found("mirror", State::Failure, error.to_string()));
        return all;
    }
    all.extend(stages::examine(app, name, repo, &head).await);
    all.push(workable(&mirror, name, &head).await);
    all.push(policy(app, &mirror, name, repo, &head).await);
    let at = format!("{} at {}", heads.default, head.short());
    match files(&mirror, &head).await {
        Err(why) => all.push(found("tests", State::Failure, why)),
        Ok(files) => {
            all.push(tests(name, repo, &files));
            all.extend(missing(name, repo, &files, &at));
        }
    }
    all
}

/// The files of a commit, as its difference from the empty tree.
async fn files(mirror: &Mirror, head: &Oid) -> Result<Diff, String> {
    let long = head.as_str().len() == EMPTY_TREE_SHA256.len();
    let empty = if long { EMPTY_TREE_SHA256 } else { EMPTY_TREE };
    let empty: Oid = empty.parse().map_err(|_| "not an object id".to_owned())?;
    let raw = mirror.raw_diff(&empty, head).await.map_err(|error| error.to_string())?;
    Diff::parse(&raw).map_err(|error| error.to_string())
}

/// Files of the repository that its commands run and that the default branch does not have.
fn missing(name: &RepoName, repo: &Repo, files: &Diff, at: &str) -> Vec<Finding> {
    let mut all = Vec::new();
    for (key, argv) in commands(repo) {
        let Some((file, runs)) = file_of(argv) else { continue };
        let path = file.trim_start_matches("./");
        let there = files.changes.iter().find(|change| change.path.to_string() == path);
        let mode = there.and_then(|change| change.new.as_ref()).map(|entry| entry.mode.octal());
        let (says, mend) = match mode {
            None => (
                format!("{key} runs {file}, which {at} does not have"),
                format!("commit {path} and push it, or correct {key}"),
            ),
            Some("100644") if runs => (
                format!("{key} runs {file}, which is not executable in {at}"),
                format!(
                    "git update-index --chmod=+x {path}, commit and push it, or let {key} run \
                     [\"sh\", \"{path}\"]"
                ),
            ),
            Some(_) => continue,
        };
        let found = Finding::new(name.as_str(), "commands", State::Failure, says);
        all.push(found.mend(mend));
    }
    all
}

/// The file of the repository that a command runs, and whether it is run as a program: `./test.sh`,
/// or `test.sh` as the first argument of a shell.
fn file_of(argv: &[String]) -> Option<(&str, bool)> {
    let first = argv.first()?.as_str();
    if first.contains('/') && !first.starts_with('/') {
        return Some((first, true));
    }
    let shell = matches!(first, "sh" | "bash" | "dash" | "zsh");
    let script = argv.get(1).filter(|word| shell && !word.starts_with(['-', '/']))?;
    Some((script, false))
}

/// Whether a workspace of ours can have all of it.
async fn workable(mirror: &Mirror, name: &RepoName, head: &Oid) -> Finding {
    let found = |state, says: String| Finding::new(name.as_str(), "workable", state, says);
    match mirror.unsupported(head).await {
        Ok(None) => found(State::Ok, "no submodules, LFS or git-crypt".to_owned()),
        Ok(Some(why)) => found(State::Failure, why.to_string()).mend(why.mend()),
        Err(error) => found(State::Failure, error.to_string()),
    }
}

async fn policy(
    app: &App,
    mirror: &Mirror,
    name: &RepoName,
    repo: &Shared<Repo>,
    head: &Oid,
) -> Finding {
    let found = |state, says: String| Finding::new(name.as_str(), "policy", state, says);
    let bad = |says: String| {
        found(State::Failure, says).mend(format!("fix {} on the default branch", workflow::PATH))
    };
    let read = match mirror.blob_at(head, workflow::PATH, workflow::MAX_BYTES).await {
        Err(error) => return found(State::Failure, error.to_string()),
        Ok(BlobAt::Absent) => return found(State::Ok, format!("no {}", workflow::PATH)),
        Ok(BlobAt::NotPlain { mode }) => {
            return bad(format!("{} is not a regular file (mode {mode})", workflow::PATH));
        }
        Ok(BlobAt::TooLarge { size }) => Err(workflow::too_large(size)),
        Ok(BlobAt::File(bytes)) => Workflow::parse(&bytes),
    };
    match read.and_then(|read| read.met(&app.config.policy, repo)) {
        Err(error) => bad(error.to_string()),
        Ok(met) if met.ignored.is_empty() => {
            found(State::Ok, format!("{} is valid", workflow::PATH))
        }
        Ok(met) => {
            let says = format!("{}: {}", workflow::PATH, met.ignored.join("; "));
            found(State::Warning, says).mend("a policy can only tighten: remove these keys")
        }
    }
}

/// Whether the repository has tests in files of their own.
fn tests(name: &RepoName, repo: &Repo, files: &Diff) -> Finding {
    let found = |state, says: String| Finding::new(name.as_str(), "tests", state, says);
    let policy = match repo.proof_policy() {
        Ok(policy) => policy,
        Err(error) => return found(State::Failure, error.to_string()),
    };
    let is_test = |path| policy.class(path) == PathClass::Test;
    match files.changes.iter().filter(|change| is_test(&change.path)).count() {
        0 => found(State::Warning, "no file matches proof.tests".to_owned())
            .mend("the proof of tests inside source files is weaker; if there are test files, correct proof.tests"),
        1 => found(State::Ok, "1 file matches proof.tests".to_owned()),
        n => found(State::Ok, format!("{n} files match proof.tests")),
    }
}

/// Whether the programs of its commands exist inside a box.
async fn programs(app: &App, name: &RepoName, repo: &Repo, boxable: bool) -> Vec<Finding> {
    let found = |state, says: String| Finding::new(name.as_str(), "programs", state, says);
    let wanted = wanted(repo);
    // A box with a folder that cannot be shown would only say so again.
    if wanted.is_empty() || !boxable {
        return Vec::new();
    }
    let missing = match look_inside(app, name, repo, &wanted).await {
        Err(why) => return vec![found(State::Failure, format!("could not check in a box: {why}"))],
        Ok(missing) => missing,
    };
    vec![if missing.is_empty() {
        found(State::Ok, format!("the sandbox shows {}", wanted.join(", ")))
    } else {
        found(State::Failure, format!("the sandbox does not show {}", missing.join(", ")))
            .mend("install it under /usr, or add its toolchain's folder to the repository's `read`")
    }]
}

/// The repository's commands, each with its key.
fn commands(repo: &Repo) -> Vec<(String, &[String])> {
    let hooks = &repo.hooks;
    let keyed = [
        ("proof.build", &repo.proof.build),
        ("proof.fetch", &repo.proof.fetch),
        ("hooks.after_create", &hooks.after_create),
        ("hooks.before_run", &hooks.before_run),
        ("hooks.after_run", &hooks.after_run),
        ("hooks.before_remove", &hooks.before_remove),
    ];
    let verify = match &repo.verify {
        Verify::None => None,
        Verify::Command(argv) => Some(("verify".to_owned(), argv.as_slice())),
    };
    let stages = repo.stages.iter().filter(|stage| !stage.command.is_empty());
    let stages =
        stages.map(|stage| (format!("the stage {:?}", stage.name), stage.command.as_slice()));
    let keyed = keyed.into_iter();
    let keyed = keyed.filter_map(|(key, argv)| Some((key.to_owned(), argv.as_deref()?)));
    verify.into_iter().chain(stages).chain(keyed).collect()
}

/// The first words of the repository's commands, except files of the repository.
fn wanted(repo: &Repo) -> Vec<String> {
    let mut wanted: Vec<String> = Vec::new();
    for program in commands(repo).into_iter().filter_map(|(_, argv)| argv.first()) {
        let inside = program.contains('/') && !program.starts_with('/');
        if !inside && !wanted.contains(program) {
            wanted.push(program.clone());
        }
    }
    wanted
}

async fn look_inside(
    app: &App,
    name: &RepoName,
    repo: &Repo,
    wanted: &[String],
) -> Result<Vec<String>, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let words = ["sh", "-c", MISSING, "sh"].map(str::to_owned);
    let argv = words.into_iter().chain(wanted.iter().cloned()).collect();
    let cwd: &Path = Path::new("/");
    let spec = boxed(&app.local, name, repo, argv, cwd, Cache::None);
    let spec = spec.map_err(|error| error.to_string())?;
    let said = run_boxed(&app.local.hosts, folder.path(), spec).await?;
    Ok(said.lines().map(str::to_owned).collect())
}

/// What the forge says that tracks the repo; none if the local tracker does.
async fn forge(app: &App, name: &RepoName, fix: bool) -> Option<Vec<Finding>> {
    let policy = &app.config.policy;
    let repo = policy.repos.get(name)?;
    let labels = [
        (&policy.ready_label, "afk may implement it"),
        (&policy.in_progress_label, "afk is at work on it"),
        (&policy.human_label, "afk has handed it to a person"),
        (&policy.no_test_label, "afk may land it without a test that fails before"),
        (&policy.tests_label, "afk may change, remove or skip existing tests"),
    ];
    let webhook = app.config.own.http.url.as_ref();
    let webhook = webhook.filter(|_| app.forges.hearing().contains(&repo.tracker));
    let needs = Needs {
        labels: labels.map(|(label, meaning)| (label.clone(), meaning)).to_vec(),
        pushes: repo.landing != Landing::PullRequest,
        opens_pulls: repo.landing == Landing::PullRequest,
        webhook: webhook
            .map(|url| format!("{}/webhooks/{}", url.trim_end_matches('/'), repo.tracker)),
        make: fix,
    };
    let all = app.forges.examine(name, &repo.tracker, &needs).await?;
    Some(all.into_iter().map(|one| found_there(name, one)).collect())
}

/// What the T3 Code server says that works on the repo; nothing if another executor does.
async fn t3(app: &App, name: &RepoName, repo: &Repo) -> Vec<Finding> {
    let all = app.t3.examine(&repo.agent, name).await.unwrap_or_default();
    all.into_iter().map(|one| found_there(name, one)).collect()
}

/// What was found of the repo on another machine.
fn found_there(name: &RepoName, one: RemoteFinding) -> Finding {
    let state = match one.severity {
        Severity::Fine => State::Ok,
        Severity::Warning => State::Warning,
        Severity::Failure => State::Failure,
    };
    Finding { mend: one.mend, ..Finding::new(name.as_str(), one.about, state, one.says) }
}

/// The labels, and whether those who released the ready issues are trusted.
async fn labels(app: &App, name: &RepoName, brake: &Brake, fix: bool) -> Vec<Finding> {
    let found = |about: &str, state, says: String| Finding::new(name.as_str(), about, state, says);
    let mut all = if let Some(found) = forge(app, name, fix).await {
        found
    } else {
        let made = if fix { "; there are none to create" } else { "" };
        let says = format!("the local tracker creates labels as they are used{made}");
        vec![found("labels", State::Ok, says)]
    };
    let ready = app.engine.ports().tracker.ready(name, &app.config.policy.ready_label).await;
    let ready = match ready {
        Ok(ready) => ready,
        Err(error) => {
            all.push(found("tracker", State::Failure, error.chain()));
            return all;
        }
    };
    let count = ready.len();
    for issue in ready.into_iter().take(READY) {
        let said = app.engine.explain(&issue.issue, Dispatcher::Loop, brake).await;
        let gates = said.map(|said| said.gates).unwrap_or_default();
        let refused =
            gates.iter().find(|one| one.gate == Gate::Trust && one.verdict != GateVerdict::Passed);
        if let Some(refused) = refused {
            let says = format!("{}: {}", issue.issue, refused.why);
            all.push(
                found("release", State::Warning, says)
                    .mend("somebody with the trusted permission must put the ready label on"),
            );
        }
    }
    all.push(found("tracker", State::Ok, format!("{count} ready")));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_those_that_the_repository_does_not_bring() {
        let table = serde_json::json!({
            "remote": "/srv/r.git",
            "verify": ["make", "test"],
            "stages": [
                { "name": "ci", "command": [".ci/run"] },
                { "name": "lint", "command": ["make", "lint"] },
                { "name": "own", "command": ["/opt/x"] },
            ],
            "hooks": { "before_run": ["npm", "ci"] },
            "proof": { "fetch": ["cargo", "fetch"] },
        });
        let repo: Repo = serde_json::from_value(table).unwrap();
        assert_eq!(wanted(&repo), ["make", "/opt/x", "cargo", "npm"]);
    }

    #[test]
    fn a_file_that_a_command_runs_is_told_from_a_program() {
        let check = |words: &[&str], expected: Option<(&str, bool)>| {
            let argv: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(file_of(&argv), expected, "{words:?}");
        };
        check(&["./test.sh"], Some(("./test.sh", true)));
        check(&["scripts/test"], Some(("scripts/test", true)));
        check(&["sh", "test.sh"], Some(("test.sh", false)));
        check(&["bash", "./ci/run"], Some(("./ci/run", false)));
        check(&["sh", "-c", "x"], None);
        check(&["sh", "/opt/x"], None);
        check(&["make", "test"], None);
        check(&["/opt/x"], None);
        check(&[], None);
    }
}
