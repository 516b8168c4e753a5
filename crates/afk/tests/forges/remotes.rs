//! The ways to the git remote: over HTTP at the forge, with the credential of its account; over
//! SSH, with a key that only an ssh-agent has.
//!
//! Programs on the path in front of git and ssh log their arguments: no credential is ever among
//! them, nor in a configuration, a log, or any other file of the world.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use afk_fakes::RecordedGitRequest;
use afk_stand_ins::sshd::{self, Sshd};

use crate::app_key;
use crate::common::{BOUND, until};
use crate::support::{As, CI, HOOK, Kind, OnForge, Plot, Remote, repo};

on_each_forge!(over_http_with_the_token);

/// A repository whose remote is at the forge, over HTTP.
fn over_http(kind: Kind, as_: As, keys: Option<&str>) -> OnForge {
    let keys = keys.map(str::to_owned);
    let (ci, remote) = (keys.is_some(), Remote::Http);
    OnForge::new(Plot { kind, keys, ci, as_, remote, ..Plot::default() })
}

/// Puts a program in front of each of these on the path, which logs its arguments and runs it.
fn watched(here: &mut OnForge, programs: &[(&str, PathBuf)]) {
    let (bin, log) = (here.world.path("watched"), here.world.path("arguments"));
    fs::create_dir(&bin).unwrap();
    fs::write(&log, "").unwrap();
    for (name, real) in programs {
        let (file, log, real) = (bin.join(name), log.display(), real.display());
        let text =
            format!("#!/bin/sh\nprintf '%s\\n' \"{name} $*\" >> {log}\nexec {real} \"$@\"\n");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = std::env::var("PATH").unwrap();
    here.world.env.push(("PATH".to_owned(), format!("{}:{path}", bin.display())));
    here.world.env.push(("RUST_LOG".to_owned(), "debug".to_owned()));
}

fn real(program: &str) -> PathBuf {
    let found = Command::new("which").arg(program).output().unwrap();
    PathBuf::from(String::from_utf8(found.stdout).unwrap().trim())
}

/// Lands an issue; returns the daemon's output.
fn lands(here: &OnForge) -> String {
    let issue = here.file("ann");
    let serve = here.serve();
    until("the issue is closed", BOUND, || here.is_closed(&issue).then_some(()));
    here.landed_once(&issue);
    let said = serve.said();
    drop(serve);
    said
}

/// Checks that no file of the world has one of these secrets, the log of arguments included.
fn nowhere(here: &OnForge, secrets: &[String]) {
    let arguments = fs::read_to_string(here.world.path("arguments")).unwrap();
    assert!(arguments.lines().count() > 10, "nothing was written down: {arguments}");
    let mut looked = 0;
    search(&here.world.path(""), &mut |path, content| {
        looked += 1;
        for secret in secrets {
            let found = content.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "a credential is in {}", path.display());
        }
    });
    assert!(looked > 50, "only {looked} files");
}

fn search(folder: &Path, look: &mut impl FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_dir() {
            search(&path, look);
        } else if kind.is_file() {
            look(&path, &fs::read(&path).unwrap_or_default());
        }
    }
}

/// Checks that git read and pushed only with a credential, under the user name that forges want.
#[track_caller]
fn came_by_http(asked: &[RecordedGitRequest]) {
    for pushes in [false, true] {
        let of = asked.iter().filter(|one| one.pushes == pushes);
        let (open, closed): (Vec<_>, Vec<_>) = of.partition(|one| one.status == 200);
        let named = open.iter().all(|one| one.user.as_deref() == Some("x-access-token"));
        assert!(!open.is_empty() && named, "pushes: {pushes}: {open:?}");
        // Git sends no credential before it was asked for one.
        let asked_for = closed.iter().all(|one| one.status == 401 && one.user.is_none());
        assert!(!closed.is_empty() && asked_for, "pushes: {pushes}: {closed:?}");
    }
}

fn over_http_with_the_token(kind: Kind) {
    // Tested landing also pushes to a branch of its own, and deletes it.
    let stage = kind.stage();
    let keys = format!(
        "landing = \"tested\"\nstages = [{{ name = \"{CI}\", kind = \"{stage}\", before_landing \
         = true }}]"
    );
    let mut here = over_http(kind, As::Token, Some(&keys));
    watched(&mut here, &[("git", real("git"))]);
    lands(&here);
    came_by_http(&here.fake.git_requests());
    let secrets = here.fake.credentials();
    assert_eq!(secrets.len(), 1);
    nowhere(&here, &[secrets, vec![HOOK.to_owned()]].concat());
    here.done(&format!("e2e_http_token_{}", kind.name()));
}

#[test]
fn over_http_with_the_tokens_of_an_app() {
    let mut here = over_http(Kind::GitHub, As::App, None);
    watched(&mut here, &[("git", real("git"))]);
    lands(&here);
    came_by_http(&here.fake.git_requests());
    let minted = here.fake.credentials();
    assert!(minted.len() >= 2, "one for the API, one for git: {}", minted.len());
    let key = app_key::pem().lines().nth(3).unwrap().to_owned();
    nowhere(&here, &[minted, vec![key]].concat());
    here.done("e2e_http_app");
}

#[test]
fn over_ssh_with_a_key_of_an_agent() {
    let Some(server) = sshd::for_test("over_ssh") else { return };
    let remote = Remote::At(server.url("@ORIGIN@"));
    let mut here = OnForge::new(Plot { remote, ..Plot::default() });
    watched(&mut here, &[("git", real("git")), ("ssh", server.client().join("ssh"))]);
    let agent = server.agent().to_string_lossy().into_owned();
    here.world.env.push(("SSH_AUTH_SOCK".to_owned(), agent));
    lands(&here);
    assert_eq!(here.fake.git_requests(), []);
    let arguments = fs::read_to_string(here.world.path("arguments")).unwrap();
    for words in ["git-upload-pack", "git-receive-pack"] {
        let by_ssh = arguments.lines().any(|line| line.starts_with("ssh ") && line.contains(words));
        assert!(by_ssh, "{words}: {arguments}");
    }
    nowhere(&here, &[here.fake.credentials(), vec![key_of(&server)]].concat());
    here.done("e2e_ssh");
}

/// A line of the private key.
fn key_of(server: &Sshd) -> String {
    let key = server.private_key();
    key.lines().nth(2).unwrap().to_owned()
}

#[test]
fn over_ssh_without_the_key() {
    let Some(server) = sshd::for_test("over_ssh_without") else { return };
    let remote = Remote::At(server.url("@ORIGIN@"));
    let mut here = OnForge::new(Plot { remote, ..Plot::default() });
    watched(&mut here, &[("git", real("git")), ("ssh", server.client().join("ssh"))]);
    let report = here.world.json(&["doctor", "--quick"]);
    let all = report["findings"].as_array().unwrap();
    let found = all.iter().find(|one| one["about"] == "remote" && one["group"] == repo().as_str());
    let found = found.unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(found["state"], "failure", "{found:#}");
    assert!(found["says"].as_str().unwrap().contains("Permission denied"), "{found:#}");
    assert!(found["remedy"].as_str().unwrap().contains("ssh-agent"), "{found:#}");
}
