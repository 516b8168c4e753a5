//! A credential that the model's API refuses: the run waits, and goes on with the one that people put
//! in its place.

use std::fs;

use afk_stand_ins::model_api::{Reply, Script};

use crate::common::{BOUND, FIXED, ISSUE, Plan, until};
use crate::held::{Thread, VERSIONS, attached, place, story, work};

/// The key that is refused, and the one that takes its place.
const KEYS: [&str; 2] = ["sk-canary-the-revoked-one", "sk-canary-the-new-one"];

#[test]
fn a_run_goes_on_with_the_key_that_took_the_place_of_a_refused_one() {
    for ((version, _), network) in VERSIONS.into_iter().zip(["open", "model"]) {
        let script =
            Script::turns([vec![Reply::Status(401)], vec![work(FIXED), Reply::text("Done.")]]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, KEYS[0]).unwrap();
        let agent = format!("api_key = {{ file = {file:?} }}\nnetwork = {network:?}");
        let test = "a_run_goes_on_with_another_key";
        let Some(thread) = Thread::new(test, version, script, Plan::default(), &agent) else {
            continue;
        };
        let control = attached(&thread.world);
        let ended = until("the end of the first turn", BOUND, || {
            let turns = thread.turns();
            turns.first().filter(|turn| !turn["ended"].is_null()).cloned()
        });
        assert_eq!(ended["ended"]["how"]["end"], "unavailable", "{version}: {ended:#}");
        fs::write(&file, KEYS[1]).unwrap();
        thread.world.ok(&["retry", ISSUE]);
        control.done();
        // The credential rings, too.
        thread.world.assert_done_ringing(2);
        let turns = thread.turns();
        let told = story(&turns);
        assert_eq!(told, [("opening", "unavailable"), ("agent_back", "finished")], "{version}");
        let processes: Vec<u64> = turns.iter().map(|turn| place(turn).0).collect();
        assert_eq!(processes, [1, 2], "{version} {network}");
        let requests = thread.api.requests();
        let of_turns = requests.iter().filter(|one| one.is_of_turn());
        let used: Vec<&str> = of_turns.map(|one| &*one.key).collect();
        let ends = (used[0], used[used.len() - 1]);
        assert_eq!(ends, (KEYS[0], KEYS[1]), "{version} {network}");
    }
}
