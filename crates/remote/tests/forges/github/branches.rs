//! Pull requests of a repo whose branches are in a real git folder.

use std::path::Path;
use std::process::Command;

use afk_core::ids::Oid;
use afk_core::run::PullState;
use afk_engine::ports::{PullRequests as _, PullSpec};
use afk_fakes::MergeAs;

use crate::support::{OnGitHub, repo};

fn git(folder: &Path, args: &[&str]) -> String {
    let who = ["-c", "user.name=ann", "-c", "user.email=ann@people.test"];
    let said = Command::new("git").args(who).args(args).current_dir(folder).output().unwrap();
    assert!(said.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

/// Makes a commit without files, with these parents.
fn commit(folder: &Path, on: &[&str], what: &str) -> Oid {
    let tree = git(folder, &["hash-object", "-t", "tree", "-w", "/dev/null"]);
    let on = on.iter().flat_map(|parent| ["-p", parent]);
    let args: Vec<&str> = ["commit-tree", &tree, "-m", what].into_iter().chain(on).collect();
    git(folder, &args).parse().unwrap()
}

#[tokio::test]
async fn a_pull_request_follows_its_branch_until_it_is_merged() {
    let (home, dir) = (OnGitHub::new(), tempfile::tempdir().unwrap());
    let folder = dir.path();
    git(folder, &["init", "-q", "--bare", "--initial-branch=main", "."]);
    let first = commit(folder, &[], "first");
    let work = commit(folder, &[first.as_str()], "work");
    let set = |branch: &str, to: &Oid| {
        git(folder, &["update-ref", &format!("refs/heads/{branch}"), to.as_str()]);
    };
    set("main", &first);
    for branch in ["a", "b"] {
        set(branch, &work);
    }
    home.fake.on_git(&repo("o/r"), folder);
    let pulls = home.restarted();
    let spec = |branch: &str| PullSpec {
        repo: repo("o/r"),
        branch: branch.to_owned(),
        commit: work.clone(),
        onto: "main".to_owned(),
        title: "Work".to_owned(),
        body: "Refs #1".to_owned(),
    };
    let state = async |branch: &str| pulls.look(&repo("o/r"), branch).await.unwrap().state;
    for branch in ["a", "b"] {
        assert_eq!(pulls.open(&spec(branch)).await.unwrap().state, PullState::Open);
    }
    assert!(pulls.open(&spec("c")).await.is_err(), "nobody pushed it");
    let more = commit(folder, &[work.as_str()], "more");
    set("a", &more);
    assert_eq!(state("a").await, PullState::Open);
    home.sim.with(|world| {
        let key = (repo("o/r"), "a".to_owned());
        assert_eq!(world.pulls.pulls[&key].spec.commit, more);
    });
    git(folder, &["update-ref", "-d", "refs/heads/b"]);
    assert_eq!(state("b").await, PullState::Closed);
    let merged = home.fake.merge_pull(&repo("o/r"), "a", MergeAs::Squash);
    assert_eq!(state("a").await, PullState::Merged { commit: merged.clone() });
    assert_eq!(git(folder, &["rev-parse", "main"]), merged.as_str());
    assert_eq!(git(folder, &["log", "-1", "--format=%P", "main"]), first.as_str());
    home.done("branches");
}
