//! The guardrails on real commits: they judge everything that would be published, not only the end.

use serde_json::Value;

use crate::support::git;
use crate::world::{World, commit, delete, expect_prompt, honest, run, write_step};

/// A step of the agent: a shell script that must succeed.
fn sh(script: &str) -> Value {
    run(&["sh", "-ec", script])
}

/// A token, put together here, so that no file of ours contains what looks like a secret.
fn token() -> String {
    ["gh", "p_q7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0HjAbC12"].concat()
}

/// A world in which the agent's own commits land, by a merge.
fn merged() -> World {
    let mut world = World::new();
    world.set_repo("history", "merge");
    world
}

fn log(world: &World, format: &str) -> String {
    git(&world.origin(), &["log", &format!("--format={format}"), "main"])
}

#[test]
fn what_is_gone_in_the_next_commit_is_published_all_the_same() {
    let world = merged();
    let flow = ".github/workflows/x.yml";
    let mut work = vec![
        write_step("notes.txt", &format!("token {}\n", token())),
        write_step(flow, "on: push\n"),
        commit("Note", &["notes.txt", flow]),
        delete("notes.txt"),
        delete(flow),
        commit("Tidy", &["notes.txt", flow]),
    ];
    work.extend(honest());
    world.script(&[&work, &honest()]);
    let ended = world.run(4);
    let told = ["guardrail", "in commit ", "notes.txt holds what looks like", flow];
    world.handed_over(&ended, &told);
    world.nothing_landed();
    assert_eq!(ended.view["attempts"], 1, "no turn takes back what was written");
}

