//! Trees that need something from outside: it is fetched once for all trees with the same
//! manifests, before anything of them is judged; and whose fault it is if the fetch fails.

use afk_core::ids::JobKey;
use afk_core::plan::{End, Refusal, TurnCause};
use afk_engine::ports::{JobKind, JobState};
use afk_sim::story::{Story, causes, good_work, repo};
use afk_sim::world::{Act, Script, World};

fn fetching(work: Vec<Script>) -> Story {
    Story::new().with_issue(work).configure(|config| {
        for table in config.repos.values_mut() {
            table.proof.fetch = Some(vec!["fetch".to_owned()]);
        }
    })
}

fn with_manifest(text: &'static str) -> Script {
    let mut work = good_work();
    let Some(Act::Commit { files, .. }) = work.acts.last_mut() else { unreachable!() };
    files.push(("Cargo.lock", Some(text)));
    work
}

/// Every fetch that was started, in order.
fn fetches(story: &Story) -> Vec<JobKey> {
    let is_fetch = |key: &&JobKey| key.to_string().contains(".fetch.");
    story.sim.with(|world| world.jobs.started.iter().filter(is_fetch).cloned().collect())
}

#[tokio::test]
async fn it_is_fetched_once_for_all_trees_with_the_same_manifests() {
    let story = fetching(vec![good_work()]);
    story.settle().await;
    story.ended(End::Done);
    assert_eq!(fetches(&story).len(), 1);
    story.sim.with(|world| {
        let judged = world.jobs.jobs.values().filter_map(|record| match &record.job.kind {
            JobKind::Judge { fetched, .. } => Some(fetched.is_some()),
            _ => None,
        });
        assert!(judged.clone().count() > 1 && judged.into_iter().all(|fetched| fetched));
        assert_eq!(world.jobs.fetched.len(), 1);
    });
}

#[tokio::test]
async fn a_change_of_a_lock_file_is_fetched_for_itself() {
    let story = fetching(vec![with_manifest("one")]);
    story.settle().await;
    story.ended(End::Done);
    // One for the base and one for the change: no tree between them is fetched for.
    assert_eq!(fetches(&story).len(), 2);
}

#[tokio::test]
async fn a_package_is_fetched_for_by_the_tree_that_has_its_code() {
    let mut work = good_work();
    let Some(Act::Commit { files, .. }) = work.acts.last_mut() else { unreachable!() };
    let manifest = "[package]\nname = \"new\"\n";
    files.extend([("new/Cargo.toml", Some(manifest)), ("new/src/lib.rs", Some("one"))]);
    let story = fetching(vec![work]);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening]);
    // The tree with the manifest and without the code finds what was fetched for the candidate.
    assert_eq!(fetches(&story).len(), 2);
}

#[tokio::test]
async fn an_agent_is_told_what_could_not_be_fetched_for_its_change() {
    let mut mended = with_manifest("fine");
    mended.acts.insert(0, Act::Follow);
    let story = fetching(vec![with_manifest("UNFETCHABLE"), mended]);
    let run = story.settle().await;
    story.ended(End::Done);
    assert_eq!(causes(&run), [TurnCause::Opening, TurnCause::Refused]);
    let refused = run.attempts[0].refused.as_ref().unwrap();
    assert_eq!(refused.why, Refusal::Proof);
    assert!(refused.detail.contains("`fetch` fails (exit code 1)"), "{}", refused.detail);
    assert_eq!(refused.output, "it failed with 1");
}

#[tokio::test]
async fn a_base_for_which_nothing_can_be_fetched_costs_no_turn() {
    let story = fetching(vec![good_work()]);
    story.sim.with(|world| {
        world.somebody_lands(&repo("o/r"), &[("Cargo.lock", "UNFETCHABLE")]);
    });
    let run = story.settle().await;
    story.ended(End::Withdrawn);
    assert!(run.attempts.is_empty());
    let why = run.base_fails.unwrap();
    assert!(why.contains("what it needs could not be fetched: `fetch` fails"), "{why}");
}

#[tokio::test]
async fn a_network_that_is_away_for_a_moment_fails_nothing() {
    let story = fetching(vec![good_work()]);
    story.sim.with(|world| world.jobs.failing.insert("fetch".to_owned()));
    let failed = |world: &mut World| {
        world.jobs.jobs.values().any(|record| matches!(&record.state, JobState::Ended(_)))
    };
    story.until("a fetch that failed", failed).await;
    story.sim.with(|world| world.jobs.failing.clear());
    story.settle().await;
    story.ended(End::Done);
    assert_eq!(fetches(&story).len(), 2);
}

#[tokio::test]
async fn what_is_gone_is_fetched_again() {
    let story = fetching(vec![good_work()]);
    story.until("kept", |world| !world.jobs.fetched.is_empty()).await;
    story.until("a turn", |world| !world.agents.turns.is_empty()).await;
    story.sim.with(|world| world.jobs.fetched.clear());
    story.settle().await;
    story.ended(End::Done);
    assert_eq!(fetches(&story).len(), 2);
}
