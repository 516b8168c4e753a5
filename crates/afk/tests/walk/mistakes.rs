//! What is said of mistakes: forty that are typed or written, and the faults that `afk doctor` must
//! find. The answers are kept as snapshots, which a person has read: what happened, to what, and
//! how to mend it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::machine::{Machine, Said, put};
use crate::projects;

/// A sound repository: it has tests, and they pass.
const SOUND: [(&str, &str); 2] =
    [("test.sh", "#!/bin/sh\nset -e\n. tests/one.sh\n"), ("tests/one.sh", "true\n")];

/// The answers to what was typed.
struct Told<'a> {
    machine: &'a Machine,
    text: String,
}

impl<'a> Told<'a> {
    fn new(machine: &'a Machine) -> Self {
        Self { machine, text: String::new() }
    }

    fn hear(&mut self, mistake: &str, dir: &Path, args: &[&str]) {
        let said = self.machine.afk(dir, args);
        self.add(mistake, &format!("$ afk {}\n", shown(args)), &said);
    }

    fn add(&mut self, mistake: &str, typed: &str, said: &Said) {
        let plain = |text: &str| self.machine.plain(text).trim_end().to_owned();
        let parts = [plain(&said.out), plain(&said.err)];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let (typed, answer) = (self.machine.plain(typed), parts.join("\n"));
        let _ = write!(self.text, "# {mistake}\n{typed}{answer}\n[exit code {}]\n\n", said.code);
    }
}

fn shown(args: &[&str]) -> String {
    let quoted = |word: &&str| {
        if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() }
    };
    args.iter().map(quoted).collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_typed_wrongly_is_answered_with_what_would_be_right() {
    let machine = Machine::new();
    let nowhere = machine.path("src");
    let sound = machine.clone_with("sound", &SOUND);
    let mut told = Told::new(&machine);
    let told = &mut told;

    told.hear("init outside a clone", &nowhere, &["init", "--verify", "make test"]);
    told.hear("enroll outside a clone", &nowhere, &["enroll"]);
    told.hear("issue new outside a clone", &nowhere, &["issue", "new", "Add a door"]);
    told.hear("a number outside a clone", &nowhere, &["run", "7"]);
    let local = machine.path("src/local");
    std::fs::create_dir(&local).unwrap();
    machine.git(&local, &["init", "-q"]);
    put(&local.join("test.sh"), "true\n");
    told.hear("enroll without a remote", &local, &["enroll"]);
    let bare = machine.clone_with("untested", &[("README.md", "# Nothing yet\n")]);
    told.hear("enroll without tests", &bare, &["enroll"]);
    told.hear("a repository that is nowhere", &nowhere, &["enroll", "you/none"]);
    told.hear("run without a configuration", &sound, &["run", "1"]);
    told.hear("verify as a shell line", &sound, &["enroll", "--verify", "make test && make lint"]);
    told.hear("verify as an open list", &sound, &["enroll", "--verify", "[\"make\""]);
    told.hear("an agent that is not there", &sound, &["enroll", "--agent", "claud"]);
    told.hear("a folder that is not there", &sound, &["enroll", "--read", "/nowhere/rust"]);
    told.hear("a script that is not there", &sound, &["enroll", "--script", "/nowhere/x.json"]);
    told.hear("a remote with a password", &sound, &["enroll", "--remote", "https://u:p@h/o/r"]);

    let tree = machine.path("src/tree");
    machine.git(&nowhere, &["clone", "-q", sound.to_str().unwrap(), "tree"]);
    told.hear("a remote that is checked out", &tree, &["enroll"]);
    let lfs = [&SOUND[..], &[(".gitattributes", "*.png filter=lfs\n")]].concat();
    told.hear("a repository with LFS", &machine.clone_with("lfs", &lfs), &["enroll"]);
    let modules = [&SOUND[..], &[(".gitmodules", "[submodule \"a\"]\n")]].concat();
    told.hear("submodules", &machine.clone_with("modules", &modules), &["enroll"]);
    let deep = machine.clone_with("deep", &SOUND);
    machine.git(&deep, &["commit", "-q", "--allow-empty", "-m", "More"]);
    machine.git(&deep, &["push", "-q"]);
    let (from, to) = (machine.path("srv/you/deep.git"), machine.path("srv/you/shallow.git"));
    let from = format!("file://{}", from.display());
    let to = to.to_str().unwrap().to_owned();
    machine.git(&nowhere, &["clone", "-q", "--bare", "--depth=1", &from, &to]);
    let given = ["enroll", "you/shallow", "--remote", &to, "--verify", "sh test.sh"];
    told.hear("a shallow remote", &nowhere, &given);

    told.hear("(the right way)", &sound, &["enroll"]);
    // Whatever this machine has: no agent's program can be found.
    let config = machine.path("home/.config/afk/config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    put(&config, &format!("{text}\n[agents.claude]\nprogram = \"/nowhere/claude\"\n"));
    told.hear("init where there is a file", &sound, &["init"]);
    told.hear("options for what is configured", &sound, &["enroll", "--ci", "true"]);
    told.hear("an issue that is not there", &sound, &["run", "9"]);
    told.hear("an issue without a title", &sound, &["issue", "new"]);
    told.hear("a blank title", &sound, &["issue", "new", " "]);
    told.hear("a label with a comma", &sound, &["issue", "new", "Add a door", "--label", "a,b"]);
    machine.ok(&sound, &["issue", "new", "Add a door"]);
    told.hear("an issue that was not released", &sound, &["explain", "1"]);
    told.hear("a run that is not there", &sound, &["show", "1"]);
    told.hear("a run that was never begun", &sound, &["retry", "1"]);
    told.hear("half a name", &sound, &["show", "zz"]);
    told.hear("a budget in words", &sound, &["budget", "1", "much"]);
    told.hear(
        "a time in words",
        &sound,
        &["presence", "claim", "x", "--purpose", "y", "--ttl", "soon"],
    );
    told.hear("a command that is not there", &sound, &["stats"]);
    told.hear("no agent's program", &sound, &["run", "1"]);
    insta::assert_snapshot!(told.text);
}

