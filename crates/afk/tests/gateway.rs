//! The gateway as `afk` serves it: alone and beside the loop, with the token in `API_BEARER_TOKEN`
//! and with tokens of its own; what it logs; and agent definitions for a person's home. What it
//! does for callers is tested in its own crate.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use afk_stand_ins::tools::{found_or_skipped, skip};
use serde_json::Value;

struct Served {
    process: Child,
    address: String,
    /// Its log after the address, once it has ended.
    log: JoinHandle<Vec<String>>,
}

fn afk(home: &Path) -> Command {
    program(home, env!("CARGO_BIN_EXE_afk"))
}

fn program(home: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap());
    command.current_dir(home).stdin(Stdio::null());
    command
}

/// A home with a configuration. Any program will do as the CLI, which is never started.
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
        Self::run(home, &["--only", "gateway"], env)
    }

    fn run(home: &Path, args: &[&str], env: &[(&str, &str)]) -> Self {
        Self::by(afk(home), args, env)
    }

    /// Starts it by a command that may be another one, to which its own arguments are added.
    fn by(mut command: Command, args: &[&str], env: &[(&str, &str)]) -> Self {
        command.args(["serve", "--log-format", "json"]).args(args);
        command.envs(env.iter().copied()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut lines = output.lines();
        let address = loop {
            let line = lines.next().expect("it says where it listens").unwrap();
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["message"] == "serving the gateway" {
                let url = line["url"].as_str().unwrap();
                break url.strip_prefix("http://").unwrap().to_owned();
            }
        };
        // The log must be read on: a full pipe would stop the process.
        let log = std::thread::spawn(move || lines.map_while(Result::ok).collect());
        Self { process, address, log }
    }

    /// Stops it, which must succeed.
    fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
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

    served.stop();
}

#[test]
fn the_gateway_is_mounted_beside_the_loop_or_listens_apart() {
    let token = [("API_BEARER_TOKEN", "of-the-predecessor")];
    for apart in [false, true] {
        let home = tempfile::tempdir().unwrap();
        let program = telling(home.path());
        let listen = if apart { "listen = \"127.0.0.1:0\"" } else { "" };
        let config = format!(
            "data_dir = \"{}\"\nsandbox = \"preferred\"\n[http]\nlisten = \"127.0.0.1:0\"\n[gateway]\n\
             enabled = true\nprogram = \"{}\"\n{listen}\n[gateway.warm]\nleast = 0\nper_model = 0\n",
            home.path().join("data").display(),
            program.display()
        );
        std::fs::write(home.path().join("afk.toml"), config).unwrap();
        let mut served = Served::run(home.path(), &[], &token);
        for (path, token, says) in [
            ("/healthz", "", "HTTP/1.1 200"),
            ("/health", "", "\"capacity\":10"),
            ("/readyz", "", "HTTP/1.1 200"),
            ("/v1/models", "of-the-predecessor", "\"id\":\"sonnet\""),
            ("/v1/models", "wrong", "\"code\":\"invalid_api_key\""),
            ("/openapi.json", "of-the-predecessor", "\"openapi\":\"3.1.0\""),
            ("/v1/nothing", "of-the-predecessor", "\"code\":\"unknown_url\""),
        ] {
            let answer = served.get(path, token);
            assert!(answer.contains(says), "{apart} {path}: {answer}");
        }
        let body = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
        let answer = served.ask("POST", "/v1/chat/completions", "of-the-predecessor", body);
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("x-request-id: req_"),
            "{answer}"
        );
        served.stop();
    }
}

