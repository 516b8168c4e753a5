//! What a server has: projects, threads, and what it remembers of commands.

use std::collections::{BTreeMap, BTreeSet};

use afk_core::ids::At;
use serde_json::Value;

use super::play::Run;
use super::two::RunRecord;

/// Whose behaviour the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Release 0.0.27, protocol 1.
    V27,
    /// Release 0.0.33, protocol 1.
    V33,
    /// Protocol 2, with its gate.
    Two,
}

impl Flavour {
    /// The version that it calls itself.
    pub fn version(self) -> &'static str {
        match self {
            Self::V27 => "0.0.27",
            // Other servers call themselves so, too.
            Self::V33 | Self::Two => "0.0.33",
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
    /// It never answers, as servers do that are starting.
    Silent,
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
    pub(super) sequence: u64,
    pub(super) turns: usize,
    pub(super) faults: Vec<(String, Fault)>,
    pub(super) requests: Vec<String>,
    /// Nothing is answered.
    pub(super) away: bool,
    pub(super) deaf: bool,
    pub(super) idle: bool,
    /// Its agents are the world's.
    pub(super) over_world: bool,
    /// The next command is taken and forgotten.
    pub(super) forget_next: bool,
    ids: u64,
}

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
            sequence: 0,
            turns: 0,
            faults: Vec::new(),
            requests: Vec::new(),
            away: false,
            deaf: false,
            idle: false,
            over_world: false,
            forget_next: false,
            ids: 0,
        }
    }

    /// An id that the server makes.
    pub(super) fn fresh(&mut self) -> String {
        self.ids += 1;
        uuid::Uuid::from_u128((0x0f3f_4000_8000_u128 << 64) | u128::from(self.ids)).to_string()
    }

    /// Whether an agent that works there finds git.
    pub(super) fn is_git(&self, thread: &Thread) -> bool {
        let root =
            || self.projects.iter().find(|one| one.id == thread.project).map(|one| &one.root);
        let folder = thread.worktree.as_ref().or_else(root);
        folder.and_then(|folder| self.folders.get(folder)).copied().unwrap_or(false)
    }

    /// Ends the server: what its agents do now is seen by nobody.
    pub(super) fn kill(&mut self) {
        self.away = true;
        for thread in &mut self.threads {
            if let Some(run) = thread.run.take() {
                thread.orphan = Some(run.turn);
            }
        }
    }

    /// Starts it again. Servers of protocol 1 do not notice that anything was lost; one of protocol
    /// 2 calls it cancelled, and asks nothing of it any more.
    pub(super) fn revive(&mut self, now: At) {
        self.away = false;
        for thread in &mut self.threads {
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
