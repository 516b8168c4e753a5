//! Runs a real server as a process, with a client that reads its streams.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use afk_agent::sandbox::processes::{self, Process, ProcessId};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

/// How long a test waits for anything before it fails.
pub(crate) const BOUND: Duration = Duration::from_mins(1);
/// How long a server takes to stop at most, on a slow machine, too. Nearly all of its five seconds
/// are spent by design; whatever it waits for wrongly lasts longer than this.
pub(crate) const SOON: Duration = Duration::from_secs(30);
pub(crate) const TOKEN: &str = "the-token-of-a-test";

/// A folder in which servers run, one after the other.
pub(crate) struct Place {
    folder: tempfile::TempDir,
    agent: PathBuf,
    launcher: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("home")).expect("made");
        let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/claude.sh");
        Self { folder, agent, launcher: Vec::new(), args: Vec::new(), env: Vec::new() }
    }

    /// Uses this agent instead of the script.
    #[must_use]
    pub(crate) fn with_agent(mut self, agent: &Path) -> Self {
        agent.clone_into(&mut self.agent);
        self
    }

    /// Adds arguments of the server to those that are always there.
    #[must_use]
    pub(crate) fn with(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Starts the server through a command that becomes the one appended to it.
    #[must_use]
    pub(crate) fn through(mut self, launcher: &[&str]) -> Self {
        self.launcher = launcher.iter().map(|&word| word.to_owned()).collect();
        self
    }

    #[must_use]
    pub(crate) fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Returns the server's runtime folder: on memory-backed storage, if the machine has any.
    pub(crate) fn runtime(&self) -> PathBuf {
        let name = self.folder.path().file_name().expect("a name");
        let memory = Path::new("/dev/shm");
        if memory.is_dir() { memory.join(name) } else { self.folder.path().join("runtime") }
    }

    pub(crate) fn sessions(&self) -> PathBuf {
        self.folder.path().join("sessions")
    }

    pub(crate) fn audit(&self) -> PathBuf {
        self.folder.path().join("sessions-audit.jsonl")
    }

    /// Returns the command lines of the agents that were started, one a line.
    pub(crate) fn calls(&self) -> String {
        std::fs::read_to_string(self.home().join("calls")).unwrap_or_default()
    }

    /// Lets agents that wait go on.
    pub(crate) fn go(&self) {
        std::fs::write(self.home().join("go"), "").expect("written");
    }

    /// Returns how many processes this place's servers have started, supervisors included.
    pub(crate) fn alive(&self) -> usize {
        self.marked().len()
    }

    /// Returns the supervisors among those processes.
    pub(crate) fn supervisors(&self) -> Vec<ProcessId> {
        let is_ours = |process: &Process| {
            let line = std::fs::read(format!("/proc/{}/cmdline", process.id.pid));
            let subcommand = afk_agent::tether::SUBCOMMAND.as_bytes();
            line.is_ok_and(|line| line.split(|byte| *byte == 0).nth(1) == Some(subcommand))
        };
        self.marked().iter().filter(|process| is_ours(process)).map(|process| process.id).collect()
    }

    /// Returns those processes that run a program of this name.
    pub(crate) fn running(&self, program: &str) -> Vec<ProcessId> {
        let is_it = |process: &&Process| {
            let name = std::fs::read_to_string(format!("/proc/{}/comm", process.id.pid));
            name.is_ok_and(|name| name.trim_end() == program)
        };
        self.marked().iter().filter(is_it).map(|process| process.id).collect()
    }

    fn marked(&self) -> Vec<Process> {
        let mark = format!("{}=breakglass:{}", afk_agent::tether::MARK, self.audit().display());
        processes::marked(&mark)
    }

    pub(crate) fn serve(&self) -> Server {
        self.serve_at("127.0.0.1:0")
    }

    pub(crate) fn serve_at(&self, listen: &str) -> Server {
        let binary = env!("CARGO_BIN_EXE_breakglass").to_owned();
        let mut words = self.launcher.iter().chain([&binary]);
        let mut command = Command::new(words.next().expect("a program"));
        command
            .args(words)
            .args(["serve", "--listen", listen, "--runtime-dir"])
            .arg(self.runtime())
            .arg("--claude")
            .arg(&self.agent)
            .args(&self.args)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("HOME", self.home())
            .env("API_BEARER_TOKEN", TOKEN)
            .env("BREAKGLASS_SESSIONS_DIR", self.sessions())
            .envs(self.env.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("started");
        let stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let log: Arc<Mutex<String>> = Arc::default();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in stderr.lines().map_while(Result::ok) {
                    if let Some((_, rest)) = line.split_once("listens address=") {
                        let _ = tell.send(rest.split(' ').next().unwrap_or_default().to_owned());
                    }
                    let _ = writeln!(log.lock().expect("not poisoned"), "{line}");
                }
            }
        });
        let Ok(address) = told.recv_timeout(BOUND) else {
            panic!("it does not listen:\n{}", log.lock().expect("not poisoned"))
        };
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Server { child, address, client, log }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Remove what killed servers left there.
        let _ = std::fs::remove_dir_all(self.runtime());
    }
}

/// A server; killed when it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    client: reqwest::Client,
    log: Arc<Mutex<String>>,
}

