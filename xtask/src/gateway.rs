//! `cargo xtask bench gateway`: how fast answers are relayed, and what a stream costs.
//!
//! The gateway is a release build in a process of its own, over a scripted CLI that answers at
//! once; its use of the machine is read from `/proc`. The load comes from this process, and the
//! scripted CLIs are processes, too. All share the machine's cores, so their CPU time is printed
//! beside the server's. What waiting processes gain with the real CLI is measured by a test of the
//! crate, which prints its figures.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::bench::{Goal, Row, table};
use crate::run::{cargo, print, show};

/// Streams at once.
const STREAMS: usize = 32;
/// Pieces of each stream.
const DELTAS: usize = 500;
/// How often all streams are repeated.
const ROUNDS: usize = 10;
/// Silent streams at once.
const IDLE: usize = 1_000;
const TOKEN: &str = "bench";
/// Time limit of one answer, and of the start.
const BOUND: Duration = Duration::from_mins(1);

/// Measures, and prints the figures beside their goals.
pub(crate) fn gateway(root: &Path, target: &Path) -> anyhow::Result<()> {
    let cargo = cargo();
    let build = [&cargo, "build", "--release", "--locked", "--package=afk-gateway", "--bins"];
    show(root, &build, &[])?;
    let mut rows = Vec::new();
    // Each of the 32 streams finds a waiting process, as on a gateway that is sized for them.
    let warm = Server::start(root, target, STREAMS, STREAMS)?;
    let busy = warm.streams()?;
    rows.extend(busy.rows("32 streams, waiting processes", true));
    drop(warm);
    let cold = Server::start(root, target, 0, STREAMS)?;
    rows.extend(cold.streams()?.rows("32 streams, new processes", false));
    drop(cold);
    let idle = Server::start(root, target, 0, IDLE)?;
    rows.push(idle.idle()?);
    drop(idle);
    for line in table(&rows) {
        print(&line);
    }
    let measure = [
        &cargo,
        "test",
        "--release",
        "--locked",
        "--package=afk-gateway",
        "--test=real_cli",
        "--",
        "--ignored",
        "--nocapture",
        "warm_against_cold",
    ];
    show(root, &measure, &[])
}

/// A gateway in a process of its own.
struct Server {
    process: Child,
    address: SocketAddr,
    capacity: usize,
    waiting: usize,
}

/// The figures of all rounds of streams.
struct Busy {
    /// Times from a request to its first piece, milliseconds, sorted.
    first: Vec<f64>,
    /// Pieces a second, the median of the rounds.
    rate: f64,
    /// CPU time a piece, microseconds.
    cpu: Parts,
    /// The server's peak memory, MB.
    memory: f64,
}

/// CPU time by who used it.
#[derive(Clone, Copy, Default)]
struct Parts {
    server: f64,
    /// What the server started: the scripted CLIs and their supervisors, from start to end.
    agents: f64,
    /// This process.
    client: f64,
}

impl Parts {
    /// The time since `before`, from seconds to microseconds for each of `pieces`.
    fn since(self, before: Self, pieces: usize) -> Self {
        let each = |now: f64, before: f64| (now - before) * 1e6 / pieces as f64;
        Self {
            server: each(self.server, before.server),
            agents: each(self.agents, before.agents),
            client: each(self.client, before.client),
        }
    }
}

impl Busy {
    fn rows(&self, what: &str, goals: bool) -> Vec<Row> {
        let goal = |goal| goals.then_some(goal);
        let row = |name: &str, figure, unit, goal| Row {
            what: format!("{what}: {name}"),
            figure,
            unit,
            goal,
        };
        let median = self.first.get(self.first.len() / 2).copied().unwrap_or(f64::NAN);
        vec![
            row("median first chunk", median, "ms", goal(Goal::AtMost(20.0))),
            row("chunks a second", self.rate, "", goal(Goal::AtLeast(150_000.0))),
            row("server CPU a chunk", self.cpu.server, "µs", goal(Goal::AtMost(5.0))),
            row("CPU of the agents a chunk", self.cpu.agents, "µs", None),
            row("CPU of the client a chunk", self.cpu.client, "µs", None),
            row("resident at most", self.memory, "MB", goal(Goal::AtMost(40.0))),
        ]
    }
}

impl Server {
    fn start(root: &Path, target: &Path, waiting: usize, capacity: usize) -> anyhow::Result<Self> {
        let folder = root.join("target/bench-gateway");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let settings = serde_json::json!({
            "program": target.join("release/scripted-claude"),
            "max_concurrency": capacity,
            "max_queue_depth": 2 * capacity,
            "conversational_timeout_seconds": 600,
            "warm": {"least": waiting, "per_model": waiting, "total": waiting},
        });
        let mut process = Command::new(target.join("release/afk-gateway"))
            .arg("serve")
            .arg(&folder)
            .arg(settings.to_string())
            .env("API_BEARER_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the gateway")?;
        let mut line = String::new();
        let output = process.stdout.take().context("the gateway has no output")?;
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().context("the gateway told no address")?;
        Ok(Self { process, address, capacity, waiting })
    }

