//! The whole loop over the simulated world, whose agents work on a T3 server and push by
//! themselves: one issue from its label to its end, also while answers are lost, and with a control
//! plane that dies at a command that it sends.

use std::sync::Arc;

use afk_core::plan::{End, TurnCause};
use afk_engine::Engine;
use afk_engine::ports::{Notes, Ports};
use afk_fakes::t3::{Fault, Flavour, T3Fake};
use afk_sim::fakes::MemoryNotes;
use afk_sim::story::{Story, breaking_work, causes, far, fixing_work, good_work, repo};
use afk_sim::world::{Script, World};

use crate::support::{ALL, TOKEN, on};

/// A story whose agents work on a server of that version.
struct Told {
    story: Story,
    fake: T3Fake,
    notes: Arc<dyn Notes>,
}

impl Told {
    fn new(flavour: Flavour, scripts: Vec<Script>) -> Self {
        let story = Story::new().with_issue(scripts);
        story.sim.with(far);
        let fake = T3Fake::start(&story.sim, flavour, TOKEN).unwrap();
        fake.has_folder("/data/o__r", true);
        fake.plays_world();
        Self { story, fake, notes: Arc::new(MemoryNotes::default()) }.restarted("first")
    }

    /// Another control plane on the same store and the same notes.
    fn restarted(self, name: &str) -> Self {
        let Self { story, fake, notes } = self;
        let ports = Ports { executor: on(&story.sim, &fake, &notes), ..story.sim.ports() };
        let story = Story { engine: Engine::new(ports, name), sim: story.sim };
        Self { story, fake, notes }
    }

    /// Checks that the change went red once and was mended, in two turns on one thread.
    async fn mended(&self, what: &str) {
        let run = self.story.settle().await;
        self.story.ended(End::Done);
        assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::FixForward], "{what}");
        assert_eq!((self.fake.turns(), self.fake.open_threads().len()), (2, 1), "{what}");
        self.story.sim.with(|world| assert_eq!(world.wrong, Vec::<String>::new(), "{what}"));
    }
}

fn told(flavour: Flavour, scripts: Vec<Script>) -> (Story, T3Fake) {
    let told = Told::new(flavour, scripts);
    (told.story, told.fake)
}

#[tokio::test]
async fn what_an_agent_lands_from_a_server_is_found_and_proved() {
    for flavour in ALL {
        let (story, fake) = told(flavour, vec![good_work()]);
        let run = story.settle().await;
        story.ended(End::Done);
        let head = story.sim.with(|world| world.git.remotes[&repo("o/r")].clone());
        assert_eq!(run.landed().unwrap().commit, head);
        assert_eq!(fake.turns(), 1);
    }
}

#[tokio::test]
async fn what_went_red_is_mended_on_the_same_thread() {
    for flavour in ALL {
        let (story, fake) = told(flavour, vec![breaking_work(), fixing_work()]);
        let run = story.settle().await;
        story.ended(End::Done);
        assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::FixForward]);
        assert_eq!((fake.turns(), fake.open_threads().len()), (2, 1));
    }
}

/// Answers to reads and commands are lost, and commands are refused, while the loop goes on.
#[tokio::test]
async fn lost_answers_change_nothing_of_what_lands() {
    let faults = [
        Fault::BreaksBefore,
        Fault::BreaksAfter,
        Fault::Answers(500),
        Fault::Answers(503),
        Fault::Refuses,
    ];
    for flavour in ALL {
        for from in 0..faults.len() {
            let told = Told::new(flavour, vec![breaking_work(), fixing_work()]);
            for round in 0..12 {
                let fault = faults[(from + round) % faults.len()];
                // A read has nothing to refuse.
                let path = match fault {
                    Fault::Refuses => "dispatch",
                    _ if round % 2 == 0 => "dispatch",
                    _ => "orchestration",
                };
                told.fake.fails(path, fault);
                told.story.rounds(1).await;
            }
            told.mended(&format!("{flavour:?}, from {:?} on", faults[from])).await;
        }
    }
}

/// The control plane dies at every command that it sends, before it is done and after.
#[tokio::test]
async fn a_death_at_any_command_changes_nothing_of_what_lands() {
    let scripts = || vec![breaking_work(), fixing_work()];
    for flavour in ALL {
        let mut deaths = 0;
        for (nth, done) in (0..).flat_map(|nth| [(nth, false), (nth, true)]) {
            let mut told = Told::new(flavour, scripts());
            told.fake.holds(nth, done);
            let died = tokio::select! {
                biased;
                () = told.fake.held() => true,
                _ = told.story.settle() => false,
            };
            if !died {
                // There are no more commands than that.
                told.mended("undisturbed").await;
                break;
            }
            deaths += 1;
            told.story.sim.with(World::declare_owners_dead);
            told = told.restarted("second");
            told.mended(&format!("{flavour:?}, command {nth}, done: {done}")).await;
        }
        // A project, a thread and two messages, with every protocol.
        assert_eq!(deaths, 2 * 4, "{flavour:?}");
    }
}
