//! The agents of the simulated world as the agents of a server: a message that names a run is a
//! turn of that run, which does what the world's script says, and pushes by itself.

use afk_core::ids::{JobKey, JobOf, RepoName, RunId};
use afk_core::run::TurnEnd;
use afk_core::usd::Usd;
use afk_engine::ports::TurnRequest;

use super::Shared;
use super::play::Script;
use super::state::{State, Thread, Workers};
use afk_sim::world::{TurnState, World};

/// What a prompt names its run by.
const RUN: &str = "Run id: ";

impl Shared {
    /// Lets the world's agents do what they were asked, and hears what became of it.
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
                // One that is not there has not begun.
                let _ = world.interrupt_turn(&asked.key);
            }
            match world.agents.turns.get(&asked.key).map(|turn| turn.state.clone()) {
                // What the world refuses it has put down itself.
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

/// The turn of the world that the newest message of a thread asks for.
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
        anew: String::new(),
        budget: Usd::dollars(1),
        deadline: std::time::Duration::from_hours(1),
        network: afk_core::network::AgentNetwork::Open,
    })
}
