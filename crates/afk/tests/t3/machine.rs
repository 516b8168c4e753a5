//! The server's machine: its agents are scripts, run as real processes in the real folders that the
//! server names; it also keeps the fake's time at the real one.
//!
//! An agent that lands by itself works in the server's checkout of the repository, on the newest
//! default branch, and pushes; the run's trailer is added to each of its commits. An agent that is
//! interrupted is killed with whatever it has started.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use afk_agent::agents::event::AgentEvent;
use afk_agent::agents::scripted::command::SUBCOMMAND;
use afk_core::ids::At;
use afk_fakes::t3::{OpenTurn, T3Fake};
use afk_sim::fakes::Sim;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::common::git;

/// The words in a prompt before the issue and before the run.
const ISSUE: &str = "Issue: ";
const RUN: &str = "Run id: ";

/// The thread that does the server's turns, until this is dropped.
pub(crate) struct Machine {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    wrong: Arc<Mutex<Vec<String>>>,
}

/// The agents on it.
struct Agents {
    afk: PathBuf,
    /// The folders of the checkouts and of the scripts; both have an entry for each repository.
    checkouts: PathBuf,
    scripts: PathBuf,
    /// The folder of the agents' output.
    out: PathBuf,
    /// The repository and the run of each thread, as its first prompt has them.
    threads: BTreeMap<String, (String, String)>,
    /// The agents at work, by the turn's id.
    working: BTreeMap<String, Working>,
}

struct Working {
    child: Child,
    said: PathBuf,
    /// The checkout that it pushes from, and its run, if it lands by itself.
    checkout: Option<(PathBuf, String)>,
}

/// The name of a repository's folder.
pub(crate) fn folder_of(repo: &str) -> String {
    repo.replace('/', "__")
}

/// Clones `origin` into the server's checkout of a repository.
pub(crate) fn check_out(origin: &Path, checkout: &Path) {
    let (parent, name) = (checkout.parent().unwrap(), checkout.file_name().unwrap());
    git(parent, &["clone", "-q", origin.to_str().unwrap(), name.to_str().unwrap()]);
}

