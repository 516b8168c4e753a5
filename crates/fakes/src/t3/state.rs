//! What a server has: projects, threads, and what it remembers of commands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use afk_core::ids::At;
use jiff::SignedDuration;
use serde_json::Value;

use super::bad::BadExecutor;
use super::play::Run;
use super::truth::{AgentWork, AgentWorkEnd};
use super::two::RunRecord;

/// Whose behaviour the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Release 0.0.27, protocol 1.
    V27,
    /// Release 0.0.33, protocol 1.
    V33,
    /// The main branch of August 2026, protocol 1.
    August,
    /// Protocol 2, with its gate.
    Two,
}

impl Flavour {
    /// The version that it calls itself.
    pub fn version(self) -> &'static str {
        match self {
            Self::V27 => "0.0.27",
            // Other servers call themselves so, too.
            Self::V33 | Self::August | Self::Two => "0.0.33",
        }
    }

    pub(super) fn is_two(self) -> bool {
        self == Self::Two
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks before anything is done.
    BreaksBefore,
    /// The connection breaks when it is done: only the answer is lost.
    BreaksAfter,
    /// It answers this status, without a body, and does nothing.
    Answers(u16),
    /// It says that it took a command, and forgets it.
    Forgets,
    /// It refuses a command, and that command's id for good.
    Refuses,
    /// It never answers, as servers do that are starting.
    Silent,
}

/// Who does the work of a server's agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Workers {
    /// The text of a message says what its agent does.
    Text,
    /// The agents of the simulated world.
    World,
    /// Whoever takes [`OpenTurn`]s, in real folders of this machine.
    Outside,
}

/// A turn that somebody outside has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTurn {
    /// The server's id of it.
    pub turn: String,
    /// Its thread.
    pub thread: String,
    /// Which of the thread's turns it is, from 1.
    pub nth: usize,
    /// The folder that its agent works in.
    pub folder: String,
    /// What was asked.
    pub text: String,
}

/// A project.
pub(super) struct Project {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) root: String,
    pub(super) created: At,
}

/// A thread.
pub(super) struct Thread {
    pub(super) id: String,
    pub(super) project: String,
    pub(super) title: String,
    pub(super) model: Value,
    pub(super) mode: String,
    pub(super) interaction: String,
    pub(super) branch: Value,
    pub(super) worktree: Option<String>,
    pub(super) created: At,
    pub(super) updated: At,
    pub(super) archived: Option<At>,
    pub(super) deleted: Option<At>,
    pub(super) latest: Option<Latest>,
    pub(super) session: Option<Session>,
    pub(super) messages: Vec<Message>,
    pub(super) activities: Vec<Activity>,
    pub(super) checkpoints: Vec<Checkpoint>,
    /// What was run in it, as protocol 2 has it.
    pub(super) runs: Vec<RunRecord>,
    /// What its agent does.
    pub(super) run: Option<Run>,
    /// The turn whose agent was orphaned when the server was killed.
    pub(super) orphan: Option<String>,
}

impl Thread {
    /// The thread that a command makes.
    pub(super) fn of(command: &Value, at: At) -> Self {
        let text = |key: &str| command[key].as_str().unwrap_or_default().to_owned();
        Self {
            id: text("threadId"),
            project: text("projectId"),
            title: text("title"),
            model: command["modelSelection"].clone(),
            mode: text("runtimeMode"),
            interaction: text("interactionMode"),
            branch: command["branch"].clone(),
            worktree: command["worktreePath"].as_str().map(str::to_owned),
            created: at,
            updated: at,
            archived: None,
            deleted: None,
            latest: None,
            session: None,
            messages: Vec::new(),
            activities: Vec::new(),
            checkpoints: Vec::new(),
            runs: Vec::new(),
            run: None,
            orphan: None,
        }
    }
}

/// What it shows as the latest turn.
#[derive(Clone)]
pub(super) struct Latest {
    pub(super) turn: String,
    pub(super) state: &'static str,
    pub(super) requested: At,
    pub(super) completed: Option<At>,
    pub(super) answer: Option<String>,
}

pub(super) struct Session {
    pub(super) status: &'static str,
    pub(super) active: Option<String>,
    pub(super) error: Option<String>,
    pub(super) updated: At,
}

pub(super) struct Message {
    pub(super) id: String,
    pub(super) user: bool,
    pub(super) text: String,
    pub(super) turn: Option<String>,
    pub(super) created: At,
    pub(super) updated: At,
}

pub(super) struct Activity {
    pub(super) id: String,
    pub(super) tone: &'static str,
    pub(super) kind: &'static str,
    pub(super) summary: String,
    pub(super) payload: Value,
    pub(super) turn: Option<String>,
    pub(super) created: At,
}

pub(super) struct Checkpoint {
    pub(super) turn: String,
    pub(super) status: &'static str,
    pub(super) answer: Option<String>,
    pub(super) completed: At,
}

/// What a server remembers of a command for good.
#[derive(Clone)]
pub(super) enum Remembered {
    /// It was taken, at that sequence.
    Taken(u64),
    /// It was refused, with that answer.
    Refused(u16, Value),
}