#[test]
fn what_is_written_wrongly_is_named_with_its_place() {
    let machine = Machine::new();
    let here = machine.path("src");
    let head = "[repos.\"you/web\"]\nremote = \"/srv/web.git\"\nverify = [\"sh\", \"test.sh\"]\n";
    let ci = "stages = [{ name = \"ci\", command = [\"sh\", \"ci.sh\"] }]\n";
    let repo = |keys: &str| format!("{head}{ci}{keys}");
    let mut told = Told::new(&machine);
    for (mistake, text) in [
        ("a key that is spelled wrongly", "kil_switch = true\n".to_owned()),
        ("a number in words", "budget_usd = \"much\"\n".to_owned()),
        ("a negative number", "max_concurrent_runs = -1\n".to_owned()),
        ("no TOML", "kill_switch = \n".to_owned()),
        ("a key twice", "shadow = true\nshadow = false\n".to_owned()),
        (
            "verify as a line",
            format!("{}{ci}", head.replace("[\"sh\", \"test.sh\"]", "\"sh test.sh\"")),
        ),
        ("no stages", head.to_owned()),
        ("an empty command", repo("hooks = { before_run = [] }\n")),
        ("an agent that is not there", repo("agent = \"claud\"\n")),
        ("a tracker that is not there", repo("tracker = \"jira\"\n")),
        ("a way to land that is not there", repo("landing = \"merge-queue\"\n")),
        (
            "a stage of an unknown kind",
            format!("{head}stages = [{{ name = \"ci\", kind = \"travis\" }}]\n"),
        ),
        ("tested without a stage for it", repo("landing = \"tested\"\n")),
        ("a relative remote", repo("").replace("/srv/web.git", "../web.git")),
        (
            "a key where its source belongs",
            "[agents.claude]\napi_key = \"sk-ant-s3cret\"\n".to_owned(),
        ),
        ("a repository without a table", "allowlist = [\"you/web\"]\n".to_owned()),
        ("no script", repo("agent = \"scripted\"\n")),
        ("a script for another agent", repo("script = \"/srv/x.json\"\n")),
        ("a pattern that does not close", repo("proof.tests = [\"tests/{a,b\"]\n")),
        ("a bell of an unknown kind", "notify = [{ kind = \"email\" }]\n".to_owned()),
        ("a time limit with a unit", "run_timeout_seconds = \"2h\"\n".to_owned()),
    ] {
        let file = machine.path("src/afk.toml");
        put(&file, &text);
        let said = machine.afk(&here, &["config", "check"]);
        assert!(!said.all().contains("s3cret"), "{}", said.all());
        told.add(mistake, &text, &said);
    }
    insta::assert_snapshot!(told.text);
}

