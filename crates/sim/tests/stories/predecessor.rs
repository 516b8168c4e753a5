//! Faults of the Python predecessor, one test each, under the number that they
//! have in the list of its faults: none may be ours. Here are those of the loop
//! that a local tracker, stages and executors can show.

mod memory;
mod outside;
mod pickup;
mod turns;

use afk_sim::story::Story;
use jiff::SignedDuration;

/// The issues that were admitted, in order.
fn admitted(story: &Story) -> Vec<String> {
    story.sim.with(|world| world.store.all().iter().map(|run| run.issue.to_string()).collect())
}

/// Lets hours pass, in steps that are no absence of the control plane.
async fn hours(story: &Story, hours: u32) {
    for _ in 0..hours * 60 / 9 {
        story.sim.advance(SignedDuration::from_mins(9));
        story.rounds(1).await;
    }
}