impl Server {
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("not poisoned").clone()
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id")
    }

    /// Returns a size of the server's process in bytes, by its field in `/proc/PID/status`.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("it lives");
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kibibytes.expect("a size").parse::<u64>().expect("a number") * 1024
    }

    /// Attaches a client that reads nothing.
    pub(crate) async fn stalled(&self, session: &str) -> TcpStream {
        let mut stalled = TcpStream::connect(&self.address).await.expect("connected");
        let request = format!(
            "GET /api/session/{session}/stream HTTP/1.1\r\nhost: x\r\n\
             authorization: Bearer {TOKEN}\r\n\r\n"
        );
        stalled.write_all(request.as_bytes()).await.expect("sent");
        stalled
    }

    /// Returns a request without any sign-in.
    pub(crate) fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.bare(Method::GET, path).bearer_auth(TOKEN)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.bare(Method::POST, path).bearer_auth(TOKEN)
    }

    pub(crate) async fn session(&self) -> String {
        let (status, body) = answer(self.post("/api/session")).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body["session_id"].as_str().expect("an id").to_owned()
    }

    pub(crate) async fn prompt(&self, session: &str, prompt: &str) -> (StatusCode, Value) {
        let body = json!({"prompt": prompt}).to_string();
        answer(self.post(&format!("/api/session/{session}/prompt")).body(body)).await
    }

    pub(crate) async fn started(&self, session: &str, prompt: &str) {
        let answered = self.prompt(session, prompt).await;
        assert_eq!(answered, (StatusCode::OK, json!({"status": "started"})));
    }

    pub(crate) async fn attach(&self, session: &str) -> Stream {
        Stream::of(self.get(&format!("/api/session/{session}/stream"))).await
    }

    /// Returns all events up to the first end of a turn, which it waits for.
    pub(crate) async fn transcript(&self, session: &str) -> Vec<Value> {
        self.attach(session).await.until_turn_end().await
    }

    pub(crate) async fn verb(&self, verb: &str) -> (StatusCode, Value) {
        answer(self.post(&format!("/api/pve/{verb}"))).await
    }

    /// Kills the server as a crash would, and returns the address it had.
    pub(crate) fn kill(mut self) -> String {
        self.child.kill().expect("killed");
        self.child.wait().expect("waited for");
        self.address.clone()
    }

    /// Tells the server to stop, waits until it has, and returns how long that took.
    pub(crate) fn stop(mut self) -> Duration {
        let process = ProcessId::of(self.pid()).expect("it lives");
        let asked = Instant::now();
        process.signal(rustix::process::Signal::TERM);
        while self.child.try_wait().expect("asked").is_none() {
            assert!(asked.elapsed() < BOUND, "it does not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
        asked.elapsed()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request, and returns the status and the body of the answer.
pub(crate) async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.timeout(BOUND).send().await.expect("answered");
    let status = response.status();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// One frame of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Frame {
    pub(crate) id: Option<u64>,
    pub(crate) event: Option<String>,
    pub(crate) data: String,
    pub(crate) comments: usize,
}

impl Frame {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).expect("an object")
    }
}

/// An attached client.
pub(crate) struct Stream {
    pub(crate) response: Response,
    buffer: Vec<u8>,
    /// How many bytes at its start are known to hold no end of a frame.
    searched: usize,
}

impl Stream {
    pub(crate) async fn of(request: RequestBuilder) -> Self {
        let response = request.send().await.expect("answered");
        assert_eq!(response.status(), StatusCode::OK);
        Self { response, buffer: Vec::new(), searched: 0 }
    }

    /// Returns the next frame with data or a comment; `None` if the stream is over or broken.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            // Large events come in many pieces, so bytes that were searched are not searched again.
            let found = self.buffer[self.searched..].windows(2).position(|two| two == b"\n\n");
            if let Some(end) = found.map(|end| self.searched + end) {
                let text: Vec<u8> = self.buffer.drain(..end + 2).collect();
                self.searched = 0;
                let frame = frame(&String::from_utf8(text).expect("text"));
                if frame != Frame::default() {
                    return Some(frame);
                }
                continue;
            }
            self.searched = self.buffer.len().saturating_sub(1);
            let more = tokio::time::timeout(BOUND, self.response.chunk()).await;
            match more.expect("something within a minute") {
                Ok(Some(bytes)) => self.buffer.extend_from_slice(&bytes),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Returns events up to and including the first one for which `last` holds.
    pub(crate) async fn until(&mut self, last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut events = Vec::new();
        let mut deadline = tokio::time::Instant::now() + BOUND;
        loop {
            // Pings come for ever and do not count, so they must not extend the deadline.
            let next = tokio::time::timeout_at(deadline, self.next()).await;
            let frame = next.expect("an event within a minute").expect("the stream goes on");
            if frame.id.is_some() {
                deadline = tokio::time::Instant::now() + BOUND;
                events.push(frame.json());
                if events.last().is_some_and(&last) {
                    return events;
                }
            }
        }
    }

    pub(crate) async fn until_turn_end(&mut self) -> Vec<Value> {
        self.until(|event| event["kind"] == "turn_end").await
    }

    pub(crate) async fn until_text(&mut self, text: &str) -> Vec<Value> {
        self.until(|event| event["text"] == text).await
    }
}

fn frame(text: &str) -> Frame {
    let mut frame = Frame::default();
    for line in text.lines() {
        match line.split_once(':') {
            Some(("id", id)) => frame.id = Some(id.trim().parse().expect("a number")),
            Some(("event", event)) => frame.event = Some(event.trim().to_owned()),
            Some(("data", data)) => frame.data.push_str(data.trim_start()),
            Some(("", _)) => frame.comments += 1,
            Some(("retry", _)) | None => {}
            Some((field, _)) => panic!("no client knows the field {field:?} of {text:?}"),
        }
    }
    frame
}

/// Returns the kinds of these events, in their order.
pub(crate) fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["kind"].as_str().expect("a kind")).collect()
}

/// Waits until `is_so` is true; `what` is for the message if it never is.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + BOUND;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Checks an audit log with the program itself.
pub(crate) fn verified(path: &Path) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_breakglass"))
        .args(["audit", "verify", "--audit-file"])
        .arg(path)
        .output()
        .expect("run");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