#[test]
fn a_merge_is_judged_by_what_it_has_of_its_own() {
    let honest_merge = "git checkout -q -b side HEAD~1; echo side > side.txt; git add side.txt; \
                        git commit -q -m 'Aside'; git checkout -q -; ";
    let world = merged();
    let mut work = honest();
    work.push(sh(&format!(
        "{honest_merge} git merge -q --no-ff -m 'Both' side; git branch -D side"
    )));
    world.script(&[&work]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(world.landed_file("side.txt"), "side");
    // A merge that adds what neither side has, taken back in the next commit.
    let world = merged();
    let mut work = honest();
    work.push(sh(&format!(
        "{honest_merge} git merge -q --no-ff --no-commit side; \
         printf 'token %s%s\\n' gh p_q7Zk2Wm9Xc4Vb8Nn3Ls6Pd1Rf5Tg0HjAbC12 > evil.txt; \
         git add evil.txt; git commit -q -m 'Both'; git rm -q evil.txt; git commit -q -m 'Tidy'; \
         git branch -D side"
    )));
    world.script(&[&work]);
    let ended = world.run(4);
    world.handed_over(&ended, &["in commit ", "evil.txt holds what looks like a GitHub token"]);
    world.nothing_landed();
}

#[test]
fn messages_that_are_kept_are_written_anew_once() {
    let world = merged();
    let mut closes = honest();
    closes[3] = commit("Triple numbers, closes #1", &["lib.sh"]);
    let mended = [
        expect_prompt("Write these messages anew"),
        sh("git commit -q --amend -m 'Triple numbers' -m 'Refs #1'"),
    ];
    world.script(&[&closes, &mended]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.view["attempts"], 2);
    assert!(!log(&world, "%B").contains("closes"));
}

#[test]
fn a_squash_says_nothing_that_does_something() {
    let world = World::new();
    let mut work = honest();
    work[3] = sh("git add lib.sh; git commit -q -m 'Triple numbers [skip ci]' -m 'Fixes #1' \
                  -m 'skip-checks: true' -m 'Reviewed-by: Ann <ann@x>'");
    world.script(&[&work]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.view["attempts"], 1, "no turn is spent on what we sanitise ourselves");
    let message = git(&world.origin(), &["log", "-1", "--format=%B", "main"]);
    assert!(
        message.starts_with("Triple numbers\n\n* Test triple\n\nRefs #1\n\nAFK-Run: "),
        "{message}"
    );
}

#[test]
fn the_author_is_who_the_operator_says() {
    let mut work = honest();
    let who = format!("-c user.name='Linus {}' -c user.email=l@x", token());
    work[3] = sh(&format!("git add lib.sh; git {who} commit -q -m 'Triple numbers'"));
    let mut world = World::new();
    world.set_repo("author", "The bot <bot@acme.io>");
    world.script(&[&work]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(
        git(&world.origin(), &["log", "-1", "--format=%an <%ae>", "main"]),
        "The bot <bot@acme.io>"
    );
    assert!(!log(&world, "%an %cn").contains("Linus"));
    // If the agent's commit itself would land, its author is judged.
    let world = merged();
    world.script(&[&work]);
    let ended = world.run(4);
    let told = "the author's name or address holds what looks like a GitHub token";
    world.handed_over(&ended, &["in commit ", told]);
    world.nothing_landed();
}

#[test]
fn a_header_in_another_encoding_is_not_published() {
    let world = merged();
    let mut work = honest();
    work[3] =
        sh("git add lib.sh; git -c i18n.commitEncoding=ISO-8859-1 commit -q -m 'Triple numbers'");
    world.script(&[&work]);
    let ended = world.run(4);
    world.handed_over(&ended, &["in commit ", "not UTF-8"]);
    world.nothing_landed();
}

#[test]
fn a_submodule_that_moves_is_a_breach() {
    let link = |id: char| format!("160000,{},m", id.to_string().repeat(40));
    let world = World::with(&[(
        ".gitmodules",
        "[submodule \"m\"]\n\tpath = m\n\turl = https://x.example/m\n",
    )]);
    let seed = world.path("seed");
    git(&seed, &["update-index", "--add", "--cacheinfo", &link('1')]);
    git(&seed, &["commit", "-q", "-m", "Link"]);
    git(&seed, &["push", "-q", world.origin().to_str().unwrap(), "main"]);
    let mut work = honest();
    work.push(sh(&format!("git update-index --cacheinfo {}; git commit -q -m Move", link('2'))));
    world.script(&[&work]);
    let ended = world.run(4);
    assert_eq!(ended.view["outcome"], "needs-human");
    let why = ended.view["why"].as_str().unwrap();
    assert!(why.contains("submodule"), "{why}");
    assert_eq!(git(&world.origin(), &["rev-list", "--count", "main"]), "2");
}

#[test]
fn a_lock_file_of_thousands_of_lines_lands_and_a_long_line_does_not() {
    let world = World::new();
    let lock = "  \"node_modules/x\": {},\n".repeat(2_100);
    let mut work = honest();
    work.insert(3, write_step("package-lock.json", &lock));
    work[4] = commit("Triple numbers", &["lib.sh", "package-lock.json"]);
    world.script(&[&work]);
    let ended = world.run(0);
    world.landed(&ended);
    let world = World::new();
    let mut work = honest();
    let make = "mkdir blob; for i in 1 2 3; do \
                head -c 900000 /dev/zero | tr '\\0' x > blob/$i.txt; done; git add blob; \
                git commit -q -m Blobs";
    work.push(sh(make));
    world.script(&[&work]);
    let ended = world.run(4);
    world.handed_over(&ended, &["guardrail", "lines, more than 2000"]);
    world.nothing_landed();
}

#[test]
fn settings_that_were_forced_in_are_read_as_such() {
    for (path, text, told) in [
        ("env/env.test", "DB_PASSWORD=Tr0ub4dor-and-3-horses\n", "a literal secret"),
        (".env", "DB=1\n", "is a file for credentials"),
        (
            "settings.ini",
            "url = \"postgres://app:p4Ssw0rd9xKq2@db.internal/app\"\n",
            "in an address",
        ),
        ("dist/app.js", "run();\n", "is new, and .gitignore says"),
    ] {
        let world = World::with(&[(".gitignore", "*.log\n/dist/\n")]);
        let mut work = honest();
        work.extend([
            write_step(path, text),
            sh(&format!("git add -f {path}; git commit -q -m Env")),
        ]);
        world.script(&[&work]);
        let ended = world.run(4);
        world.handed_over(&ended, &["guardrail", path, told]);
        world.nothing_landed();
    }
}