/// A server.
pub(super) struct State {
    pub(super) flavour: Flavour,
    pub(super) url: String,
    /// The scopes of each bearer.
    pub(super) tokens: BTreeMap<String, Vec<String>>,
    pub(super) pairing: BTreeSet<String>,
    /// Folders on its machine, and whether they are git's.
    pub(super) folders: BTreeMap<String, bool>,
    pub(super) projects: Vec<Project>,
    pub(super) threads: Vec<Thread>,
    pub(super) commands: BTreeMap<String, Remembered>,
    /// What each was about.
    pub(super) subjects: BTreeMap<String, String>,
    pub(super) sequence: u64,
    pub(super) turns: usize,
    pub(super) faults: Vec<(String, Fault)>,
    pub(super) requests: Vec<String>,
    /// Nothing is answered.
    pub(super) away: bool,
    pub(super) deaf: bool,
    pub(super) idle: bool,
    /// It does not say which protocol it speaks.
    pub(super) unnamed: bool,
    /// Who does the work of its agents.
    pub(super) workers: Workers,
    /// The next command is taken and forgotten.
    pub(super) forget_next: bool,
    /// A command that is never answered: how many come before it, and whether it is done.
    pub(super) hold: Option<(usize, bool)>,
    /// The next command is refused.
    pub(super) refuse_next: bool,
    /// What its agents were given to do.
    pub(super) work: Vec<AgentWork>,
    /// The fault of whoever asks.
    pub(super) bad: Option<BadExecutor>,
    /// The ids of commands that such an executor has sent.
    pub(super) sent: BTreeSet<String>,
    /// The threads whose agents were orphaned once.
    pub(super) orphaned: BTreeSet<String>,
    ids: u64,
}

/// What a server says of a turn that it lost by its own restart.
const NOT_SURVIVED: &str =
    "Provider session did not survive a server restart. Send a new message to continue.";
/// How long an orphan waits to be told something.
const WAITS: SignedDuration = SignedDuration::from_mins(10);

/// The scopes of a bearer that may do everything.
const SCOPES: [&str; 8] = [
    "orchestration:read",
    "orchestration:operate",
    "terminal:operate",
    "review:write",
    "relay:read",
    "access:read",
    "access:write",
    "relay:write",
];

impl State {
    pub(super) fn new(flavour: Flavour, url: String, token: &str) -> Self {
        let scopes = SCOPES.map(str::to_owned).to_vec();
        Self {
            flavour,
            url,
            tokens: [(token.to_owned(), scopes)].into(),
            pairing: BTreeSet::new(),
            folders: BTreeMap::new(),
            projects: Vec::new(),
            threads: Vec::new(),
            commands: BTreeMap::new(),
            subjects: BTreeMap::new(),
            sequence: 0,
            turns: 0,
            faults: Vec::new(),
            requests: Vec::new(),
            away: false,
            deaf: false,
            idle: false,
            unnamed: false,
            workers: Workers::Text,
            forget_next: false,
            hold: None,
            refuse_next: false,
            work: Vec::new(),
            bad: None,
            sent: BTreeSet::new(),
            orphaned: BTreeSet::new(),
            ids: 0,
        }
    }

    /// Whether the command that comes now is never answered, and then whether it is done.
    pub(super) fn holds(&mut self) -> Option<bool> {
        let (before, done) = self.hold?;
        self.hold = before.checked_sub(1).map(|left| (left, done));
        (before == 0).then_some(done)
    }

    /// An id that the server makes.
    pub(super) fn fresh(&mut self) -> String {
        self.ids += 1;
        uuid::Uuid::from_u128((0x0f3f_4000_8000_u128 << 64) | u128::from(self.ids)).to_string()
    }

    /// Whether an agent that works there finds git.
    pub(super) fn is_git(&self, thread: &Thread) -> bool {
        self.place(thread).and_then(|folder| self.folder(folder)).unwrap_or(false)
    }

    /// Where the agent of a thread works.
    pub(super) fn place<'a>(&'a self, thread: &'a Thread) -> Option<&'a str> {
        let root =
            || self.projects.iter().find(|one| one.id == thread.project).map(|one| &one.root);
        thread.worktree.as_ref().or_else(root).map(String::as_str)
    }

    /// Whether a folder is git's; none if it is not there.
    pub(super) fn folder(&self, path: &str) -> Option<bool> {
        if self.workers == Workers::Outside {
            let path = Path::new(path);
            return path.is_dir().then(|| path.join(".git").exists());
        }
        self.folders.get(path).copied()
    }

    /// Ends the server: what its agents do now is seen by nobody.
    pub(super) fn kill(&mut self, now: At) {
        self.away = true;
        let mut orphans = Vec::new();
        for thread in &mut self.threads {
            if let Some(run) = thread.run.take() {
                thread.orphan = Some(run.turn.clone());
                self.orphaned.insert(thread.id.clone());
                orphans.push(run);
            }
        }
        for run in orphans {
            // One that waits to be told something gives up at some time.
            let until = self.lasts(&run).or_else(|| now.checked_add(WAITS).ok()).unwrap_or(now);
            self.work_over(&run.turn, until, AgentWorkEnd::Orphaned);
        }
    }

    /// Starts it again. Releases of protocol 1 do not notice that anything was lost; later ones call
    /// it failed, and one of protocol 2 cancelled, and asks nothing of it any more.
    pub(super) fn revive(&mut self, now: At) {
        self.away = false;
        for thread in &mut self.threads {
            if self.flavour == Flavour::August && thread.orphan.take().is_some() {
                if let Some(latest) = &mut thread.latest {
                    (latest.state, latest.completed) = ("error", Some(now));
                }
                let error = Some(NOT_SURVIVED.to_owned());
                let session = Session { status: "error", active: None, error, updated: now };
                (thread.session, thread.updated) = (Some(session), now);
            }
            for run in thread.runs.iter_mut().filter(|run| run.completed.is_none()) {
                (run.status, run.completed) = ("cancelled", Some(now));
                if let Some(request) = &mut run.request {
                    request.status = "expired";
                }
                thread.updated = now;
            }
        }
    }
}
