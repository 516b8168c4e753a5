//! The sample project and the demo's issues: texts, files and scripts only. Tests also use them,
//! for the same scenarios on trackers of their own.
//!
//! The project needs only `sh` and git. Its tests are separate files, so that the proof can tell
//! them from the code by path.

use afk_agent::agents::scripted::script::{Script, Step, Turn};

use super::Scenario;

/// How long the agent pauses, in milliseconds, when the control plane is to be killed in mid-turn.
pub const THINKING_MS: u64 = 2500;
/// That pause on a forge, in milliseconds: longer, because the loop writes to the issue at most
/// once a second.
pub const THINKING_ON_FORGE_MS: u64 = 8000;

/// The name of the sample's repository.
pub const REPO: &str = "demo/hello";

/// The files of the first commit: path, content, executable.
pub const FILES: [(&str, &str, bool); 5] = [
    (
        "README.md",
        "# hello\n\nGreets people. `sh test.sh` runs the tests, `sh ci.sh` what CI runs.\n",
        false,
    ),
    ("hello.sh", HELLO, false),
    ("tests/greet_by_name.sh", TEST_BY_NAME, false),
    ("test.sh", TEST_RUNNER, true),
    ("ci.sh", CI, true),
];

const HELLO: &str = r#"# Greetings. Source this file, then call `greet NAME`.

greet() {
    printf 'Hello, %s!\n' "$1"
}
"#;

const FIXED_HELLO: &str = r#"# Greetings. Source this file, then call `greet [NAME]`.

greet() {
    printf 'Hello, %s!\n' "${1:-world}"
}
"#;

const TEST_BY_NAME: &str = r#". ./hello.sh
[ "$(greet Ada)" = "Hello, Ada!" ]
"#;

const TEST_NOBODY: &str = r#". ./hello.sh
[ "$(greet)" = "Hello, world!" ]
"#;

