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

/// The version whose behaviour the server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Release 0.0.27, protocol 1.
    V27,
    /// Release 0.0.33, protocol 1.
    V33,
    /// The main branch of August 2026, protocol 1.
    August,
    /// Protocol 2, whose threads are read below a gate.
    Two,
}

impl Flavour {
    /// The version that the server says it has.
    pub fn version(self) -> &'static str {
        match self {
            Self::V27 => "0.0.27",
            // Builds of these three say the same.
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
    /// The connection breaks after the request was carried out: only the answer is lost.
    BreaksAfter,
    /// The answer has this status and no body, and nothing is done.
    Answers(u16),
    /// The server says that it took a command, and forgets it.
    Forgets,
    /// The server refuses a command, and its id for good.
    Refuses,
    /// The server never answers, as one that is starting.
    Silent,
}

/// Who does the work of a server's agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Workers {
    /// The script agent, which does what the text of a message says.
    Text,
    /// The agents of the simulated world.
    World,
    /// Whoever does the [`OpenTurn`]s, in real folders of this machine.
    Outside,
}

/// A turn that somebody outside has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTurn {
    /// The server's id of the turn.
    pub turn: String,
    /// The id of its thread.
    pub thread: String,
    /// Its number in the thread, from 1.
    pub nth: usize,
    /// The folder that its agent works in.
    pub folder: String,
    /// The text of the message that asks for it.
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
    /// The runs of the thread, as protocol 2 has them.
    pub(super) runs: Vec<RunRecord>,
    /// The turn that is under way, and what its agent does in it.
    pub(super) run: Option<Run>,
    /// The turn whose agent was orphaned when the server was killed.
    pub(super) orphan: Option<String>,
}

impl Thread {
    /// Makes a thread from the command that asks for it.
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

/// What a thread shows as its latest turn.
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

/// What a server remembers for good of a command.
#[derive(Clone)]
pub(super) enum Remembered {
    /// It was taken, at this sequence number.
    Taken(u64),
    /// It was refused, with this status and body.
    Refused(u16, Value),
}

/// A server.
pub(super) struct State {
    pub(super) flavour: Flavour,
    pub(super) url: String,
    /// The scopes of each bearer that is accepted.
    pub(super) tokens: BTreeMap<String, Vec<String>>,
    pub(super) pairing: BTreeSet<String>,
    /// Folders on its machine, and whether each is a checkout of git.
    pub(super) folders: BTreeMap<String, bool>,
    pub(super) projects: Vec<Project>,
    pub(super) threads: Vec<Thread>,
    pub(super) commands: BTreeMap<String, Remembered>,
    /// The project or thread that each command id was first used for.
    pub(super) subjects: BTreeMap<String, String>,
    pub(super) sequence: u64,
    pub(super) turns: usize,
    pub(super) faults: Vec<(String, Fault)>,
    pub(super) requests: Vec<String>,
    /// Whether it was killed, so that nothing is answered.
    pub(super) away: bool,
    pub(super) deaf: bool,
    pub(super) idle: bool,
    /// Whether it does not say which protocol it speaks.
    pub(super) unnamed: bool,
    /// What it calls itself.
    pub(super) environment: String,
    /// Who does the work of its agents.
    pub(super) workers: Workers,
    /// Whether the next command is taken and forgotten.
    pub(super) forget_next: bool,
    /// The command that is never answered: how many come before it, and whether it is done.
    pub(super) hold: Option<(usize, bool)>,
    /// Whether the next command is refused.
    pub(super) refuse_next: bool,
    /// What its agents were given to do.
    pub(super) work: Vec<AgentWork>,
    /// The fault of the executor that asks.
    pub(super) bad: Option<BadExecutor>,
    /// The ids of commands that such an executor has sent so far.
    pub(super) sent: BTreeSet<String>,
    /// The threads whose agents were ever orphaned.
    pub(super) orphaned: BTreeSet<String>,
    ids: u64,
}

/// What a server says of a turn that was lost because it restarted.
const NOT_SURVIVED: &str =
    "Provider session did not survive a server restart. Send a new message to continue.";
/// How long an orphan waits for an answer before it gives up.
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
            environment: "3f93361e-3336-4c34-a4c8-795cd514e3cc".to_owned(),
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

    /// Whether the command that has come is to be held, and then whether it is done first.
    pub(super) fn holds(&mut self) -> Option<bool> {
        let (before, done) = self.hold?;
        self.hold = before.checked_sub(1).map(|left| (left, done));
        (before == 0).then_some(done)
    }

    /// A new id, as the server makes them.
    pub(super) fn fresh(&mut self) -> String {
        self.ids += 1;
        uuid::Uuid::from_u128((0x0f3f_4000_8000_u128 << 64) | u128::from(self.ids)).to_string()
    }

    /// Whether the agent of a thread works in a checkout of git.
    pub(super) fn is_git(&self, thread: &Thread) -> bool {
        self.place(thread).and_then(|folder| self.folder(folder)).unwrap_or(false)
    }

    /// The folder that the agent of a thread works in.
    pub(super) fn place<'a>(&'a self, thread: &'a Thread) -> Option<&'a str> {
        let root =
            || self.projects.iter().find(|one| one.id == thread.project).map(|one| &one.root);
        thread.worktree.as_ref().or_else(root).map(String::as_str)
    }

    /// Whether a folder is a checkout of git; none if there is no such folder.
    pub(super) fn folder(&self, path: &str) -> Option<bool> {
        if self.workers == Workers::Outside {
            let path = Path::new(path);
            return path.is_dir().then(|| path.join(".git").exists());
        }
        self.folders.get(path).copied()
    }

    /// Kills the server: nobody sees what its agents do from now on.
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
            // One that waits for an answer gives up after a while.
            let until = self.lasts(&run).or_else(|| now.checked_add(WAITS).ok()).unwrap_or(now);
            self.work_over(
                &run.turn,
                until,
                AgentWorkEnd::Orphaned { since: now, is_known: false },
            );
        }
    }

    /// Starts the server again. Releases of protocol 1 do not notice that turns were lost; the
    /// build of August calls them failed, and protocol 2 calls them cancelled and no longer waits
    /// for answers to their requests.
    pub(super) fn revive(&mut self, now: At) {
        self.away = false;
        if matches!(self.flavour, Flavour::August | Flavour::Two) {
            self.orphans_are_known();
        }
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
