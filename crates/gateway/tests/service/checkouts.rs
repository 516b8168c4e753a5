//! Checkouts of jobs: a clone of a base that is refreshed now and then, unlocked, and removed whatever
//! happens.

use std::path::Path;
use std::process::Command;

use afk_gateway::{Gateway, GatewaySettings};
use serde_json::json;

use crate::jobs::{OVER, cancel, checkouts, submit, until, until_true};
use crate::stand::{BOUND, Stand, TOKEN, answer, cold};

fn git(folder: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args([
            "-c",
            "user.name=t",
            "-c",
            "user.email=t@example.com",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A remote with one commit, and a base clone of it.
fn remote_and_base(folder: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let (work, remote, base) =
        (folder.join("work"), folder.join("remote.git"), folder.join("base"));
    std::fs::create_dir_all(&work).unwrap();
    git(&work, &["init", "-q"]);
    std::fs::write(work.join("a"), "first\n").unwrap();
    git(&work, &["add", "a"]);
    git(&work, &["commit", "-qm", "first"]);
    git(folder, &["clone", "-q", "--bare", "work", "remote.git"]);
    git(folder, &["clone", "-q", "remote.git", "base"]);
    git(&work, &["remote", "add", "origin", "../remote.git"]);
    (remote, base)
}

fn executable(path: &Path, script: &str) {
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// The names of everything that the gateway's home, and those of jobs, have of checkouts.
fn kept_of_checkouts(folder: &Path) -> Vec<std::path::PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.join("state/home/.claude")]);
    for entry in std::fs::read_dir(folder.join("state/checkouts")).into_iter().flatten() {
        folders.push(entry.unwrap().path().join(".claude"));
    }
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().contains("afk-job-") {
                found.push(path);
            } else if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[tokio::test]
async fn gateway_what_the_cli_keeps_of_a_checkout_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    // As the version before left it.
    let projects = folder.path().join("state/home/.claude/projects");
    for name in ["-srv-checkouts-afk-job-0123", "-srv-scratch"] {
        std::fs::create_dir_all(projects.join(name)).unwrap();
        std::fs::write(projects.join(name).join("s.jsonl"), "what it read").unwrap();
    }
    let stand = Stand::at(folder, cold()).await;
    assert_eq!(kept_of_checkouts(stand.folder.path()), Vec::<std::path::PathBuf>::new());
    assert!(projects.join("-srv-scratch/s.jsonl").exists(), "it is of no job");
    let running = submit(&stand, "[[spill]][[hang]]", json!({})).await;
    until_true("it keeps a long output", || {
        kept_of_checkouts(stand.folder.path()).iter().any(|kept| {
            kept.join("s/tool-results/t.txt").exists() && !kept.join("s.jsonl").exists()
        })
    })
    .await;
    cancel(&stand, &running).await;
    let done = submit(&stand, "[[spill]][[echo:x]]", json!({})).await;
    until(&stand, &done, &OVER).await;
    let chat = stand.chat("[[spill]][[echo:x]]", json!({"agent": "triage"}));
    assert_eq!(answer(chat).await.0, 200);
    assert_eq!(kept_of_checkouts(stand.folder.path()), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn gateway_the_base_may_be_another_user_s() {
    let folder = tempfile::tempdir().unwrap();
    let (_, base) = remote_and_base(folder.path());
    let settings = GatewaySettings { workspace_dir: Some(base.clone()), ..cold() };
    let mut start = crate::stand::start(folder.path(), settings);
    // git's own tests use this variable to make every folder look like another user's.
    start.git.push(("GIT_TEST_ASSUME_DIFFERENT_OWNER".into(), "1".into()));
    let stand = Stand::with(folder, start).await;
    let job = until(&stand, &submit(&stand, "[[read:a]]", json!({})).await, &OVER).await;
    assert_eq!(job["status"], "completed", "{job}");
    assert!(job["output"].to_string().contains("first"), "{job}");
    // If the base is broken, the job's error has git's own message.
    std::fs::remove_file(base.join(".git/HEAD")).unwrap();
    let job = until(&stand, &submit(&stand, "[[read:a]]", json!({})).await, &OVER).await;
    assert!(job["error"].as_str().unwrap().contains("fatal: not a git repository"), "{job}");
}

#[tokio::test]
async fn gateway_a_service_without_the_clone_that_its_jobs_work_on_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let settings = GatewaySettings { workspace_dir: Some(folder.path().into()), ..cold() };
    let told = Gateway::open(crate::stand::start(folder.path(), settings)).await.unwrap_err();
    assert!(told.to_string().contains("is not a clone"), "{told}");
}

#[tokio::test]
async fn gateway_each_job_has_a_fresh_checkout_of_a_refreshed_base() {
    let folder = tempfile::tempdir().unwrap();
    let (remote, base) = remote_and_base(folder.path());
    let settings =
        GatewaySettings { workspace_dir: Some(base.clone()), fetch_debounce_seconds: 0, ..cold() };
    let stand = Stand::at(folder, settings).await;
    let output = async |prompt: &str| {
        let id = submit(&stand, prompt, json!({})).await;
        let job = until(&stand, &id, &OVER).await;
        assert_eq!(job["status"], "completed", "{job}");
        job["output"].to_string()
    };
    let said = output("[[read:a]][[read:.git/config]]").await;
    assert!(said.contains("first"), "{said}");
    assert!(said.contains(remote.to_str().unwrap()), "origin is the real remote: {said}");
    let work = stand.folder.path().join("work");
    std::fs::write(work.join("a"), "second\n").unwrap();
    git(&work, &["commit", "-qam", "second"]);
    git(&work, &["push", "-q", "origin", "HEAD:main"]);
    // What a job or a person changed in the base is undone.
    std::fs::write(base.join("a"), "meddled\n").unwrap();
    assert!(output("[[read:a]]").await.contains("second"));
    // The locks that a killed git left there are removed.
    std::fs::write(work.join("a"), "third\n").unwrap();
    git(&work, &["commit", "-qam", "third"]);
    git(&work, &["push", "-q", "origin", "HEAD:main"]);
    for lock in ["index.lock", "refs/remotes/origin/main.lock"] {
        std::fs::write(base.join(".git").join(lock), "").unwrap();
    }
    assert!(output("[[read:a]]  ").await.contains("third"));
    // If the remote is gone, the last good state serves.
    std::fs::rename(&remote, stand.folder.path().join("elsewhere.git")).unwrap();
    assert!(output("[[read:a]] ").await.contains("third"));
    assert_eq!(checkouts(&stand), 0);
    stand.until_no_processes().await;
}

/// Returns the files below a folder with device and inode, which hard links share.
fn files(folder: &Path) -> Vec<(std::path::PathBuf, (u64, u64))> {
    use std::os::unix::fs::MetadataExt as _;
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(inner) = folders.pop() {
        for entry in std::fs::read_dir(inner).unwrap() {
            let entry = entry.unwrap();
            let file = entry.metadata().unwrap();
            if file.is_dir() {
                folders.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(folder).unwrap().to_owned();
                found.push((path, (file.dev(), file.ino())));
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn gateway_a_burst_of_jobs_asks_the_remote_once_and_links_the_objects() {
    let folder = tempfile::tempdir().unwrap();
    let (_, base) = remote_and_base(folder.path());
    let (asks, counted) = (folder.path().join("asks"), folder.path().join("counted"));
    let script = format!("#!/bin/sh\necho >> '{}'\nexec git-upload-pack \"$@\"\n", asks.display());
    executable(&counted, &script);
    git(&base, &["config", "remote.origin.uploadpack", counted.to_str().unwrap()]);
    let settings = GatewaySettings {
        workspace_dir: Some(base.clone()),
        fetch_debounce_seconds: 600,
        ..cold()
    };
    let stand = Stand::at(folder, settings).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(submit(&stand, "[[hang]]", json!({})).await);
    }
    // All five run at the same time, so none holds the lock on the base.
    stand.until_starts(5).await;
    let objects = files(&base.join(".git/objects"));
    assert!(objects.len() >= 3, "{objects:?}");
    let mut compared = 0;
    for checkout in std::fs::read_dir(stand.folder.path().join("state/checkouts")).unwrap() {
        let checkout = checkout.unwrap().path();
        if checkout.extension().is_none_or(|end| end != "home") {
            assert_eq!(files(&checkout.join(".git/objects")), objects);
            compared += 1;
        }
    }
    assert_eq!(compared, 5);
    ids.push(submit(&stand, "[[hang]]", json!({})).await);
    stand.until_starts(6).await;
    // One refresh asks the remote at most twice: for new commits, and for its default branch.
    let asked = std::fs::read_to_string(&asks).unwrap().lines().count();
    assert!((1..=2).contains(&asked), "{asked} times");
    for id in &ids {
        cancel(&stand, id).await;
    }
    assert_eq!(checkouts(&stand), 0);
}

#[tokio::test]
async fn faults_a_refresh_of_the_base_goes_on_without_the_job_that_began_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_, base) = remote_and_base(folder.path());
    let work = folder.path().join("work");
    std::fs::write(work.join("a"), "second\n").unwrap();
    git(&work, &["commit", "-qam", "second"]);
    git(&work, &["push", "-q", "origin", "HEAD:main"]);
    // The remote answers only once the file `may` exists.
    let (asked, may) = (folder.path().join("asked"), folder.path().join("may"));
    let slow = folder.path().join("slow");
    let script = format!(
        "#!/bin/sh\n: > '{}'\nuntil [ -e '{}' ]; do sleep 0.01; done\nexec git-upload-pack \"$@\"\n",
        asked.display(),
        may.display()
    );
    executable(&slow, &script);
    git(&base, &["config", "remote.origin.uploadpack", slow.to_str().unwrap()]);
    let stand =
        Stand::at(folder, GatewaySettings { workspace_dir: Some(base.clone()), ..cold() }).await;
    let id = submit(&stand, "[[read:a]]", json!({})).await;
    until_true("the remote was not asked", || asked.exists()).await;
    assert_eq!(cancel(&stand, &id).await["error"], "cancelled");
    std::fs::write(&may, "").unwrap();
    let refreshed = || std::fs::read_to_string(base.join("a")).is_ok_and(|a| a == "second\n");
    until_true("the base was not refreshed", refreshed).await;
    stand.until_no_processes().await;
    assert!(!base.join(".git/index.lock").exists());
}

#[tokio::test]
async fn faults_a_job_that_is_cancelled_while_it_is_cloned_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_, base) = remote_and_base(folder.path());
    // This git never gets beyond the first half of a clone.
    let (bin, begun) = (folder.path().join("bin"), folder.path().join("begun"));
    let mut start =
        crate::stand::start(folder.path(), GatewaySettings { workspace_dir: Some(base), ..cold() });
    let script = format!(
        "#!/bin/sh\nPATH='{}'\nfor last in \"$@\"; do [ \"$last\" = clone ] && clone=1; done\n\
         [ -z \"$clone\" ] && exec git \"$@\"\nmkdir -p \"$last/.git\"\n: > \"$last/.git/half\"\n\
         : > '{}'\nexec sleep 1000\n",
        start.path,
        begun.display()
    );
    std::fs::create_dir(&bin).unwrap();
    executable(&bin.join("git"), &script);
    start.path = format!("{}:{}", bin.display(), start.path);
    let stand = Stand::with(folder, start).await;
    let id = submit(&stand, "[[echo:x]]", json!({})).await;
    until_true("nothing is cloned", || begun.exists()).await;
    assert_eq!(checkouts(&stand), 1);
    assert_eq!(cancel(&stand, &id).await["error"], "cancelled");
    stand.until_no_processes().await;
    until_true("the checkout is left", || checkouts(&stand) == 0).await;
    assert!(stand.starts().is_empty());
}

/// The gateway runs as an unprivileged user here, because root may remove anything.
#[tokio::test]
async fn faults_folders_that_nobody_may_write_to_are_removed_with_their_checkout() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65_534;
    let folder = tempfile::tempdir().unwrap();
    // That user may not be able to read the build's own folder.
    let [server, program] = [
        ("server", env!("CARGO_BIN_EXE_afk-gateway")),
        ("program", env!("CARGO_BIN_EXE_scripted-claude")),
    ]
    .map(|(name, built)| {
        let copy = folder.path().join(name);
        std::fs::copy(built, &copy).unwrap();
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
        copy
    });
    let settings = json!({"program": program, "warm": {"least": 0, "per_model": 0}});
    let mut command = Command::new(server);
    command.arg("serve").arg(folder.path().join("state")).arg(settings.to_string());
    command.env("API_BEARER_TOKEN", TOKEN).stdout(std::process::Stdio::piped());
    if rustix::process::geteuid().is_root() {
        chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        command.uid(NOBODY).gid(NOBODY).current_dir(folder.path());
    }
    let mut server = command.spawn().unwrap();
    let mut line = String::new();
    let output = server.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
    let url = |path: &str| format!("http://{}{path}", line.trim());
    let client = reqwest::Client::builder().no_proxy().timeout(BOUND).build().unwrap();
    let order = json!({"prompt": "[[closed:cache]][[echo:done]]", "agent": "worker"});
    let ordered = client.post(url("/execute")).bearer_auth(TOKEN).body(order.to_string());
    let (_, told) = answer(ordered).await;
    let path = url(&format!("/jobs/{}/stream", told["job_id"].as_str().unwrap()));
    let followed = client.get(path).bearer_auth(TOKEN).send().await.unwrap().text().await.unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path().join("state/checkouts")).unwrap().collect();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(followed.contains("\"status\":\"completed\""), "{followed}");
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn gateway_a_checkout_is_unlocked_with_git_crypt() {
    if Command::new("git-crypt").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "git-crypt is not installed");
        eprintln!("SKIPPED gateway_a_checkout_is_unlocked_with_git_crypt: no git-crypt");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (_, base) = remote_and_base(folder.path());
    let work = folder.path().join("work");
    let crypt = |args: &[&str]| {
        assert!(
            Command::new("git-crypt").current_dir(&work).args(args).status().unwrap().success()
        );
    };
    let key = folder.path().join("key");
    crypt(&["init"]);
    crypt(&["export-key", key.to_str().unwrap()]);
    std::fs::write(work.join(".gitattributes"), "secret filter=git-crypt diff=git-crypt\n")
        .unwrap();
    std::fs::write(work.join("secret"), "the unlocked secret\n").unwrap();
    git(&work, &["add", "."]);
    git(&work, &["commit", "-qm", "secret"]);
    git(&work, &["push", "-q", "origin", "HEAD:main"]);
    let settings = |git_crypt_key| GatewaySettings {
        workspace_dir: Some(base.clone()),
        git_crypt_key,
        ..cold()
    };
    let stand = Stand::at(folder, settings(Some(key.clone()))).await;
    let id = submit(&stand, "[[read:secret]]", json!({})).await;
    let job = until(&stand, &id, &OVER).await;
    assert!(job["output"].to_string().contains("the unlocked secret"), "{job}");
    // A key file that is not there is no error.
    let missing = stand.folder.path().join("missing");
    let stand = Stand::at(stand.stop().await, settings(Some(missing))).await;
    let id = submit(&stand, "[[read:secret]]", json!({})).await;
    let job = until(&stand, &id, &OVER).await;
    assert_eq!(job["status"], "completed", "{job}");
    assert!(!job["output"].to_string().contains("the unlocked secret"));
    // A wrong key is an error.
    let wrong = stand.folder.path().join("wrong");
    std::fs::write(&wrong, "no key").unwrap();
    let stand = Stand::at(stand.stop().await, settings(Some(wrong))).await;
    let id = submit(&stand, "[[read:secret]]", json!({})).await;
    let job = until(&stand, &id, &OVER).await;
    assert_eq!(job["status"], "error");
    assert!(job["error"].as_str().unwrap().contains("git-crypt cannot unlock"), "{job}");
}
