//! What the loop needs of each configured repository.

use std::path::Path;

use afk_core::change::Diff;
use afk_core::config::{Landing, Repo};
use afk_core::gates::{Dispatcher, Gate, GateVerdict};
use afk_core::ids::{AdapterName, Oid, RepoName};
use afk_core::proof::{PathClass, ProofPolicyConfig, Verify};
use afk_core::shared::Shared;
use afk_core::workflow::{self, Workflow};
use afk_engine::switches::Brake;
use afk_local::ask::on_path;
use afk_local::git::{BlobAt, GitError, Mirror};
use afk_local::{Cache, boxed};
use afk_remote::{Needs, RemoteFinding, Severity};
use futures_util::{StreamExt as _, stream};
use tokio_util::sync::CancellationToken;

use super::machine::run_boxed;
use super::{Check, Finding, State, stages, table, within};
use crate::App;

/// Git's id of the empty tree, in repositories of either hash kind.
const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
const EMPTY_TREE_SHA256: &str = "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321";
/// A shell script that prints each argument that is not a program on `PATH`.
const MISSING: &str = "for p; do command -v \"$p\" >/dev/null || echo \"$p\"; done";
/// How to fix a mirror that was fetched but cannot be read.
const UNREAD: &str = "see what git says with `afk -vv doctor`; if the mirror is damaged, remove its \
                      folder below work/ in data_dir while no run is live, and it is fetched again";
/// Maximum number of repositories that are checked at once. With more, one machine's answers are
/// late or refused: sshd drops connections (`MaxStartups`), and files run out.
const AT_ONCE: usize = 8;
/// Maximum number of ready issues of a repository whose gate of trust is checked.
const READY: usize = 20;

/// Checks all repositories, some at once; keeps their order. With `fix`, creates what a tracker
/// lacks; `boxes` says whether this machine can make a box at all.
pub(super) async fn examine(app: &App, fix: bool, boxes: bool) -> Vec<Finding> {
    let brake = Brake::new(CancellationToken::new());
    brake.read(app.engine.ports()).await;
    let brake = &brake;
    let all = app.config.policy.repos.iter().map(|(name, repo)| async move {
        let check = |about| Check::of(name.as_str(), about);
        let home = std::env::home_dir();
        let table = table::examine(&app.config, name, repo, home.as_deref());
        let boxable = boxes && table.iter().all(|found| found.about != "read");
        let (git, programs, trust) = tokio::join!(
            within(check("remote"), remote(app, name, repo)),
            within(check("programs"), programs(app, name, repo, boxable)),
            within(check("labels"), labels(app, name, repo, brake, fix)),
        );
        let far = within(check("agent"), t3(app, name, repo)).await;
        let forge = within(check("forge"), other_home(app, name, repo, fix)).await;
        [table, far, git, programs, trust, forge].concat()
    });
    // The time that a check may take starts when its repository is looked at.
    stream::iter(all).buffered(AT_ONCE).collect::<Vec<_>>().await.concat()
}

/// Checks the remote, the polled stages, and the contents of the default branch.
async fn remote(app: &App, name: &RepoName, repo: &Shared<Repo>) -> Vec<Finding> {
    let check = |about| Check::of(name.as_str(), about);
    let mirror = match app.local.mirror(name) {
        Ok(mirror) => mirror,
        Err(error) => {
            return vec![check("remote").failure(error.chain(), "correct `remote` in its table")];
        }
    };
    let heads = match mirror.remote_heads().await {
        Ok(heads) => heads,
        Err(error) => {
            let (says, remedy) = unread(&error, mirror.remote().is_here());
            return vec![check("remote").failure(says, remedy)];
        }
    };
    let Some(head) = heads.heads.get(&heads.default).cloned() else {
        let remote = app.engine.ports().git.remote(name);
        return vec![check("remote").failure(
            format!("{remote} has no branch {}", heads.default),
            format!("push a commit to {}, or let the remote's HEAD name another", heads.default),
        )];
    };
    let mut all = vec![check("remote").ok(format!("{} at {}", heads.default, head.short()))];
    let fetched = async {
        mirror.ensure().await?;
        mirror.fetch().await
    };
    if let Err(error) = fetched.await {
        let remedy = "fix what git says; the mirror is below work/ in data_dir, and is made again if \
                    it is removed while no run is live";
        all.push(check("mirror").failure(error.to_string(), remedy));
        return all;
    }
    all.extend(stages::examine(app, name, repo, &head).await);
    all.push(workable(&mirror, name, &head).await);
    all.push(policy(app, &mirror, name, repo, &head).await);
    let at = format!("{} at {}", heads.default, head.short());
    match files(&mirror, &head).await {
        Err(why) => all.push(check("tests").failure(why, UNREAD)),
        Ok(files) => {
            all.push(tests(name, repo, &files));
            all.extend(missing(name, repo, &files, &at));
        }
    }
    all
}

