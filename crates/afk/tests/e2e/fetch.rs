//! Packages that a tree needs from outside, with a real box and a real network: a command fetches
//! them without seeing code, they are kept by the files that it could read, and verify finds them.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{git, write};
use crate::world::{World, append, commit, strings, write_step};

/// The command that fetches: clones what `requirements.txt` names, and leaves files that must not
/// be kept.
const FETCH: &str = r#"set -e
[ ! -s lib.sh ] && [ ! -e linked ] || { echo "code is readable"; exit 3; }
[ -z "$(ls -A "$HOME")" ] || { echo "the home is not empty"; exit 3; }
while read -r name; do git clone -q "$name" "packages/${name##*/}"; done < requirements.txt
mkdir "$CARGO_HOME/registry"
touch "$CARGO_HOME/registry/kept"
echo 'build.rustc-wrapper = "true"' > "$CARGO_HOME/config.toml"
ln -s /etc escape
mkdir node_modules
touch node_modules/kept
"#;

/// The verify command: fails unless what was fetched is there, is read-only, and is all there is,
/// and unless it can write where Vite must, and no other run has.
const CHECK: &str = r#"set -e
[ -s lib.sh ] && [ -L linked ]
[ -e "$CARGO_HOME/registry/kept" ]
[ ! -e "$CARGO_HOME/config.toml" ]
[ ! -e escape ]
if touch packages/planted 2>/dev/null; then echo "packages can be written"; exit 1; fi
if touch node_modules/planted 2>/dev/null; then echo "node_modules can be written"; exit 1; fi
[ -e node_modules/kept ]
[ -z "$(ls -A node_modules/.vite-temp)" ]
touch node_modules/.vite-temp/planted
read -r first < requirements.txt
if git ls-remote "$first" 2>/dev/null; then echo "there is a network"; exit 1; fi
for t in tests/*.sh; do sh -e "$t"; done
"#;

/// Serves the repositories below `root` until the test ends.
fn serve(listener: TcpListener, root: &Path) {
    let base = format!("--base-path={}", root.display());
    let answer = move |stream: TcpStream| {
        let output = stream.try_clone().unwrap();
        let mut daemon = Command::new("git");
        daemon.args(["daemon", "--inetd", "--export-all", &base]).stderr(Stdio::null());
        daemon.stdin(OwnedFd::from(stream)).stdout(OwnedFd::from(output));
        daemon.status().unwrap();
    };
    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
}

/// Publishes a package whose script prints `text`.
fn publish(root: &Path, name: &str, text: &str) {
    let folder = root.join(name);
    write(&folder.join("say.sh"), &format!("echo {text}\n"));
    git(&folder, &["init", "-q"]);
    git(&folder, &["add", "--all"]);
    git(&folder, &["commit", "-q", "-m", "Say it"]);
}

/// A repository that needs the package `one`, and the address of its packages.
fn world(requires: &str) -> (World, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("git://{}", listener.local_addr().unwrap());
    let test = "[ \"$(sh packages/one/say.sh)\" = one ]\n";
    let mut world = World::with(&[
        ("fetch.sh", FETCH),
        ("test.sh", CHECK),
        ("tests/zero.sh", test),
        ("requirements.txt", &format!("{address}/{requires}\n")),
    ]);
    let packages = world.path("packages");
    publish(&packages, "one", "one");
    publish(&packages, "two", "two");
    serve(listener, &packages);
    let seed = world.path("seed");
    std::os::unix::fs::symlink("lib.sh", seed.join("linked")).unwrap();
    git(&seed, &["add", "--all"]);
    git(&seed, &["commit", "-q", "-m", "Link it"]);
    git(&seed, &["push", "-q", world.origin().to_str().unwrap(), "main"]);
    world.set_repo("proof.fetch", strings(&["sh", "fetch.sh"]));
    let ci = toml::toml! { name = "ci" command = ["true"] };
    world.set_repo("stages", toml::Value::Array(vec![ci.into()]));
    (world, address)
}

/// How many sets of packages are kept.
fn kept(world: &World) -> usize {
    let caches = std::fs::read_dir(world.path("data/work/caches")).unwrap();
    let fetched = caches.map(|repo| repo.unwrap().path().join("fetched"));
    fetched.map(|folder| std::fs::read_dir(folder).map_or(0, Iterator::count)).sum()
}

/// A change that uses another package, which `requirement` names.
fn uses_two(requirement: &str) -> Vec<Value> {
    vec![
        write_step("tests/two.sh", ". ./lib.sh\n[ \"$(two)\" = two ]\n"),
        commit("Test two", &["tests/two.sh"]),
        append("lib.sh", "two() { sh packages/two/say.sh; }\n"),
        append("requirements.txt", &format!("{requirement}\n")),
        commit("Say two", &["lib.sh", "requirements.txt"]),
    ]
}

#[test]
fn a_change_may_bring_a_package_and_finds_what_there_was() {
    let (world, address) = world("one");
    world.script(&[&uses_two(&format!("{address}/two"))]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.proof()["accepted"], "proven", "{}", ended.evidence["proof"]);
    assert_eq!(kept(&world), 2, "the base's, and the change's");

    world.script(&[&[
        write_step("tests/three.sh", ". ./lib.sh\n[ \"$(three)\" = twotwotwo ]\n"),
        commit("Test three", &["tests/three.sh"]),
        append("lib.sh", "three() { echo \"$(two)$(two)$(two)\"; }\n"),
        commit("Say three", &["lib.sh"]),
    ]]);
    world.landed(&world.run(0));
    assert_eq!(kept(&world), 2, "nothing of it was to be fetched");
    world.at_rest();
}

#[test]
fn the_agent_mends_what_cannot_be_fetched_for_its_change() {
    let (world, address) = world("one");
    let mends = [
        crate::world::expect_prompt("could not be fetched"),
        write_step("requirements.txt", &format!("{address}/one\n{address}/two\n")),
        commit("Name the package right", &["requirements.txt"]),
    ];
    world.script(&[&uses_two(&format!("{address}/tow")), &mends]);
    let ended = world.run(0);
    world.landed(&ended);
    assert_eq!(ended.view["attempts"], 2);
}

#[test]
fn a_base_for_which_nothing_can_be_fetched_costs_nothing() {
    let (world, _) = world("none");
    let issue = world.issue("Say two");
    let said = world.afk(&["run", &issue, "--json"]);
    let view = said.json();
    let why = view["why"].as_str().unwrap();
    assert!(why.contains("`sh fetch.sh` fails (exit code 128)"), "{why}");
    assert_eq!(view["attempts"], 0);
    world.at_rest();
}
