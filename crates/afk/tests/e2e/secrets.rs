//! Secrets that an agent, tests and stages print: nothing that is kept or shown contains one.

use std::path::{Path, PathBuf};

use crate::support::git;
use crate::world::{
    Ended, TEST_TRIPLE, TRIPLE, World, append, commit, run, say, strings, write_step,
};

/// The configured key, in parts: it has no shape of a secret, and is only masked because it is
/// known.
const KNOWN: [&str; 2] = ["canary-of-the-", "known-key"];
/// A key that was never configured, but has the shape of one. In parts, so that no file of ours,
/// and none of the repository, contains what looks like a secret.
const SHAPED: [&str; 3] = ["sk-", "ant-api03-", "q7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0HjCanary"];

/// Prints both on both outputs, plain, in one line and in base64.
const PRINTS: &str = "\
k=$(printf '%s%s' canary-of-the- known-key) s=$(printf '%s%s%s' sk- ant-api03- q7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0HjCanary)
echo \"KEY=$k SHAPED=$s\"; echo \"$k$s\" >&2; printf '{\"authorization\":\"%s\"}' \"$k\"; echo
printf '%s' \"$k\" | base64
";

/// The spellings of both that must be nowhere; the last is base64.
fn canaries() -> [String; 3] {
    let base64 = "Y2FuYXJ5LW9mLXRoZS1rbm93bi1rZXk";
    [KNOWN.concat(), SHAPED.concat(), base64.to_owned()]
}

/// A world whose agent is configured with the known key.
fn world() -> World {
    let mut world = World::new();
    std::fs::write(world.path("key"), KNOWN.concat()).unwrap();
    let mut source = toml::Table::new();
    source.insert("file".to_owned(), world.path("key").to_str().unwrap().into());
    world.set("agents.claude.api_key", source);
    let ci = toml::toml! { name = "ci" };
    let mut ci = ci;
    ci.insert("command".to_owned(), strings(&["sh", "-c", &format!("{PRINTS} exec sh ci.sh")]));
    world.set_repo("stages", toml::Value::Array(vec![ci.into()]));
    world
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            files(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// Searches everything that is kept, and everything that is shown of the run, for the spellings.
#[track_caller]
fn is_nowhere(world: &World, ended: &Ended) {
    let mut places = Vec::new();
    let mut kept = Vec::new();
    files(&world.path("data"), &mut kept);
    for path in kept {
        places.push((path.display().to_string(), std::fs::read(&path).unwrap()));
    }
    let run = ended.view["run"].as_str().unwrap();
    for args in [
        &["status", "--json"][..],
        &["show", run, "--json"],
        &["show", run, "-vv"],
        &["logs", run],
        &["logs", run, "--json"],
        &["evidence", run],
        &["issue", "show", &ended.issue, "--json"],
    ] {
        let said = world.afk(args);
        places.push((args.join(" "), format!("{}{}", said.out, said.err).into_bytes()));
    }
    places.push(("origin".to_owned(), git(&world.origin(), &["log", "--all"]).into_bytes()));
    for (place, bytes) in &places {
        for canary in canaries() {
            if let Some(at) = bytes.windows(canary.len()).position(|part| part == canary.as_bytes())
            {
                let around = &bytes[at.saturating_sub(200)..(at + 200).min(bytes.len())];
                panic!("{canary} is in {place}: {}", String::from_utf8_lossy(around));
            }
        }
    }
    let logs = world.afk(&["logs", run, "--json"]).ended(0);
    assert!(logs.out.contains("KEY=**"), "the agent did not print: {}", logs.out);
}

#[test]
fn what_a_run_that_lands_printed_is_masked_everywhere() {
    let world = world();
    let prints = |test: &str| format!("{test}{PRINTS}");
    let vacuous = [
        run(&["sh", "-c", PRINTS]),
        write_step("tests/triple.sh", &prints(". ./lib.sh\n")),
        commit(&format!("Test triple with {}", KNOWN.concat()), &["tests/triple.sh"]),
        append("lib.sh", TRIPLE),
        commit("Triple numbers", &["lib.sh"]),
        say(&format!("Done with {} and {}", KNOWN.concat(), SHAPED.concat())),
    ];
    let mended = [
        run(&["sh", "-c", PRINTS]),
        write_step("tests/triple.sh", &format!("{PRINTS}{TEST_TRIPLE}")),
        commit("Test what triple says", &["tests/triple.sh"]),
    ];
    world.script(&[&vacuous, &mended]);
    let said = world.issue("Triple numbers");
    let mut command = world.command(&["run", &said, "--json", "-vv"]);
    command.env("NO_COLOR", "1");
    let worked = crate::support::finish(command).ended(0);
    for canary in canaries() {
        assert!(!worked.err.contains(&canary) && !worked.out.contains(&canary), "{}", worked.err);
    }
    let ended = world.ended(&worked, said);
    world.landed(&ended);
    assert_eq!(ended.view["attempts"], 2);
    is_nowhere(&world, &ended);
    let kept = world.path("data/evidence").join(ended.view["run"].as_str().unwrap());
    let bundle = kept.with_extension("json");
    world.afk(&["evidence", "verify", bundle.to_str().unwrap()]).ended(0);
}

#[test]
fn the_last_words_of_a_run_that_is_handed_over_are_masked() {
    let world = world();
    world.script(&[&[
        run(&["sh", "-c", PRINTS]),
        say(&format!("I cannot. For the record: {} {}", KNOWN.concat(), SHAPED.concat())),
    ]]);
    let ended = world.run(4);
    world.handed_over(&ended, &["For the record: ****"]);
    is_nowhere(&world, &ended);
}
