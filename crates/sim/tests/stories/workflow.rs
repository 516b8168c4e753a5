//! A repo's own policy over the loop: it is read once, stays in force to the end, and never loosens
//! anything.

use afk_core::network::AgentNetwork;
use afk_core::plan::End;
use afk_core::usd::Usd;
use afk_core::workflow::PATH;
use afk_sim::story::{Story, good_work, repo};
use afk_sim::world::{Act, Script};

/// The armed world with a repo that has this policy.
fn under(policy: &str) -> Story {
    let story = Story::new();
    story.sim.with(|world| world.somebody_lands(&repo("o/r"), &[(PATH, policy)]));
    story
}

fn untested() -> Script {
    Script::acts(vec![Act::Commit { message: "Work", files: vec![("src/lib", Some("x"))] }])
}

#[tokio::test]
async fn a_policy_tightens_the_run_and_speaks_to_its_agent() {
    let file = "+++\nbudget_usd = 3\nlanding_refusals_max = 9\n[network]\nagent = false\n+++\n\
                Mind {{ issue }}, attempt {{ attempt }}.\n";
    let story = under(file).with_issue(vec![untested(), good_work()]);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(run.budget, Usd::dollars(3));
    let turns = story.sim.with(|world| {
        let turns = world.agents.turns.values().map(|turn| turn.request.clone());
        turns.collect::<Vec<_>>()
    });
    assert_eq!(turns.len(), 2);
    assert_eq!(turns[0].budget, Usd::dollars(3));
    assert!(
        turns.iter().all(|turn| turn.network == AgentNetwork::None),
        "the agent's network is closed"
    );
    assert!(turns[0].prompt.contains("Mind o/r#7, attempt 1."), "{}", turns[0].prompt);
    let workflow = run.start.unwrap().workflow.unwrap();
    assert_eq!(workflow.ignored, ["landing_refusals_max = 9 would loosen the configured 3"]);
}

#[tokio::test]
async fn a_policy_is_in_force_after_a_restart_whatever_the_branch_says_by_then() {
    let story = under("+++\nlanding_refusals_max = 1\n+++\n").with_issue(vec![untested()]);
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.with(|world| world.somebody_lands(&repo("o/r"), &[(PATH, "+++\nbroken")]));
    let story = story.restarted("second");
    let run = story.settle().await;
    story.ended(End::NeedsHuman);
    assert_eq!(run.refusals(), 1, "{}", story.why());
    assert_eq!(story.count("git.file_at"), 1);
}

#[tokio::test]
async fn a_policy_that_cannot_be_used_stops_the_run_before_a_turn() {
    for (file, expected) in [
        ("+++\nbugdet_usd = 3\n+++\n", ".afk/WORKFLOW.md:2: bugdet_usd is not a key of a policy"),
        ("Say {{ nothing }}.", ".afk/WORKFLOW.md:1: \"nothing\" is not a variable"),
        ("+++\n[proof]\nred = \"assertion\"\n+++\n", "needs build"),
    ] {
        let story = under(file).with_issue(vec![good_work()]);
        let run = story.settle().await;
        story.ended(End::NeedsHuman);
        assert!(story.why().contains(expected), "{}", story.why());
        assert!(run.attempts.is_empty() && run.start.is_none(), "no turn was begun");
        let (labels, comments) = story.sim.with(|world| {
            let issue = &world.tracker.issues[&afk_sim::story::seven()];
            (issue.issue.labels.clone(), issue.comments.clone())
        });
        assert_eq!(labels, ["ready-for-human"]);
        assert!(comments[0].body.contains("WORKFLOW.md"), "{}", comments[0].body);
    }
}

#[tokio::test]
async fn an_agent_cannot_loosen_the_policy_by_an_edit() {
    let mut work = untested();
    let edit = vec![(PATH, Some("+++\nlanding_refusals_max = 3\n+++\nDo as you like."))];
    work.acts.push(Act::Commit { message: "Relax", files: edit });
    let story = under("+++\nlanding_refusals_max = 1\n+++\n").with_issue(vec![work]);
    story.settle().await;
    story.ended(End::NeedsHuman);
    assert!(story.why().contains("guardrail") && story.why().contains(PATH), "{}", story.why());
    assert_eq!(story.count("git.push"), 0);
    assert_eq!(story.count("git.file_at"), 1);
}
