//! The whole loop over the simulated world, whose agents work on a T3 server and push by
//! themselves: one issue from its label to its end.

use afk_core::plan::{End, TurnCause};
use afk_engine::Engine;
use afk_engine::ports::Ports;
use afk_fakes::t3::{Flavour, T3Fake};
use afk_sim::story::{Story, breaking_work, causes, far, good_work, mending_work, repo};
use afk_sim::world::Script;

use crate::support::{ALL, TOKEN, on};

/// A story whose agents work on a server of that version.
fn told(flavour: Flavour, scripts: Vec<Script>) -> (Story, T3Fake) {
    let story = Story::new().with_issue(scripts);
    story.sim.with(far);
    let fake = T3Fake::start(&story.sim, flavour, TOKEN).unwrap();
    fake.has_folder("/data/o__r", true);
    fake.plays_world();
    let ports = Ports { executor: on(&story.sim, &fake), ..story.sim.ports() };
    (Story { engine: Engine::new(ports, "first"), sim: story.sim }, fake)
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
        let (story, fake) = told(flavour, vec![breaking_work(), mending_work()]);
        let run = story.settle().await;
        story.ended(End::Done);
        assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::FixForward]);
        assert_eq!((fake.turns(), fake.open_threads().len()), (2, 1));
    }
}
