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
        let mut command = afk(home);
        command.args(["serve", "--only", "gateway", "--log-format", "json"]);
        command.env("API_BEARER_TOKEN", "of-the-predecessor").stdout(Stdio::piped());
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
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
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