const TEST_RUNNER: &str = r#"#!/bin/sh
# Runs every file of tests/ in a shell of its own; fails if one fails.
failed=0
for test in tests/*.sh; do
    if sh -e "$test"; then
        echo "ok   $test"
    else
        echo "FAIL $test"
        failed=1
    fi
done
exit "$failed"
"#;

const CI: &str = r#"#!/bin/sh
# What CI runs on every landed commit.
set -e
sh -n hello.sh
if grep -n '[[:blank:]]$' hello.sh; then
    echo "hello.sh has blanks at the end of a line"
    exit 1
fi
sh test.sh
"#;

/// The issue's title.
pub const TITLE: &str = "greet without a name prints an empty greeting";

/// The issue's body.
pub const BODY: &str = "\
`greet` without a name prints `Hello, !`.

It should greet the world: `Hello, world!`. A name that is given is greeted as before.
";

/// The body of an issue that is blocked by issue `blocker`.
pub fn blocked_body(blocker: u64) -> String {
    format!("{BODY}\nBlocked by #{blocker}.\n")
}

/// The title of the issue that blocks.
pub const BLOCKER_TITLE: &str = "decide which languages hello speaks";

/// The title of the second issue, in scenarios that have one.
pub const NEXT_TITLE: &str = "say goodbye, too";

/// The body of the second issue.
pub const NEXT_BODY: &str = "\
`part NAME` should print `Goodbye, NAME!`, in the same style as `greet`.
";

const TEST_PART: &str = r#". ./hello.sh
[ "$(part Ada)" = "Goodbye, Ada!" ]
"#;

const PART: &str = r#"
# Partings: `part NAME`.
part() {
    printf 'Goodbye, %s!\n' "$1"
}
"#;

/// Lines of the configuration that only this scenario needs.
pub fn bounds(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Frozen => {
            "# Two fix-forwards instead of five, to come to the end soon.\nfix_forward_max_attempts = 2\n"
        }
        Scenario::Success
        | Scenario::Tested
        | Scenario::CiRed
        | Scenario::Restart
        | Scenario::NeedsHuman
        | Scenario::Guardrail
        | Scenario::Blocked
        | Scenario::Untrusted => "",
    }
}

/// Lines of the repository's table: how a change lands, and which stages it must pass.
pub fn landing(scenario: Scenario) -> &'static str {
    match scenario {
        Scenario::Tested => concat!(
            "landing = \"tested\"\n",
            "stages = [{ name = \"ci\", command = [\"sh\", \"ci.sh\"], before_landing = true }]",
        ),
        Scenario::Success
        | Scenario::CiRed
        | Scenario::Frozen
        | Scenario::Restart
        | Scenario::NeedsHuman
        | Scenario::Guardrail
        | Scenario::Blocked
        | Scenario::Untrusted => "stages = [{ name = \"ci\", command = [\"sh\", \"ci.sh\"] }]",
    }
}

/// The scripted agent's script for a scenario; it pauses for `thinking_ms` where it pauses at all.
pub fn script(scenario: Scenario, thinking_ms: u64) -> Script {
    let turns = match scenario {
        Scenario::Success | Scenario::Blocked | Scenario::Untrusted => vec![work()],
        Scenario::CiRed | Scenario::Tested => {
            vec![work_with(&blanks_after(3), vec![]), fix(FIXED_HELLO)]
        }
        Scenario::Frozen => {
            let fixes = [1, 0].map(|line| fix(&blanks_after(line)));
            std::iter::once(work_with(&blanks_after(3), vec![])).chain(fixes).collect()
        }
        Scenario::Restart => {
            let thinking = Step::Wait { until_file: None, ms: Some(thinking_ms) };
            vec![work_with(FIXED_HELLO, vec![say("I think for a while."), thinking])]
        }
        Scenario::NeedsHuman => vec![vec![say(
            "The issue does not say which greeting is wanted in languages other than English, \
             and the README promises all of them. I stop here for a person to decide.",
        )]],
        Scenario::Guardrail => {
            let mut steps = work();
            steps.push(say("CI is slow; I switch its tests off."));
            steps.push(write("ci.sh", "#!/bin/sh\nexit 0\n"));
            steps.push(commit("Speed CI up", "It ran the tests twice.", &["ci.sh"]));
            vec![steps]
        }
    };
    Script { turns: turns.into_iter().map(|steps| Turn { steps }).collect() }
}

/// The script for the second issue, once the freeze is lifted; none in scenarios without one.
pub fn next_script(scenario: Scenario) -> Option<Script> {
    (scenario == Scenario::Frozen).then(|| {
        let steps = vec![
            write("tests/part.sh", TEST_PART),
            run(1),
            commit("Test a goodbye", "There is none yet.", &["tests/part.sh"]),
            write("hello.sh", &format!("{FIXED_HELLO}{PART}")),
            run(0),
            commit(
                "Say goodbye",
                "As the issue asks; blanks that CI refuses go on the way.",
                &["hello.sh"],
            ),
        ];
        Script { turns: vec![Turn { steps }] }
    })
}

/// The fixed code with blanks at the end of one line: tests pass, CI does not.
fn blanks_after(line: usize) -> String {
    let blanks = |n| if n == line { "  " } else { "" };
    FIXED_HELLO.lines().enumerate().flat_map(|(n, text)| [text, blanks(n), "\n"]).collect()
}

/// A corrective turn that writes `hello`. It fails unless its prompt contains what CI printed.
fn fix(hello: &str) -> Vec<Step> {
    vec![
        Step::ExpectPrompt { contains: "blanks at the end of a line".to_owned() },
        say("CI refuses blanks at the end of a line; I take them out."),
        write("hello.sh", hello),
        run(0),
        commit(
            "Take out blanks at the end of a line",
            "CI refuses them; the tests do not look.",
            &["hello.sh"],
        ),
    ]
}

/// The regular work: a failing test in its own commit, then the least code that makes it pass.
fn work() -> Vec<Step> {
    work_with(FIXED_HELLO, vec![])
}

/// The regular work with the code `hello`, and with the steps `between` before it is written.
fn work_with(hello: &str, between: Vec<Step>) -> Vec<Step> {
    let mut steps = vec![
        say("I write a test for a greeting without a name first."),
        write("tests/greet_nobody.sh", TEST_NOBODY),
        run(1),
        commit(
            "Test a greeting without a name",
            "It should greet the world; today it prints an empty name.",
            &["tests/greet_nobody.sh"],
        ),
    ];
    steps.extend(between);
    steps.extend([
        say("It fails, as it should. Now the least code that makes it pass."),
        write("hello.sh", hello),
        run(0),
        commit(
            "Greet the world when no name is given",
            "An empty name made an empty greeting.",
            &["hello.sh"],
        ),
        Step::Usage { input_tokens: 5200, output_tokens: 640, cost: 0.0 },
        say("The test passes, and so do the others."),
    ]);
    steps
}

fn say(text: &str) -> Step {
    Step::Say { text: text.to_owned() }
}

fn write(path: &str, content: &str) -> Step {
    Step::Write { path: path.into(), content: content.to_owned() }
}

fn run(expect: i32) -> Step {
    let argv = vec!["sh".to_owned(), "test.sh".to_owned()];
    Step::Run { argv, expect: Some(expect), timeout_ms: None }
}

fn commit(subject: &str, body: &str, paths: &[&str]) -> Step {
    Step::Commit {
        subject: subject.to_owned(),
        body: body.to_owned(),
        paths: paths.iter().map(Into::into).collect(),
    }
}
