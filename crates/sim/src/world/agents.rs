//! Agents that follow scripts. A turn takes the next script of its repo when it starts, carries it
//! out when the world steps, and ends as the script says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use afk_core::ask::{Answer, PendingQuestion};
use afk_core::checkout::Checkout;
use afk_core::digest::Digest;
use afk_core::evidence::SandboxStrength;
use afk_core::ids::{At, JobKey, RepoName, RunId};
use afk_core::run::{TurnCost, TurnEnd, TurnFacts, TurnSeen};
use afk_core::spend::{Cost, Entry, TurnKey, Usage};
use afk_core::usd::Usd;
use afk_engine::ports::{PortError, PortErrorKind, PortResult, TurnReport, TurnRequest};

use super::{Workspace, World};

/// One thing that an agent does in its workspace.
#[derive(Debug, Clone)]
pub enum Act {
    /// Commits files; a path without content is deleted.
    Commit {
        /// The message.
        message: &'static str,
        /// Paths and contents.
        files: Vec<(&'static str, Option<&'static str>)>,
    },
    /// Leaves a path uncommitted.
    Dirty(&'static str),
    /// Discards everything that is uncommitted.
    Discard,
    /// Leaves a git operation of this name unfinished, such as a rebase.
    Begin(&'static str),
    /// Finishes or aborts every unfinished operation.
    Finish,
    /// Puts the workspace on the default branch's head.
    Follow,
}

/// What an agent does in one turn.
#[derive(Debug, Clone)]
pub struct Script {
    /// Its acts, in order.
    pub acts: Vec<Act>,
    /// How the turn ends; without it the turn hangs until it is stopped.
    pub end: Option<TurnEnd>,
    /// What the turn costs.
    pub cost: Usd,
    /// Whether a tool call is open as long as the turn runs.
    pub tool_open: bool,
    /// What the agent asks first; it goes on once it is answered.
    pub asks: Option<Asks>,
    /// Whether an agent that pushes by itself forgets the trailer that names its run.
    pub unmarked: bool,
}

/// What an agent asks before it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// A question. The agent works, whatever the answer.
    Question(&'static str),
    /// A permission. The agent does nothing if it is refused.
    Permission(&'static str),
}

impl Script {
    /// A turn that does `acts` and ends well.
    pub fn acts(acts: Vec<Act>) -> Self {
        Self::ends(acts, TurnEnd::Finished { message: "Done.".to_owned() })
    }

    /// A turn that does `acts` and ends with `end`.
    pub fn ends(acts: Vec<Act>, end: TurnEnd) -> Self {
        Self { acts, end: Some(end), ..Self::hangs() }
    }

    /// A turn that never reports anything.
    pub fn hangs() -> Self {
        Self {
            acts: Vec::new(),
            end: None,
            cost: Usd::micros(250_000),
            tool_open: false,
            asks: None,
            unmarked: false,
        }
    }
}

/// The state of a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnState {
    /// At work.
    Running,
    /// Over.
    Ended(TurnEnd),
}

/// A turn that an agent was given.
#[derive(Debug, Clone)]
pub struct AgentTurn {
    /// The request that started it.
    pub request: TurnRequest,
    /// What the agent does in it.
    pub script: Script,
    /// Whether it runs, or how it ended.
    pub state: TurnState,
    /// When it was started.
    pub started_at: At,
    /// When its newest event came.
    pub last_event_at: At,
    /// The answer to what the agent asked.
    pub answered: Option<Answer>,
    /// Whether it is reported as stopped while its agent still works, until the world steps.
    pub lingers: bool,
    /// Whether its agent was started on another machine, where it stays.
    pub far: bool,
}

/// All agents.
#[derive(Debug, Clone, Default)]
pub struct Agents {
    /// Scripts of turns to come, by repo. Where there is none, an agent says that it gives up.
    pub scripts: BTreeMap<RepoName, VecDeque<Script>>,
    /// Turns by key.
    pub turns: BTreeMap<JobKey, AgentTurn>,
    /// Whether the agents' program is not installed.
    pub missing: bool,
    /// Whether interrupts have no effect.
    pub stubborn: bool,
    /// Whether an interrupted turn ends as its script says, instead of as interrupted.
    pub unruly: bool,
    /// Repos whose agents work on another machine, in a checkout of their own, and push by
    /// themselves.
    pub far: BTreeSet<RepoName>,
    /// Those of them whose agents work in the run's clone and push nothing.
    pub in_our_clone: BTreeSet<RepoName>,
    /// The checkouts of agents on other machines, by run.
    pub checkouts: BTreeMap<RunId, Workspace>,
    /// Whether agents on other machines report at once that they have stopped, and still finish
    /// their work when the world steps next.
    pub lingering: bool,
    /// The turns as of the last [`World::replicate`], for stale reads.
    pub replica: BTreeMap<JobKey, AgentTurn>,
}

impl Agents {
    /// Turns of `repo` in the order in which they were started.
    pub fn turns_of(&self, repo: &RepoName) -> Vec<&AgentTurn> {
        let mut turns: Vec<_> =
            self.turns.values().filter(|turn| turn.request.repo == *repo).collect();
        turns.sort_by_key(|turn| (turn.started_at, turn.request.n));
        turns
    }
}

impl World {
    pub(crate) fn agent_ready(&self) -> PortResult<()> {
        if self.agents.missing {
            let why = "the agent is not installed: install it";
            return Err(PortError::new(PortErrorKind::NotFound, why));
        }
        Ok(())
    }

    /// Starts a turn; does nothing if the same request has started it before.
    pub fn start_turn(&mut self, request: &TurnRequest) -> PortResult<()> {
        if let Some(known) = self.agents.turns.get(&request.key) {
            if !self.agents.is_reached(known) {
                let what = format!("{} is started a second time, elsewhere", request.key);
                return Err(self.complain(what));
            }
            let same = known.request.run == request.run
                && known.request.prompt == request.prompt
                && known.request.thread == request.thread;
            return if same {
                Ok(())
            } else {
                Err(self.complain(format!("{} was started as another turn", request.key)))
            };
        }
        self.agent_ready()?;
        let running = |turn: &&AgentTurn| turn.state == TurnState::Running;
        if let Some(other) = self.agents.turns_of(&request.repo).into_iter().find(running) {
            let what = format!("{} starts beside {}", request.key, other.request.key);
            return Err(self.complain(what));
        }
        if self.agents.checkout(&request.repo) == Checkout::Own {
            self.check_out(&request.repo, request.run);
        } else if !self.git.workspaces.contains_key(&request.run) {
            return Err(self.complain(format!("{} has no workspace", request.key)));
        }
        let gave_up = TurnEnd::Finished { message: "I give up: it is not clear.".to_owned() };
        let script = self
            .agents
            .scripts
            .get_mut(&request.repo)
            .and_then(VecDeque::pop_front)
            .unwrap_or_else(|| Script::ends(Vec::new(), gave_up));
        let turn = AgentTurn {
            request: request.clone(),
            script,
            state: TurnState::Running,
            started_at: self.now,
            last_event_at: self.now,
            answered: None,
            lingers: false,
            far: self.agents.far.contains(&request.repo),
        };
        self.agents.turns.insert(request.key.clone(), turn);
        Ok(())
    }

    pub(crate) fn observe_turn(&mut self, key: &JobKey) -> TurnReport {
        let turn = self.agents.turns.get(key);
        let Some(turn) = turn.filter(|turn| self.agents.is_reached(turn)) else {
            // An executor that answers from an old copy says that it does not know, and never that
            // a turn which it was given is absent.
            let heard = self.agents.replica.get(key);
            let heard = heard.is_some_and(|turn| self.agents.is_reached(turn));
            return report(if heard { TurnSeen::Unknown } else { TurnSeen::Absent });
        };
        let seen = match &turn.state {
            TurnState::Running => TurnSeen::Running {
                last_event_at: turn.last_event_at,
                tool_open: turn.script.tool_open,
                asks: turn.asks().into_iter().collect(),
            },
            TurnState::Ended(how) => {
                TurnSeen::Ended { how: how.clone(), facts: Box::new(turn.facts()) }
            }
        };
        let run = turn.request.run;
        let link = turn.far.then(|| format!("https://far.example/threads/{run}"));
        // An agent on another machine tells what a turn cost only once it has ended.
        let streams = turn.state == TurnState::Running && !turn.far;
        let streamed = streams.then(|| {
            let mut cost = turn.cost();
            cost.entry.cost = Cost::Estimated { amount: turn.script.cost };
            cost
        });
        TurnReport { link, streamed, ..report(seen) }
    }

    pub(crate) fn answer_turn(&mut self, key: &JobKey, answer: &Answer) -> PortResult<()> {
        match self.agents.turns.get_mut(key) {
            Some(turn) => {
                turn.answered.get_or_insert_with(|| answer.clone());
                Ok(())
            }
            None => Err(PortError::new(PortErrorKind::NotFound, format!("no turn {key}"))),
        }
    }

    /// Tells a turn to stop. It may do so late, or not at all.
    pub fn interrupt_turn(&mut self, key: &JobKey) -> PortResult<()> {
        let (stubborn, unruly) = (self.agents.stubborn, self.agents.unruly);
        let lingering = self.agents.lingering;
        match self.agents.turns.get_mut(key) {
            Some(turn) if turn.state == TurnState::Running && !stubborn => {
                let end = turn.script.end.clone().filter(|_| unruly);
                turn.state = TurnState::Ended(end.unwrap_or(TurnEnd::Interrupted));
                turn.lingers = turn.far && lingering;
                Ok(())
            }
            Some(_) => Ok(()),
            None => Err(PortError::new(PortErrorKind::NotFound, format!("no turn {key}"))),
        }
    }

    /// Lets every turn that does not hang do its acts and end.
    pub(super) fn step_turns(&mut self) {
        let keys: Vec<JobKey> = self.agents.turns.keys().cloned().collect();
        for key in keys {
            let Some(turn) = self.agents.turns.get(&key) else { continue };
            let end = match (&turn.state, turn.script.end.clone()) {
                (TurnState::Running, Some(end)) if turn.asks().is_none() => end,
                // One that lingers finishes its work, whatever it was told.
                (TurnState::Ended(end), _) if turn.lingers => end.clone(),
                (TurnState::Running | TurnState::Ended(_), _) => continue,
            };
            let run = turn.request.run;
            let acts = if turn.is_refused() { Vec::new() } else { turn.script.acts.clone() };
            for act in acts {
                self.act(run, &act);
            }
            self.agent_pushes(run);
            let now = self.now;
            if let Some(turn) = self.agents.turns.get_mut(&key) {
                turn.state = TurnState::Ended(end);
                turn.last_event_at = now;
                turn.lingers = false;
            }
        }
    }
}

impl AgentTurn {
    /// What the agent waits to be told.
    fn asks(&self) -> Option<PendingQuestion> {
        let (question, what) = match self.script.asks.filter(|_| self.answered.is_none())? {
            Asks::Question(what) => (true, what),
            Asks::Permission(what) => (false, what),
        };
        Some(PendingQuestion::new("ask".to_owned(), question, what, self.started_at))
    }

    fn is_refused(&self) -> bool {
        let permission = matches!(self.script.asks, Some(Asks::Permission(_)));
        permission && self.answered != Some(Answer::Allow)
    }

    fn cost(&self) -> TurnCost {
        let (request, total) = (&self.request, self.script.cost);
        TurnCost {
            key: TurnKey { session: request.thread.to_string(), process: request.n, turn: 1 },
            entry: Entry {
                run: request.run,
                repo: request.repo.clone(),
                at: self.started_at,
                cli_version: "scripted".to_owned(),
                cost: Cost::Reported { total, delta: Some(total), cut: None },
            },
        }
    }

    fn facts(&self) -> TurnFacts {
        TurnFacts {
            cost: Some(self.cost()),
            usage: Usage { input: 100, output: 10, ..Usage::default() },
            transcript: Some(Digest::of(self.request.key.as_str())),
            sandbox: Some(if self.far { SandboxStrength::None } else { SandboxStrength::Full }),
            refused: Vec::new(),
        }
    }
}

fn report(seen: TurnSeen) -> TurnReport {
    TurnReport {
        seen,
        tokens: (0, 0),
        cost: None,
        streamed: None,
        last: None,
        link: None,
        transcript: None,
    }
}