impl Machine {
    /// Starts doing the open turns of `fake`, with the scripts and checkouts in `folder`.
    pub(crate) fn start(sim: &Sim, fake: &Arc<T3Fake>, afk: &Path, folder: &Path) -> Self {
        let mut agents = Agents {
            afk: afk.to_owned(),
            checkouts: folder.join("checkouts"),
            scripts: folder.join("scripts"),
            out: folder.join("said"),
            threads: BTreeMap::new(),
            working: BTreeMap::new(),
        };
        fs::create_dir_all(&agents.out).unwrap();
        let (over, wrong) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stop, told) = (over.clone(), wrong.clone());
        let (sim, fake) = (sim.clone(), fake.clone());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                sim.with(|there| there.now = At::now());
                if let Err(error) = agents.go_on(&fake) {
                    told.lock().unwrap().push(error);
                }
                std::thread::sleep(Duration::from_millis(30));
            }
            agents.working.values_mut().for_each(Working::kill);
        });
        Self { over, thread: Some(thread), wrong }
    }

    /// What went wrong with its agents.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let mut wrong = self.wrong.lock().unwrap().clone();
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            wrong.push("the machine has ended, see its panic".to_owned());
        }
        wrong
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Agents {
    fn go_on(&mut self, fake: &T3Fake) -> Result<(), String> {
        let open = fake.open_turns();
        let is_open = |turn: &str| open.iter().any(|one| one.turn == turn);
        let gone: Vec<String> =
            self.working.keys().filter(|turn| !is_open(turn)).cloned().collect();
        for turn in gone {
            self.working.remove(&turn).iter_mut().for_each(Working::kill);
        }
        for turn in &open {
            if !self.working.contains_key(&turn.turn) {
                let working = self.begin(turn)?;
                self.working.insert(turn.turn.clone(), working);
            }
            let Some(working) = self.working.get_mut(&turn.turn) else { continue };
            let Some(status) = working.child.try_wait().map_err(|error| error.to_string())? else {
                continue;
            };
            let words = working.last_words();
            if status.success() {
                working.push();
                fake.end_turn(&turn.turn, &words.unwrap_or_default());
            } else {
                // A failure as the Claude CLI words it, which the loop must not take for success.
                fake.end_turn(&turn.turn, "API Error: 400 the script failed");
                let said = fs::read_to_string(&working.said).unwrap_or_default();
                return Err(format!("{}: {status}\n{}\n{said}", turn.folder, turn.text));
            }
            self.working.remove(&turn.turn);
        }
        Ok(())
    }

    fn begin(&mut self, turn: &OpenTurn) -> Result<Working, String> {
        let named = |words: &str| {
            let line = turn.text.lines().find_map(|line| line.strip_prefix(words));
            line.map(str::to_owned)
        };
        if let (Some(issue), Some(run)) = (named(ISSUE), named(RUN)) {
            let repo = issue.split('#').next().unwrap_or_default().to_owned();
            self.threads.entry(turn.thread.clone()).or_insert((repo, run));
        }
        let (repo, run) = self.threads.get(&turn.thread).ok_or("a prompt without an issue")?;
        let folder = PathBuf::from(&turn.folder);
        let own = folder.starts_with(&self.checkouts);
        let at_work = |one: &Working| one.checkout.as_ref().is_some_and(|(at, _)| *at == folder);
        if self.working.values().any(at_work) {
            return Err(format!("two agents work in {}", turn.folder));
        }
        if own {
            git(&folder, &["fetch", "-q", "origin"]);
            git(&folder, &["checkout", "-q", "-B", "main", "origin/main"]);
        }
        let said = self.out.join(turn.turn.replace([':', '/'], "_"));
        let script = self.scripts.join(format!("{}.json", folder_of(repo)));
        let mut command = Command::new(&self.afk);
        command
            .arg(SUBCOMMAND)
            .arg(script)
            .arg(format!("--turn={}", turn.nth))
            .arg(format!("--session={}", turn.thread))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.out)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null");
        let (Ok(out), Ok(err)) = (File::create(&said), File::create(said.with_extension("err")))
        else {
            return Err(format!("cannot write {}", said.display()));
        };
        command.current_dir(&folder).stdin(Stdio::piped()).stdout(out).stderr(err);
        let mut child = command.process_group(0).spawn().map_err(|error| error.to_string())?;
        let mut input = child.stdin.take().ok_or("no standard input")?;
        input.write_all(turn.text.as_bytes()).map_err(|error| error.to_string())?;
        let checkout = own.then(|| (folder, run.clone()));
        Ok(Working { child, said, checkout })
    }
}

impl Working {
    /// The agent's last message.
    fn last_words(&self) -> Option<String> {
        let said = fs::read_to_string(&self.said).ok()?;
        said.lines().rev().find_map(|line| match serde_json::from_str(line).ok()? {
            AgentEvent::Ended(end) => end.text,
            _ => None,
        })
    }

    /// Pushes the agent's commits, if it lands by itself.
    fn push(&self) {
        let Some((checkout, run)) = &self.checkout else { return };
        // The script knows nothing of runs, so the trailer is added to each commit here.
        let mut head = git(checkout, &["rev-parse", "origin/main"]).trim().to_owned();
        let commits = git(checkout, &["rev-list", "--reverse", "origin/main..HEAD"]);
        for commit in commits.lines() {
            let message = git(checkout, &["log", "-1", "--format=%B", commit]);
            let message = format!("{}\n\nAFK-Run: {run}", message.trim_end());
            let tree = format!("{commit}^{{tree}}");
            let who = ["-c", "user.name=agent", "-c", "user.email=agent@cockpit.test"];
            let make = ["commit-tree", &tree, "-p", &head, "-m", &message];
            git(checkout, &[&who[..], &make[..]].concat()).trim().clone_into(&mut head);
        }
        if !commits.is_empty() {
            git(checkout, &["push", "-q", "origin", &format!("{head}:refs/heads/main")]);
        }
    }

    fn kill(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // Fails if its processes have ended by themselves.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