/// Why the remote cannot be read, and how to fix that; `here` is whether it is on this machine.
fn unread(error: &GitError, here: bool) -> (String, String) {
    match error {
        GitError::NotARepository { url } if here => {
            let path = url.strip_prefix("file://").unwrap_or(url);
            (
                format!("there is no git repository at {path}"),
                "correct `remote` in the repository's table, or make a bare repository there (git \
                 clone --bare)"
                    .to_owned(),
            )
        }
        GitError::NotARepository { url } => (
            format!("there is no git repository at {url}, or the credential may not see it"),
            "correct `remote` in the repository's table, or let the credential read it".to_owned(),
        ),
        GitError::Empty { url } => (
            format!("the repository at {url} has no default branch with a commit"),
            "push a first commit to it, or let its HEAD name a branch that is there (git \
             symbolic-ref HEAD refs/heads/main)"
                .to_owned(),
        ),
        error if here => {
            (error.to_string(), "correct `remote` in the repository's table".to_owned())
        }
        error => (
            error.to_string(),
            "correct `remote` in the repository's table; it must open without a password prompt, \
             for example with your ssh-agent"
                .to_owned(),
        ),
    }
}

/// The files of a commit, as its difference from the empty tree.
async fn files(mirror: &Mirror, head: &Oid) -> Result<Diff, String> {
    let long = head.as_str().len() == EMPTY_TREE_SHA256.len();
    let empty = if long { EMPTY_TREE_SHA256 } else { EMPTY_TREE };
    let empty: Oid = empty.parse().map_err(|_| "not an object id".to_owned())?;
    let raw = mirror.raw_diff(&empty, head).await.map_err(|error| error.to_string())?;
    Diff::parse(&raw).map_err(|error| error.to_string())
}

