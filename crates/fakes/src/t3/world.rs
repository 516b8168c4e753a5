//! The agents of the simulated world as the agents of a server: a message that names a run begins a
//! turn of that run, which does what the world's script says, and pushes by itself.

use afk_core::ids::{JobKey, JobOf, RepoName, RunId};
use afk_core::run::TurnEnd;
use afk_core::usd::Usd;
use afk_engine::ports::TurnRequest;

use super::Shared;
use super::play::Script;
use super::state::{State, Thread, Workers};
use afk_sim::world::{TurnState, World};

/// The words before the run's id in a prompt.
const RUN: &str = "Run id: ";

impl Shared {
    /// Starts and interrupts turns of the world as messages and commands asked, and takes over how
    /// they ended.
    pub(super) fn play_world(&self) {
        if self.state().workers != Workers::World {
            return;
        }
        self.sim.with(|world| self.state().play_world(world));
    }
}

impl State {
    fn play_world(&mut self, world: &mut World) {
        if self.away {
            return;
        }
        let projects = &self.projects;
        for thread in &mut self.threads {
            let project = projects.iter().find(|one| one.id == thread.project);
            let repo = project.and_then(|one| one.title.parse::<RepoName>().ok());
            let asked = repo.and_then(|repo| request(thread, repo));
            let (Some(run), Some(asked)) = (&mut thread.run, asked) else { continue };
            if run.interrupted.is_some() {
                // A turn that has not begun in the world is not known there.
                let _ = world.interrupt_turn(&asked.key);
            }
            match world.agents.turns.get(&asked.key).map(|turn| turn.state.clone()) {
                // If the world refuses it, it has recorded that.
                None => drop(world.start_turn(&asked)),
                Some(TurnState::Running) => {}
                Some(TurnState::Ended(TurnEnd::Finished { message })) => {
                    run.script = Script::Others(Some(message));
                }
                Some(TurnState::Ended(end)) => {
                    run.script = Script::Others(Some(format!("API Error: {end:?}")));
                }
            }
        }
    }
}

/// The turn of the world that the newest message of a thread asks for, if the thread names a run.
fn request(thread: &Thread, repo: RepoName) -> Option<TurnRequest> {
    let asked: Vec<&str> =
        thread.messages.iter().filter(|one| one.user).map(|one| one.text.as_str()).collect();
    let named = |text: &&str| text.lines().find_map(|line| line.strip_prefix(RUN)?.parse().ok());
    let run: RunId = asked.iter().find_map(named)?;
    let n = u32::try_from(asked.len()).ok()?;
    Some(TurnRequest {
        key: JobKey::new(run, JobOf::Turn, &n.to_string()),
        run,
        repo,
        thread: run.thread(),
        n,
        prompt: (*asked.last()?).to_owned(),
        opening_prompt: String::new(),
        budget: Usd::dollars(1),
        deadline: std::time::Duration::from_hours(1),
        network: afk_core::network::AgentNetwork::Open,
    })
}
