//! The gateway as `afk` serves it: alone, with the predecessor's token, tokens of its own, and agent
//! definitions for a person's home. What it does for callers is tested in its own crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

struct Served {
    process: Child,
    address: String,
}

fn afk(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afk"));
    command.env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap());
    command.current_dir(home).stdin(Stdio::null());
    command
}

/// A home with a configuration; any program does as a CLI that is never started.
fn home(more: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let config = format!(
        "data_dir = \"{}\"\n[gateway]\nlisten = \"127.0.0.1:0\"\nprogram = \"{}\"\n{more}\n\
         [gateway.warm]\nleast = 0\nper_model = 0\n",
        home.path().join("data").display(),
        program.display()
    );
    std::fs::write(home.path().join("afk.toml"), config).unwrap();
    home
}

impl Served {
    fn start(home: &Path) -> Self {
        Self::with(home, &[("API_BEARER_TOKEN", "of-the-predecessor")])
    }

    fn with(home: &Path, env: &[(&str, &str)]) -> Self {
        let mut command = afk(home);
        command.args(["serve", "--only", "gateway", "--log-format", "json"]);
        command.envs(env.iter().copied()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut lines = output.lines();
        let address = loop {
            let line = lines.next().expect("it says where it listens").unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            if let Some(url) = line["url"].as_str() {
                break url.strip_prefix("http://").unwrap().to_owned();
            }
        };
        // Its log goes on, and nobody must be stopped by a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }

    fn get(&self, path: &str, token: &str) -> String {
        self.ask("GET", path, token, "")
    }

    fn ask(&self, method: &str, path: &str, token: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_gateway_is_served_alone_and_stops_cleanly() {
    let home = home("");
    let mut served = Served::start(home.path());
    assert!(served.get("/healthz", "").starts_with("HTTP/1.1 200"));
    assert!(served.get("/v1/models", "wrong").starts_with("HTTP/1.1 401"));
    assert!(served.get("/v1/models", "of-the-predecessor").contains("\"id\":\"sonnet\""));

    let new = |args: &[&str]| {
        let output = afk(home.path()).args(["token", "new"]).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().next().unwrap().to_owned()
    };
    let token = new(&["voice", "--scope", "conversations"]);
    assert!(served.get("/v1/models", &token).starts_with("HTTP/1.1 403"));
    let token = new(&["chat", "--scope", "chat", "--usd-per-day", "2"]);
    assert!(served.get("/v1/models", &token).starts_with("HTTP/1.1 200"));
    let list = afk(home.path()).args(["token", "list"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("chat  chat  2 USD a day") && !list.contains(&token), "{list}");
    let revoked = afk(home.path()).args(["token", "revoke", "chat"]).status().unwrap();
    assert!(revoked.success());
    assert!(served.get("/v1/models", &token).starts_with("HTTP/1.1 401"));

    let pid = rustix::process::Pid::from_child(&served.process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(served.process.wait().unwrap().success());
}

/// A CLI that tells what it was given.
fn telling(home: &Path) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let program = home.join("telling");
    let script = "#!/bin/sh\ncat > /dev/null\necho \"$ANTHROPIC_API_KEY at $ANTHROPIC_BASE_URL\"\n";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
    program
}

#[test]
fn the_cli_of_the_loop_serves_and_settings_may_be_mounted_files() {
    let home = home("");
    let program = telling(home.path());
    std::fs::write(home.path().join("key"), "key-of-the-loop\n").unwrap();
    let config = format!(
        "data_dir = \"data\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n[gateway.warm]\nleast = 0\n\
         per_model = 0\n[agents.claude]\nprogram = \"{}\"\nbase_url = \"http://127.0.0.1:9\"\n\
         api_key = {{ file = \"{}\" }}\n",
        program.display(),
        home.path().join("key").display()
    );
    std::fs::write(home.path().join("afk.toml"), config).unwrap();
    let mounted = home.path().join("mounted");
    std::fs::create_dir(&mounted).unwrap();
    std::fs::write(mounted.join("API_BEARER_TOKEN"), "mounted-token\n").unwrap();
    std::fs::write(mounted.join("MAX_CONCURRENCY"), "3\n").unwrap();
    let served = Served::with(
        home.path(),
        &[
            ("AFK_CONFIG_DIR", mounted.to_str().unwrap()),
            ("ANTHROPIC_API_KEY", "key-of-the-environment"),
        ],
    );
    assert!(served.get("/health", "").contains("\"capacity\":3"));
    let body = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    let answer = served.ask("POST", "/v1/chat/completions", "mounted-token", body);
    assert!(answer.contains("\"content\":\"key-of-the-loop at http://127.0.0.1:9\""), "{answer}");
}

#[test]
fn a_key_that_cannot_be_read_stops_the_start() {
    let home = home("[agents.claude]\napi_key = { env = \"NOT_SET_ANYWHERE\" }");
    let output = afk(home.path()).args(["serve", "--only", "gateway"]).output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains("agents.claude.api_key: ") && told.contains("NOT_SET_ANYWHERE"),
        "{told}"
    );
}

#[test]
fn settings_that_cannot_work_stop_the_start() {
    let home = home("max_concurrency = 0");
    let output = afk(home.path()).args(["serve", "--only", "gateway"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("gateway.max_concurrency") && told.contains("at least one"), "{told}");
}

#[test]
fn shipped_agents_are_installed_in_a_home() {
    let home = home("");
    let output = afk(home.path()).args(["agents", "install"]).output().unwrap();
    assert!(output.status.success());
    let installed = home.path().join(".claude/agents/conversational.md");
    assert!(std::fs::read_to_string(installed).unwrap().contains("tools: \"\""));
}