/// A failure for each file of the repository that a command runs, and that the default branch does
/// not have or has without the executable bit that it needs. `at` names branch and commit.
fn missing(name: &RepoName, repo: &Repo, files: &Diff, at: &str) -> Vec<Finding> {
    let mut all = Vec::new();
    for (key, argv) in commands(repo) {
        let Some((file, runs)) = file_of(argv) else { continue };
        let path = file.trim_start_matches("./");
        let there = files.changes.iter().find(|change| change.path.to_string() == path);
        let mode = there.and_then(|change| change.new.as_ref()).map(|entry| entry.mode.octal());
        let (says, remedy) = match mode {
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
        all.push(Check::of(name.as_str(), "commands").failure(says, remedy));
    }
    all
}

/// The file of the repository that a command runs, and whether it is run as a program: true for
/// `./test.sh`, false for `sh test.sh`.
fn file_of(argv: &[String]) -> Option<(&str, bool)> {
    let first = argv.first()?.as_str();
    if first.contains('/') && !first.starts_with('/') {
        return Some((first, true));
    }
    let shell = matches!(first, "sh" | "bash" | "dash" | "zsh");
    let script = argv.get(1).filter(|word| shell && !word.starts_with(['-', '/']))?;
    Some((script, false))
}

/// Whether a workspace can hold everything in the commit: no submodules, LFS or git-crypt.
async fn workable(mirror: &Mirror, name: &RepoName, head: &Oid) -> Finding {
    let check = Check::of(name.as_str(), "workable");
    match mirror.unsupported(head).await {
        Ok(None) => check.ok("no submodules, LFS or git-crypt"),
        Ok(Some(why)) => check.failure(why.to_string(), why.remedy()),
        Err(error) => check.failure(error.to_string(), UNREAD),
    }
}

async fn policy(
    app: &App,
    mirror: &Mirror,
    name: &RepoName,
    repo: &Shared<Repo>,
    head: &Oid,
) -> Finding {
    let check = Check::of(name.as_str(), "policy");
    let bad =
        |says: String| check.failure(says, format!("fix {} on the default branch", workflow::PATH));
    let read = match mirror.blob_at(head, workflow::PATH, workflow::MAX_BYTES).await {
        Err(error) => return check.failure(error.to_string(), UNREAD),
        Ok(BlobAt::Absent) => return check.ok(format!("no {}", workflow::PATH)),
        Ok(BlobAt::NotPlain { mode }) => {
            return bad(format!("{} is not a regular file (mode {mode})", workflow::PATH));
        }
        Ok(BlobAt::TooLarge { size }) => Err(workflow::too_large(size)),
        Ok(BlobAt::File(bytes)) => Workflow::parse(&bytes),
    };
    match read.and_then(|read| read.met(&app.config.policy, repo)) {
        Err(error) => bad(error.to_string()),
        Ok(met) if met.ignored.is_empty() => check.ok(format!("{} is valid", workflow::PATH)),
        Ok(met) => check.warning(
            format!("{}: {}", workflow::PATH, met.ignored.join("; ")),
            "a policy can only tighten: remove these keys",
        ),
    }
}

/// Whether the repository has tests in files of their own.
fn tests(name: &RepoName, repo: &Repo, files: &Diff) -> Finding {
    let check = Check::of(name.as_str(), "tests");
    let policy = match repo.proof_policy() {
        Ok(policy) => policy,
        Err(error) => return check.failure(error.to_string(), "correct the table `proof`"),
    };
    let is_test = |path| policy.class(path) == PathClass::Test;
    match files.changes.iter().filter(|change| is_test(&change.path)).count() {
        0 => check.warning(
            if repo.proof.tests == ProofPolicyConfig::default().tests {
                "no file looks like a test (such as tests/** or *.test.js)"
            } else {
                "no file matches proof.tests"
            },
            "if yours are elsewhere, name them: proof.tests = [\"t/**\"]; if they are inside source \
             files, the proof is weaker",
        ),
        1 => check.ok("1 file matches proof.tests"),
        n => check.ok(format!("{n} files match proof.tests")),
    }
}

/// Whether the programs of its commands exist inside a box.
async fn programs(app: &App, name: &RepoName, repo: &Repo, boxable: bool) -> Vec<Finding> {
    let check = Check::of(name.as_str(), "programs");
    let wanted = wanted(repo);
    // Why no box can be made was reported before.
    if wanted.is_empty() || !boxable {
        return Vec::new();
    }
    let missing = match look_inside(app, name, repo, &wanted).await {
        Err(why) => {
            let remedy = "fix what it says, as the machine's findings name it, or the repository's \
                        `read`";
            return vec![check.failure(format!("could not check in a box: {why}"), remedy)];
        }
        Ok(missing) => missing,
    };
    if missing.is_empty() {
        return vec![check.ok(format!("the sandbox shows {}", wanted.join(", ")))];
    }
    missing.iter().map(|program| unshown(check, program, on_path(program).as_deref())).collect()
}

/// A failure for a program that no box shows; `there` is where this machine has it, if it does.
fn unshown(check: Check<'_>, program: &str, there: Option<&Path>) -> Finding {
    let is_path = Path::new(program).is_absolute();
    let says = match there {
        None if is_path => format!("there is no program at {program}"),
        None => format!("this machine has no program {program} on PATH"),
        Some(_) if is_path => format!("the sandbox does not show {program}"),
        Some(there) => {
            format!("the sandbox does not show {program}, which is at {}", there.display())
        }
    };
    if there.is_none() {
        return check.failure(says, "install it, or correct the command");
    }
    check.failure(
        says,
        "add the folder of its toolchain to the repository's `read` (`afk init --print`, in a \
         clone, proposes it), or install it in /usr/bin or /usr/local/bin",
    )
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

/// Checks a forge for what the repo uses it for: as its tracker, for its pull requests, and as the
/// server of its remote. None if `forge` does not name one.
async fn home(app: &App, name: &RepoName, forge: &AdapterName, fix: bool) -> Option<Vec<Finding>> {
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
    let webhook = webhook.filter(|_| app.forges.hearing().contains(forge));
    let pulls = repo.landing == Landing::PullRequest;
    let mirror = app.local.mirror(name).ok();
    let server = mirror.as_ref().and_then(|mirror| mirror.remote().server());
    let needs = Needs {
        labels: (*forge == repo.tracker)
            .then(|| labels.map(|(label, meaning)| (label.clone(), meaning)).to_vec()),
        pushes: !pulls && server.is_some_and(|server| app.forges.is_at(forge, server)),
        opens_pulls: pulls && app.forges.opener(name).as_ref() == Some(forge),
        webhook: webhook.map(|url| format!("{}/webhooks/{forge}", url.trim_end_matches('/'))),
        make: fix,
    };
    let all = app.forges.examine(name, forge, &needs).await?;
    Some(all.into_iter().map(|one| found_there(name, one)).collect())
}

/// Checks the forge that has the repo's pull requests and git, if that is not its tracker.
async fn other_home(app: &App, name: &RepoName, repo: &Repo, fix: bool) -> Vec<Finding> {
    let opener = app.forges.opener(name).filter(|opener| *opener != repo.tracker);
    match opener {
        Some(forge) => home(app, name, &forge, fix).await.unwrap_or_default(),
        None => Vec::new(),
    }
}

/// Checks the T3 Code server that works on the repo; nothing if another executor does.
async fn t3(app: &App, name: &RepoName, repo: &Repo) -> Vec<Finding> {
    let all = app.t3.examine(&repo.agent, name).await.unwrap_or_default();
    all.into_iter().map(|one| found_there(name, one)).collect()
}

/// A finding from what a forge or a T3 Code server said about the repo.
fn found_there(name: &RepoName, one: RemoteFinding) -> Finding {
    let state = match one.severity {
        Severity::Fine => State::Ok,
        Severity::Warning => State::Warning,
        Severity::Failure => State::Failure,
    };
    Check::of(name.as_str(), one.about).found(state, one.says, one.remedy)
}

/// Checks the tracker, its labels, and whether those who released the ready issues are trusted.
async fn labels(app: &App, name: &RepoName, repo: &Repo, brake: &Brake, fix: bool) -> Vec<Finding> {
    let check = |about| Check::of(name.as_str(), about);
    let mut all = if let Some(found) = home(app, name, &repo.tracker, fix).await {
        let shut = |one: &Finding| one.about == "credential" && one.state == State::Failure;
        if found.iter().any(shut) {
            // Reading the issues would fail for the same reason.
            return found;
        }
        found
    } else {
        let made = if fix { "; there are none to create" } else { "" };
        vec![check("labels").ok(format!("the local tracker creates labels as they are used{made}"))]
    };
    let ready = app.engine.ports().tracker.ready(name, &app.config.policy.ready_label).await;
    let ready = match ready {
        Ok(ready) => ready,
        Err(error) => {
            let remedy = "fix the tracker's table, its credential, or the way to it: no issue is \
                        taken that cannot be read";
            all.push(check("tracker").failure(error.chain(), remedy));
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
            all.push(check("release").warning(
                format!("{}: {}", issue.issue, refused.why),
                "somebody with the trusted permission must put the ready label on",
            ));
        }
    }
    all.push(check("tracker").ok(format!("{count} ready")));
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