/// Neither what callers send nor what agents say is logged, not even at `debug`; the id of each
/// answer is.
#[test]
fn a_request_is_logged_by_its_id_and_nothing_that_its_caller_wrote() {
    let home = home("");
    let program = home.path().join("telling");
    executable(
        &program,
        "#!/bin/sh\ncat > /dev/null\necho canary-answer\necho canary-complaint >&2\n\
         exit 0\n",
    );
    let config = std::fs::read_to_string(home.path().join("afk.toml")).unwrap();
    let config = config.replace("program = ", &format!("program = {program:?}\n# "));
    std::fs::write(home.path().join("afk.toml"), config).unwrap();
    let mut served = Served::with(
        home.path(),
        &[
            ("API_BEARER_TOKEN", "canary-token"),
            ("RUST_LOG", "debug"),
            ("ANTHROPIC_API_KEY", "canary-key"),
        ],
    );
    let chat = |content: &str, more: &str| {
        format!("{{\"messages\":[{{\"role\":\"user\",\"content\":\"{content}\"}}]{more}}}")
    };
    let mut ids = Vec::new();
    for (token, route, body, status) in [
        ("canary-token", "/v1/chat/completions", chat("canary-prompt", ""), 200),
        ("canary-token", "/v1/chat/completions", chat("canary-prompt", ",\"stream\":true"), 503),
        ("canary-token", "/v1/chat/completions", chat("x", ",\"model\":\"canary-model\""), 400),
        ("canary-token", "/v1/chat/completions", "{\"canary-field\": canary".to_owned(), 422),
        ("canary-wrong", "/v1/chat/completions", chat("canary-prompt", ""), 401),
        (
            "canary-token",
            "/v1/conversational",
            "{\"session_id\":\"canary-session\",\"message\":\"canary-message\"}".to_owned(),
            503,
        ),
        (
            "canary-token",
            "/execute",
            "{\"prompt\":\"canary-prompt\",\"agent\":\"canary-agent\",\"metadata\":\"canary\"}"
                .to_owned(),
            202,
        ),
    ] {
        let answer = served.ask("POST", route, token, &body);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{route} {body}: {answer}");
        let (_, id) = answer.split_once("x-request-id: ").unwrap();
        let name = if token == "canary-token" { "environment" } else { "none" };
        ids.push((id.lines().next().unwrap().to_owned(), route, status, name));
    }
    let until = Instant::now() + Duration::from_secs(30);
    while !served.get("/jobs", "canary-token").contains("\"status\":\"completed\"") {
        assert!(Instant::now() < until);
    }
    served.get("/jobs/canary-id?canary-query=1", "canary-token");
    served.stop();
    let log = std::mem::replace(&mut served.log, std::thread::spawn(Vec::new)).join().unwrap();
    for line in &log {
        assert!(!line.contains("canary"), "{line}");
    }
    let log: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (id, route, status, token) in ids {
        let told: Vec<_> = log.iter().filter(|line| line["request.id"] == id).collect();
        let [told] = told[..] else { panic!("{route}: {told:?}") };
        assert_eq!(
            (&told["message"], &told["level"], &told["method"]),
            (&"request".into(), &"INFO".into(), &"POST".into())
        );
        assert_eq!(
            (&told["route"], &told["status"], &told["token"]),
            (&route.into(), &status.into(), &token.into())
        );
    }
    assert!(log.iter().any(|line| line["route"] == "/jobs/{id}"));
}

/// Each connection takes a file of the server, and an agent takes several.
#[test]
fn clients_that_only_connect_leave_files_for_agents() {
    let home = home("");
    let config = std::fs::read_to_string(home.path().join("afk.toml")).unwrap();
    let config = config.replace("program = ", &format!("program = {:?}\n# ", telling(home.path())));
    std::fs::write(home.path().join("afk.toml"), config).unwrap();
    let mut command = program(home.path(), "prlimit");
    command.args(["--nofile=256:256", env!("CARGO_BIN_EXE_afk")]);
    let token = [("API_BEARER_TOKEN", "token")];
    let mut served = Served::by(command, &["--only", "gateway"], &token);
    let mut before = TcpStream::connect(&served.address).unwrap();
    before.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let (mut piece, mut seen) = ([0; 4096], 0);
    assert!(before.read(&mut piece).unwrap() > 0 && piece.starts_with(b"HTTP/1.1 200"));
    // As many as the server or the kernel takes: a connection that neither takes waits.
    let address = served.address.parse().unwrap();
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
    let idle: Vec<_> = (0..400).map_while(connect).collect();
    assert!(idle.len() > 64, "{}", idle.len());
    // Until it has accepted as many of them as it will.
    let (mut same, until) = (0, Instant::now() + Duration::from_secs(30));
    while same < 20 {
        let accepted = accepted(&served.address);
        same = if accepted == seen { same + 1 } else { 0 };
        seen = accepted;
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(10));
    }
    let body = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}";
    write!(
        before,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer token\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    before.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("HTTP/1.1 200") && answer.contains("\"content\":"), "{answer}");
    drop(idle);
    served.stop();
}

