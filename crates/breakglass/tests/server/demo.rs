//! `breakglass demo`: what a newcomer sees, from the printed address to a repaired machine. Also
//! checks the shipped scripts with `shellcheck`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use afk_breakglass::demo::machines::sshd;
use afk_stand_ins::tools::{found_or_skipped, skip};
use rustix::process::Signal;
use serde_json::json;

use crate::support::{BOUND, Stream, answer, kinds};

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_shows_a_wedged_machine_and_its_recovery() {
    let found = sshd().ok_or_else(|| skip("install openssh-server"));
    if found_or_skipped("the demo", "sshd", "CI", found).is_none() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_breakglass"))
        .arg("demo")
        // The settings of a real server must not reach the demo.
        .env("BREAKGLASS_PVE_HOST", "192.0.2.1")
        .env("BREAKGLASS_KEY_PATH", "/no/such/key")
        .env("HOME", home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = loop {
        let line = lines.next().expect("it prints an address").unwrap();
        if let Some(url) = line.trim().strip_prefix("http://") {
            break url.to_owned();
        }
    };
    let (address, token) = url.split_once("/#token=").expect("the token is in the fragment");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let post = |path: &str| client.post(format!("http://{address}{path}")).bearer_auth(token);
    let (_, body) = answer(post("/api/session")).await;
    let session = body["session_id"].as_str().unwrap();
    let prompt = json!({"prompt": "what is wrong?"}).to_string();
    answer(post(&format!("/api/session/{session}/prompt")).body(prompt)).await;
    let stream = client.get(format!("http://{address}/api/session/{session}/stream"));
    let events = Stream::of(stream.bearer_auth(token)).await.until_turn_end().await;
    assert_eq!(kinds(&events)[..4], ["user", "session", "text", "tool"]);
    let result = &events[events.len() - 2];
    assert_eq!(result["is_error"], false, "{result}");
    assert!(result["result"].as_str().unwrap().contains("it is wedged"), "{result}");
    let commands: Vec<&str> =
        events.iter().filter_map(|event| event["input"]["command"].as_str()).collect();
    assert_eq!(commands.len(), 5, "{commands:?}");
    let (status, body) = answer(post("/api/pve/cycle")).await;
    assert_eq!(status, 200, "{body}");
    let (_, body) = answer(post("/api/pve/status")).await;
    assert!(body["stdout"].as_str().unwrap().contains("QEMU answers: running"), "{body}");

    let pid = i32::try_from(child.id()).unwrap();
    afk_agent::sandbox::processes::ProcessId::of(pid).unwrap().signal(Signal::INT);
    let deadline = std::time::Instant::now() + BOUND;
    while child.try_wait().unwrap().is_none() {
        assert!(std::time::Instant::now() < deadline, "it does not stop");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let last = rest.last().unwrap();
    assert!(
        last.starts_with("stopped; the audit log had ") && last.ends_with("was whole"),
        "{last}"
    );
}

#[test]
fn the_scripts_are_sound_posix_shell() {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join("shellcheck"))
        .find(|path| path.is_file())
        .ok_or_else(|| skip("it is not on the path"));
    if found_or_skipped("the scripts", "shellcheck", "CI", found).is_none() {
        return;
    }
    let check = |script: &Path| {
        let output = Command::new("shellcheck").args(["-s", "sh"]).arg(script).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for script in [
        "host/power-verbs.sh",
        "host/stand-in/qm",
        "host/stand-in/socat",
        "host/stand-in/machine",
        "tests/server/claude.sh",
    ] {
        let (sound, said) = check(&here.join(script));
        assert!(sound, "{said}");
    }
    // A script with a mistake shows that the check can fail: the shell would split this argument.
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.sh");
    std::fs::write(&bad, "#!/bin/sh\nqm $SSH_ORIGINAL_COMMAND\n").unwrap();
    assert!(!check(&bad).0);
}

#[test]
fn nothing_of_the_control_plane_is_in_the_program() {
    let ours = |package: &str| {
        let tree = ["tree", "--locked", "--edges", "normal", "--prefix", "none", "--package"];
        let output = Command::new(env!("CARGO"))
            .args(tree)
            .arg(package)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let names = text.lines().filter_map(|line| line.split(' ').next());
        let mut names: Vec<String> =
            names.filter(|name| name.starts_with("afk")).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(ours("afk-breakglass"), ["afk-agent", "afk-breakglass", "afk-http"]);
    assert!(ours("afk-api").contains(&"afk-engine".to_owned()), "it would be found");
}

#[test]
fn the_help_teaches() {
    let help = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_breakglass")).args(args).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let top = help(&["--help"]);
    for part in ["breakglass demo", "ssh-keygen", "power-verbs 102\",restrict", "API_BEARER_TOKEN"]
    {
        assert!(top.contains(part), "{part} is not in {top}");
    }
    assert_eq!(help(&["script"]), afk_breakglass::demo::machines::POWER_VERBS);
    let serve = help(&["serve", "--help"]);
    // The settings of the program that came before keep working.
    for name in [
        "DEVVM_HOST",
        "DEVVM_USER",
        "PVE_HOST",
        "PVE_USER",
        "AGENT",
        "MODEL",
        "SESSIONS_DIR",
        "MAX_CONCURRENT_TURNS",
        "TURN_TIMEOUT_SECONDS",
        "PVE_VERB_TIMEOUT_SECONDS",
        "SSE_KEEPALIVE_SECONDS",
        "KEY_PATH",
    ] {
        assert!(serve.contains(&format!("BREAKGLASS_{name}=")), "{name} is not in {serve}");
    }
}