    fn streams(&self) -> anyhow::Result<Busy> {
        let body = format!("[[deltas:{DELTAS}]]");
        let (mut first, mut rates) = (Vec::new(), Vec::new());
        let mut pieces = 0;
        self.until_waiting()?;
        let before = self.cpu()?;
        for _ in 0..ROUNDS {
            self.until_waiting()?;
            let start = Arc::new(Barrier::new(STREAMS + 1));
            let streams: Vec<_> = (0..STREAMS)
                .map(|_| {
                    let (start, address, body) = (Arc::clone(&start), self.address, body.clone());
                    std::thread::spawn(move || stream(address, &body, &start))
                })
                .collect();
            start.wait();
            let mut told = Vec::new();
            for stream in streams {
                told.push(stream.join().map_err(|_| anyhow::anyhow!("a client failed"))??);
            }
            // From the first request to the last byte, by the streams' own clocks: this thread may
            // be woken after they have begun.
            let began = told.iter().map(|one| one.began).min().context("no streams")?;
            let ended = told.iter().map(|one| one.ended).max().context("no streams")?;
            let seconds = ended.duration_since(began).as_secs_f64();
            first.extend(told.iter().map(|one| one.first.as_secs_f64() * 1000.0));
            for Streamed { answer, .. } in told {
                let found = String::from_utf8_lossy(&answer).matches("\"content\":\"word").count();
                if found != DELTAS {
                    bail!("{found} pieces, not {DELTAS}");
                }
                pieces += found;
            }
            rates.push((STREAMS * DELTAS) as f64 / seconds);
        }
        self.until_waiting()?;
        let cpu = self.cpu()?.since(before, pieces);
        first.sort_by(f64::total_cmp);
        rates.sort_by(f64::total_cmp);
        let rate = rates.get(rates.len() / 2).copied().unwrap_or_default();
        Ok(Busy { first, rate, cpu, memory: self.memory("VmHWM")? })
    }

    fn idle(&self) -> anyhow::Result<Row> {
        let before = self.memory("VmRSS")?;
        let mut open = Vec::new();
        for n in 0..IDLE {
            let mut stream = TcpStream::connect(self.address)?;
            stream.write_all(request(&format!("[[echo:hi]][[hang]]{n}")).as_bytes())?;
            open.push(stream);
        }
        let mut piece = [0; 4096];
        for stream in &mut open {
            stream.set_read_timeout(Some(BOUND))?;
            if stream.read(&mut piece)? == 0 {
                bail!("a silent stream was closed");
            }
        }
        let figure = (self.memory("VmRSS")? - before) * 1000.0 / IDLE as f64;
        let goal = Some(Goal::AtMost(200.0));
        Ok(Row { what: "1,000 silent streams: memory each".to_owned(), figure, unit: "kB", goal })
    }

    /// Waits until the configured number of processes wait, and no stream is active.
    fn until_waiting(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + BOUND;
        loop {
            let text = get(self.address, "/metrics")?;
            let has = |line: String| text.lines().any(|known| known == line);
            if has(format!("afk_gateway_warm_processes {}", self.waiting))
                && has("afk_gateway_active 0".to_owned())
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} places, and not {} processes that wait", self.capacity, self.waiting);
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// The CPU seconds of all parts so far; of the agents only those that have ended.
    fn cpu(&self) -> anyhow::Result<Parts> {
        let mut server = 0.0;
        for task in fs::read_dir(format!("/proc/{}/task", self.process.id()))? {
            let told = fs::read_to_string(task?.path().join("schedstat")).unwrap_or_default();
            let nanos = told.split_whitespace().next().and_then(|nanos| nanos.parse::<f64>().ok());
            server += nanos.unwrap_or(0.0) / 1e9;
        }
        // Children's user and system time are fields 16 and 17, one's own 14 and 15.
        let agents = ticks(&format!("/proc/{}/stat", self.process.id()), 16)?;
        let client = ticks("/proc/self/stat", 14)?;
        Ok(Parts { server, agents, client })
    }

    /// The server's memory in MB, by a key of `/proc/<pid>/status`.
    fn memory(&self, what: &str) -> anyhow::Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = text.lines().find(|line| line.starts_with(what));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
        Ok(kib.context("no memory is told")? * 1.024 / 1000.0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The processes that the gateway started end with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The sum of the field number `first` of a process's `stat` and the next one, in seconds. A tick
/// is a hundredth of a second.
fn ticks(stat: &str, first: usize) -> anyhow::Result<f64> {
    let text = fs::read_to_string(stat)?;
    // The second field is a name, which may contain anything but ends with the last bracket.
    let rest = text.rsplit_once(") ").context("no process's state")?.1;
    let ticks =
        rest.split(' ').skip(first - 3).take(2).filter_map(|field| field.parse::<f64>().ok());
    Ok(ticks.sum::<f64>() / 100.0)
}

/// One stream, as its client got it.
struct Streamed {
    began: Instant,
    /// The time from the request to the first piece.
    first: Duration,
    ended: Instant,
    answer: Vec<u8>,
}

/// Asks for one stream and reads all of it.
fn stream(address: SocketAddr, prompt: &str, start: &Barrier) -> anyhow::Result<Streamed> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(BOUND))?;
    let request = request(prompt);
    start.wait();
    let began = Instant::now();
    stream.write_all(request.as_bytes())?;
    let mut buffer = vec![0; 1 << 20];
    let (mut filled, mut first) = (0, None);
    loop {
        let read = stream.read(&mut buffer[filled..])?;
        if read == 0 {
            bail!("a stream broke off");
        }
        filled += read;
        if first.is_none() && contains(&buffer[..filled], b"\"content\":\"word") {
            first = Some(began.elapsed());
        }
        let tail = &buffer[filled.saturating_sub(64)..filled];
        if contains(tail, b"[DONE]") {
            break;
        }
    }
    let ended = Instant::now();
    buffer.truncate(filled);
    Ok(Streamed { began, first: first.context("no piece")?, ended, answer: buffer })
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

fn request(prompt: &str) -> String {
    let body = serde_json::json!({
        "stream": true, "messages": [{"role": "user", "content": prompt}],
    });
    let body = body.to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {TOKEN}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(BOUND))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {TOKEN}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
