//! A new user's first hour: small repositories from `afk init` to a landed issue in three commands,
//! and what is said about mistakes on the way.
//!
//! Git, the sandbox and the languages' own tools are real; only the agent follows a script.
//! `cargo xtask walk` runs everything; otherwise projects that download packages are left out.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]
#![allow(clippy::print_stderr, reason = "the walk prints its table")]

mod faults;
mod machine;
mod mistakes;
mod projects;

use machine::Machine;
use projects::Project;

/// The variable that `cargo xtask walk` sets.
const ALL: &str = "AFK_WALK";

/// Goes from a clone to a landed issue, in three commands and without editing a file.
fn walk(project: &Project) {
    if let Some(why) = cannot(project) {
        assert!(std::env::var_os("CI").is_none() || project.downloads, "{}: {why}", project.name);
        eprintln!("SKIP {}: {why}", project.name);
        return;
    }
    let wants_go = project.name == "go" && machine::on_path("go").is_none();
    let tools = wants_go.then(|| afk_stand_ins::go::for_test("a_go_project"));
    if tools == Some(None) {
        return;
    }
    let begun = std::time::Instant::now();
    let machine = Machine::with_tools(tools.flatten());
    let clone = machine.clone_of(project);
    let script = machine.script(project);
    let before = machine.landed(project.name);

    let commands: [&[&str]; 3] = [
        &["init", "--script", script.to_str().unwrap()],
        &["issue", "new", "It should be right in every case", "--ready"],
        &["run", "1"],
    ];
    for args in commands {
        let said = machine.afk(&clone, args);
        assert_eq!(said.code, 0, "{}: afk {args:?}: {}", project.name, said.all());
    }
    let after = machine.landed(project.name);
    assert_eq!(after.len(), before.len() + 1, "{}: one commit landed", project.name);
    assert_eq!(machine.landed_file(project.name, project.code.0), project.code.1);
    // Everything is sound, so the doctor says only that.
    let said = machine.afk(&clone, &["doctor"]);
    assert_eq!((said.code, said.out.lines().count()), (0, 1), "{}", said.all());
    eprintln!(
        "{:<14} landed  {} commands  {:.1} s",
        project.name,
        commands.len(),
        begun.elapsed().as_secs_f64()
    );
}

/// Why the project cannot be tried here.
fn cannot(project: &Project) -> Option<String> {
    if project.downloads && std::env::var_os(ALL).is_none() {
        return Some("downloads packages: `cargo xtask walk`".to_owned());
    }
    let missing = |program: &&&str| machine::on_path(program).is_none();
    let program = project.needs.iter().find(missing)?;
    Some(format!("{program} is not installed"))
}

macro_rules! walks {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                walk(projects::ALL.iter().find(|project| project.name == $name).unwrap());
            }
        )*
    };
}

walks! {
    a_shell_project: "sh",
    a_make_project: "make",
    a_python_project_with_unittest: "unittest",
    a_python_project_with_pytest: "pytest",
    an_npm_project: "npm",
    an_npm_project_with_packages: "npm-packages",
    a_cargo_project: "cargo",
    a_go_project: "go",
    a_monorepo: "monorepo",
}

#[test]
fn a_second_repository_is_enrolled_in_its_clone() {
    let machine = Machine::new();
    let [first, second] = ["sh", "unittest"]
        .map(|name| projects::ALL.iter().find(|project| project.name == name).unwrap());
    let clone = machine.clone_of(first);
    let script = machine.script(first);
    machine.ok(&clone, &["init", "--script", script.to_str().unwrap()]);

    let clone = machine.clone_of(second);
    let script = machine.script(second);
    let said = machine.afk(&clone, &["init"]);
    assert_eq!(said.code, 2, "{}", said.all());
    assert!(said.err.trim_end().ends_with("    afk enroll"), "{}", said.err);
    machine.ok(&clone, &["enroll", "--script", script.to_str().unwrap()]);
    machine.ok(&clone, &["issue", "new", "you/unittest", "Centuries", "--ready"]);
    machine.ok(&clone, &["run", "1"]);
    assert_eq!(machine.landed(second.name).len(), 2);
    // Both follow scripts of their own.
    let listed = machine.ok(&clone, &["config", "check"]);
    assert!(listed.contains("2 repositories configured, 1 enrolled"), "{listed}");
}