/// How many connections at this address a process has accepted. The kernel shows the others, which
/// wait, without an inode.
fn accepted(address: &str) -> usize {
    let (_, port) = address.rsplit_once(':').unwrap();
    let port = format!(":{:04X}", port.parse::<u16>().unwrap());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let is_accepted = |line: &&str| {
        let cells: Vec<&str> = line.split_whitespace().collect();
        cells[1].ends_with(&port) && cells[3] == "01" && cells[9] != "0"
    };
    table.lines().skip(1).filter(is_accepted).count()
}

/// A job runs as the server's user, and looks where every process shows its environment.
#[test]
fn a_job_does_not_read_the_token_in_the_environment_of_the_server() {
    // Not as root, who may read everything.
    let user = ["--user", "--map-user=1000"];
    let tried = match Command::new("unshare").args(user).arg("true").output() {
        Ok(output) if output.status.success() => Ok("unshare".into()),
        Ok(output) => Err(skip(String::from_utf8_lossy(&output.stderr))),
        Err(error) => Err(skip(error.to_string())),
    };
    let test = "a_job_does_not_read_the_token_in_the_environment_of_the_server";
    if found_or_skipped(test, "user namespace", "CI", tried).is_none() {
        return;
    }
    let home = home("");
    let spy = home.path().join("spy");
    executable(
        &spy,
        "#!/bin/sh\ncat > /dev/null\ncat /proc/[0-9]*/environ 2> /dev/null | tr '\\000' '\\n' | \
         grep '^[A-Z_]*TOKEN='\n",
    );
    let config = std::fs::read_to_string(home.path().join("afk.toml")).unwrap();
    let config = config.replace("program = ", &format!("program = {spy:?}\n# "));
    std::fs::write(home.path().join("afk.toml"), config).unwrap();
    let mut command = program(home.path(), "unshare");
    command.args(user).arg(env!("CARGO_BIN_EXE_afk"));
    let env = [
        ("API_BEARER_TOKEN", "canary-of-the-server"),
        ("CLAUDE_CODE_OAUTH_TOKEN", "canary-of-the-model"),
    ];
    let mut served = Served::by(command, &["--only", "gateway"], &env);
    let order = "{\"prompt\":\"spy\",\"agent\":\"spy\"}";
    let answer = served.ask("POST", "/execute", "canary-of-the-server", order);
    let (_, id) = answer.split_once("\"job_id\":\"").expect(&answer);
    let path = format!("/jobs/{}", id.split_once('"').unwrap().0);
    let until = Instant::now() + Duration::from_secs(30);
    let job = loop {
        let job = served.get(&path, "canary-of-the-server");
        if job.contains("\"finished_at\":\"") {
            break job;
        }
        assert!(Instant::now() < until, "{job}");
        std::thread::sleep(Duration::from_millis(10));
    };
    // It does look, since it finds the credential that it was given.
    assert!(job.contains("CLAUDE_CODE_OAUTH_TOKEN=canary-of-the-model"), "{job}");
    assert!(!job.contains("canary-of-the-server"), "{job}");
    served.stop();
}

/// A CLI that prints what it was given.
fn telling(home: &Path) -> std::path::PathBuf {
    let program = home.join("telling");
    let script = "#!/bin/sh\ncat > /dev/null\necho \"$ANTHROPIC_API_KEY at $ANTHROPIC_BASE_URL\"\n";
    executable(&program, script);
    program
}

fn executable(path: &Path, script: &str) {
    std::fs::write(path, script).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
}

#[test]
fn the_cli_of_the_loop_serves_and_settings_may_be_mounted_files() {
    let home = home("");
    let program = telling(home.path());
    std::fs::write(home.path().join("key"), "key-of-the-loop\n").unwrap();
    let config = format!(
        "data_dir = \"{}\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n[gateway.warm]\nleast = 0\n\
         per_model = 0\n[agents.claude]\nprogram = \"{}\"\nbase_url = \"http://127.0.0.1:9\"\n\
         api_key = {{ file = \"{}\" }}\n",
        home.path().join("data").display(),
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