/// A fault, and how it comes about: keys of the configuration that are set.
type Fault<'a> = (&'a str, Vec<(&'a str, toml::Value)>);

#[test]
#[expect(clippy::too_many_lines, reason = "most of it is the list of faults")]
fn the_doctor_names_each_fault_with_its_cure() {
    let machine = Machine::new();
    let sound = machine.clone_with("sound", &SOUND);
    let project = &projects::ALL[0];
    let script = machine.script(project);
    machine.ok(&sound, &["init", "--script", script.to_str().unwrap()]);
    let config = machine.path("home/.config/afk/config.toml");
    let whole: toml::Table = std::fs::read_to_string(&config).unwrap().parse().unwrap();

    let words = |words: &[&str]| -> toml::Value {
        words.iter().map(|word| toml::Value::from(*word)).collect::<Vec<_>>().into()
    };
    let remote = |name: &str, files: &[(&str, &str)]| -> toml::Value {
        machine.clone_with(name, files);
        machine.path(&format!("srv/you/{name}.git")).to_str().unwrap().into()
    };
    let with = |more: &[(&str, &str)]| {
        let more: Vec<(String, String)> =
            more.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        let sound = SOUND.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        sound.chain(more).collect::<Vec<_>>()
    };
    let made = |name: &str, more: &[(&str, &str)]| {
        let files = with(more);
        let files: Vec<(&str, &str)> =
            files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        remote(name, &files)
    };
    let home = machine.path("home").to_str().unwrap().to_owned();
    let empty = machine.path("srv/you/empty.git");
    machine.git(&machine.path("src"), &["init", "-q", "--bare", empty.to_str().unwrap()]);
    let ci = |command: &[&str]| {
        let mut stage = toml::Table::new();
        stage.insert("name".to_owned(), "ci".into());
        stage.insert("command".to_owned(), words(command));
        toml::Value::Array(vec![stage.into()])
    };

    let faults: Vec<Fault<'_>> = vec![
        ("nothing", vec![]),
        ("a remote that is not there", vec![("repos.you/sound.remote", "/nowhere/web.git".into())]),
        (
            "a remote without a commit",
            vec![("repos.you/sound.remote", empty.to_str().unwrap().into())],
        ),
        (
            "a remote that is checked out",
            vec![("repos.you/sound.remote", sound.to_str().unwrap().into())],
        ),
        (
            "LFS",
            vec![(
                "repos.you/sound.remote",
                made("lfs", &[(".gitattributes", "*.png filter=lfs\n")]),
            )],
        ),
        (
            "git-crypt",
            vec![(
                "repos.you/sound.remote",
                made("crypt", &[(".gitattributes", "k filter=git-crypt\n")]),
            )],
        ),
        (
            "submodules",
            vec![(
                "repos.you/sound.remote",
                made("modules", &[(".gitmodules", "[submodule \"a\"]\n")]),
            )],
        ),
        (
            "tests that fail",
            vec![(
                "repos.you/sound.remote",
                made("red", &[("tests/one.sh", "echo 'one is not two' >&2; false\n")]),
            )],
        ),
        (
            "tests that hang",
            vec![
                ("repos.you/sound.verify", words(&["sh", "-c", "sleep 600"])),
                ("repos.you/sound.verify_timeout_seconds", 1.into()),
            ],
        ),
        ("no tests at all", vec![("repos.you/sound.verify", "none".into())]),
        (
            "a script that is not committed",
            vec![("repos.you/sound.verify", words(&["./run-tests.sh"]))],
        ),
        ("a script that may not be run", vec![("repos.you/sound.verify", words(&["./test.sh"]))]),
        (
            "a script for the shell that is not there",
            vec![("repos.you/sound.stages", ci(&["sh", "ci.sh"]))],
        ),
        (
            "a program that is not there",
            vec![("repos.you/sound.verify", words(&["no-such-program"]))],
        ),
        ("a home in read", vec![("repos.you/sound.read", words(&[&home]))]),
        ("a relative folder in read", vec![("repos.you/sound.read", words(&["toolchain"]))]),
        ("a missing folder in read", vec![("repos.you/sound.read", words(&["/nowhere/rust"]))]),
        ("the whole machine in read", vec![("repos.you/sound.read", words(&["/"]))]),
        ("no budget", vec![("budget_usd", 0.into())]),
        ("a day's budget below a run's", vec![("day_budget_usd", 1.into())]),
        ("no run at once", vec![("max_concurrent_runs", 0.into())]),
        ("no time for a run", vec![("run_timeout_seconds", 0.into())]),
        ("no time for verify", vec![("repos.you/sound.verify_timeout_seconds", 0.into())]),
        ("no time for a stage", vec![("stage_timeout_seconds", 0.into())]),
        ("a script that is gone", vec![("repos.you/sound.script", "/nowhere/script.json".into())]),
        (
            "no Claude CLI",
            vec![
                ("repos.you/sound.agent", "claude".into()),
                ("agents.claude.program", "/nowhere/claude".into()),
            ],
        ),
        (
            "no Codex",
            vec![
                ("repos.you/sound.agent", "codex".into()),
                ("agents.codex.program", "/nowhere/codex".into()),
            ],
        ),
        (
            "a key for evidence that is not there",
            vec![("evidence_key.file", "/nowhere/key.pem".into())],
        ),
        (
            "a policy with an unknown key",
            vec![(
                "repos.you/sound.remote",
                made("policy", &[(".afk/WORKFLOW.md", "+++\nbugdet_usd = 1\n+++\n")]),
            )],
        ),
        (
            "a policy that loosens",
            vec![(
                "repos.you/sound.remote",
                made("loose", &[(".afk/WORKFLOW.md", "+++\nbudget_usd = 1000\n+++\n")]),
            )],
        ),
        ("an unknown key", vec![("kil_switch", true.into())]),
    ];
    let run = |(fault, keys): &Fault<'_>| -> (String, String, Said) {
        let mut table = whole.clone();
        let mut typed = String::new();
        for (key, value) in keys {
            let _ = writeln!(typed, "{key} = {value}");
            if *key == "repos.you/sound.agent" {
                // Only the scripted agent follows one.
                table["repos"]["you/sound"].as_table_mut().unwrap().remove("script");
            }
            set(&mut table, key, value.clone());
        }
        let name: String = fault.chars().filter(char::is_ascii_alphanumeric).collect();
        let file: PathBuf = machine.path(&format!("{name}.toml"));
        // Each has a store of its own, because they are examined side by side.
        let data = machine.path(&format!("data/{name}"));
        table.insert("data_dir".to_owned(), data.to_str().unwrap().into());
        put(&file, &toml::to_string(&table).unwrap());
        let args = ["--config", file.to_str().unwrap(), "doctor"];
        ((*fault).to_owned(), typed, machine.afk(&machine.path("src"), &args))
    };
    // Side by side, because each waits for its boxes.
    let answers: Vec<_> = std::thread::scope(|scope| {
        let chunks = faults.chunks(faults.len().div_ceil(4));
        let threads: Vec<_> = chunks
            .map(|chunk| scope.spawn(move || chunk.iter().map(run).collect::<Vec<_>>()))
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let mut told = Told::new(&machine);
    for (fault, typed, said) in &answers {
        let is_sound = fault == "nothing";
        assert_eq!(
            said.code == 0 && said.out.lines().count() == 1,
            is_sound,
            "{fault}: {}",
            said.all()
        );
        told.add(fault, typed, said);
    }
    insta::assert_snapshot!(told.text);
}

/// Sets a key by its dotted path.
fn set(table: &mut toml::Table, key: &str, value: toml::Value) {
    match key.split_once('.') {
        None => drop(table.insert(key.to_owned(), value)),
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| toml::Table::new().into());
            set(inner.as_table_mut().unwrap(), rest, value);
        }
    }
}
