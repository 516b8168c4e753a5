//! A fleet: repositories with one project each, an agent that adds what its issue's
//! number says, gates that hold an agent in mid-turn, and `afk serve` over them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use afk_agent::agents::scripted::script::{Script, Step, Turn};
use afk_agent::sandbox::processes;
use serde_json::Value;

use crate::common::{BOUND, Bell, Control, git, sh, texts, until};

/// The agent's script: the test of its issue, then the code, each in a commit. It waits while a
/// gate holds its issue, and gives up if one says so. Uncommitted work is left over from a turn
/// that was killed, and is written anew.
const AGENT: &str = r#"
branch=$(git symbolic-ref --short HEAD); n=${branch#afk/}; n=${n%%-*}
me=@GATE@/$(cat NAME)-$n
while [ -e "$me.hold" ]; do sleep 0.05; done
[ ! -e "$me.give-up" ] || exit 0
if [ -e @GATE@/slow ]; then sleep "0.$(date +%N | cut -c1)"; fi
git reset -q --hard
if ! git cat-file -e "HEAD:tests/$n.sh" 2>/dev/null; then
  printf '. ./lib.sh\n[ "$(say_%s)" = %s ]\n' "$n" "$n" > "tests/$n.sh"
  git add "tests/$n.sh"; git commit -q -m "Test say_$n"
fi
if ! grep -q "^say_$n()" lib.sh; then
  printf 'say_%s() { echo %s; }\n' "$n" "$n" >> lib.sh
  git add lib.sh; git commit -q -m "Add say_$n"
fi
"#;

const TEST: &str =
    "failed=0\nfor t in tests/*.sh; do sh -e \"$t\" || failed=1; done\nexit $failed\n";

/// The fleet. Processes that are left when it is dropped are killed.
pub(crate) struct Fleet {
    dir: tempfile::TempDir,
    pub(crate) bell: Bell,
    repos: Vec<&'static str>,
}

impl Fleet {
    /// A fleet of these repositories (`o/<name>`), armed, with `capacity` runs at once.
    pub(crate) fn new(repos: &[&'static str], capacity: u32) -> Self {
        let dir = tempfile::Builder::new().prefix("afk-fleet-").tempdir().unwrap();
        let fleet = Self { dir, bell: Bell::start(), repos: repos.to_vec() };
        fs::create_dir_all(fleet.path("home")).unwrap();
        fs::create_dir_all(fleet.path("gate")).unwrap();
        for repo in repos {
            fleet.seed(repo);
        }
        let agent = AGENT.replace("@GATE@", &fleet.path("gate").to_string_lossy());
        let turn = || Turn { steps: vec![sh(&agent), usage()] };
        let script = Script { turns: (0..20).map(|_| turn()).collect() };
        fs::write(fleet.path("script.json"), serde_json::to_vec(&script).unwrap()).unwrap();
        fleet.configure(capacity, "");
        fleet
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn seed(&self, repo: &str) {
        let seed = self.path(&format!("seed-{repo}"));
        fs::create_dir_all(seed.join("tests")).unwrap();
        for (name, text) in [
            ("NAME", repo),
            ("lib.sh", "say_0() { echo 0; }\n"),
            ("tests/0.sh", ". ./lib.sh\n[ \"$(say_0)\" = 0 ]\n"),
            ("test.sh", TEST),
            ("ci.sh", "set -e\nsh -n lib.sh\nsh test.sh\n"),
        ] {
            fs::write(seed.join(name), text).unwrap();
        }
        let origin = format!("{repo}.git");
        git(self.dir.path(), &["init", "-q", "--bare", "--initial-branch=main", &origin]);
        git(&seed, &["init", "-q", "--initial-branch=main"]);
        git(&seed, &["add", "--all"]);
        git(&seed, &["commit", "-q", "-m", "Say nought"]);
        git(&seed, &["push", "-q", &self.path(&origin).to_string_lossy(), "main"]);
    }

    /// Writes the configuration; `broken` is appended as it is.
    pub(crate) fn configure(&self, capacity: u32, broken: &str) {
        let quoted = |path: PathBuf| toml::Value::String(path.to_string_lossy().into()).to_string();
        let names: Vec<String> = self.repos.iter().map(|repo| format!("\"o/{repo}\"")).collect();
        let mut text = format!(
            "kill_switch = false\nallowlist = [{}]\nmax_concurrent_runs = {capacity}\n\
             poll_seconds = 1\nbudget_usd = 5\n\
             executor_retries_max = 99\ndata_dir = {}\n\
             notify = [{{ kind = \"webhook\", url = {:?}, secret = {{ env = \"AFK_E2E_BELL\" }} }}]\n\
             [agents.scripted]\nscript = {}\n",
            names.join(", "),
            quoted(self.path("data")),
            self.bell.url(),
            quoted(self.path("script.json")),
        );
        for repo in &self.repos {
            let table = format!(
                "[repos.\"o/{repo}\"]\nremote = {}\nagent = \"scripted\"\nread = [{gate}]\n\
                 verify = [\"sh\", \"test.sh\"]\n\
                 stages = [{{ name = \"ci\", command = [\"sh\", \"ci.sh\"] }}]\n",
                quoted(self.path(&format!("{repo}.git"))),
                gate = quoted(self.path("gate")),
            );
            text.push_str(&table);
        }
        text.push_str(broken);
        // Renamed into place, so that the daemon never reads half a file.
        fs::write(self.path("afk.toml.new"), text).unwrap();
        fs::rename(self.path("afk.toml.new"), self.path("afk.toml")).unwrap();
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_afk"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("USER", "keeper")
            .env("AFK_CONFIG", self.path("afk.toml"))
            .env("AFK_E2E_BELL", "a secret of the doorbell")
            .current_dir(self.dir.path());
        command
    }

    /// Starts `afk serve`.
    pub(crate) fn serve(&self) -> Control {
        Control::start(self.command(&["serve", "--log-format", "json"]), &self.path("out"))
    }

    /// Runs `afk`, which must succeed, and returns its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = Control::start(self.command(args), &self.path("out")).wait(BOUND);
        let (out, err) = texts(&output);
        assert!(output.status.success(), "afk {args:?}: {}\n{out}\n{err}", output.status);
        out
    }

    /// Runs `afk` with `--json`, and returns its document, whatever its exit code; null if it
    /// printed none.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        let output = Control::start(self.command(&args), &self.path("out")).wait(BOUND);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Runs `afk`, and returns both streams of its output, whatever its exit code.
    pub(crate) fn told(&self, args: &[&str]) -> String {
        let output = Control::start(self.command(args), &self.path("out")).wait(BOUND);
        let (out, err) = texts(&output);
        format!("{out}\n{err}")
    }

    /// Runs `afk`, and returns its output if it does not succeed.
    pub(crate) fn fails(&self, args: &[&str]) -> Option<String> {
        let output = Control::start(self.command(args), &self.path("out")).wait(BOUND);
        let (out, err) = texts(&output);
        (!output.status.success()).then(|| format!("{out}\n{err}"))
    }

    /// Files an issue of a repository, with labels and a body.
    pub(crate) fn issue(&self, repo: &str, labels: &[&str], body: &str) {
        let repo = format!("o/{repo}");
        let mut args = vec!["issue", "new", &repo, "say one more", "--body", body];
        for label in labels {
            args.extend(["--label", label]);
        }
        self.ok(&args);
    }

    /// Holds the agent of an issue, such as `a#1`, in mid-turn.
    pub(crate) fn hold(&self, issue: &str) {
        fs::write(self.gate(issue, "hold"), "").unwrap();
    }

    pub(crate) fn let_go(&self, issue: &str) {
        fs::remove_file(self.gate(issue, "hold")).unwrap();
    }

    pub(crate) fn give_up(&self, issue: &str) {
        fs::write(self.gate(issue, "give-up"), "").unwrap();
    }

    /// Lets every agent take up to a second.
    pub(crate) fn slow_agent(&self) {
        fs::write(self.path("gate/slow"), "").unwrap();
    }

    /// The fleet's hosts: the process id, and the kind of the job.
    pub(crate) fn hosts(&self) -> Vec<(u32, String)> {
        let kind = |line: &str| {
            let (_, folder) = line.split_once(" host ")?;
            folder.trim().rsplit('/').next()?.split('.').next().map(str::to_owned)
        };
        self.table().into_iter().filter_map(|(pid, line)| Some((pid, kind(&line)?))).collect()
    }

    fn gate(&self, issue: &str, what: &str) -> PathBuf {
        self.path("gate").join(format!("{}.{what}", issue.replace('#', "-")))
    }

    /// The newest run on an issue, such as `a#1`; null if there is none.
    pub(crate) fn run(&self, issue: &str) -> Value {
        self.json(&["show", &format!("o/{issue}")])
    }

    /// The outcome of an issue's newest run, `live` while it has not settled, or `-` if there is
    /// none.
    pub(crate) fn outcome(&self, issue: &str) -> String {
        let run = self.run(issue);
        match (run["summary"]["settled"].as_bool(), run["summary"]["outcome"].as_str()) {
            (Some(true), Some(outcome)) => outcome.to_owned(),
            (Some(_), _) => "live".to_owned(),
            (None, _) => "-".to_owned(),
        }
    }

    /// Waits until the daemon has looked at the trackers and acted on what it saw. It writes a
    /// heartbeat before each look, so the look after the first new heartbeat is over at the second.
    pub(crate) fn looked(&self) {
        for _ in 0..2 {
            let noted = || self.json(&["status"])["looked_at"].as_str().map(str::to_owned);
            let before = noted();
            until("a look at the trackers", Duration::from_mins(1), || {
                (noted() != before).then_some(())
            });
        }
    }

    /// Waits until an issue's run came to `outcome`.
    pub(crate) fn until(&self, issue: &str, outcome: &str) {
        until(&format!("{issue} is {outcome}"), Duration::from_mins(2), || {
            (self.outcome(issue) == outcome).then_some(())
        });
    }

    /// The subjects on the default branch of a repository, newest first.
    pub(crate) fn landed(&self, repo: &str) -> Vec<String> {
        let log = git(&self.path(&format!("{repo}.git")), &["log", "--format=%s", "main"]);
        log.lines().map(str::to_owned).collect()
    }

    /// The command lines of processes that name the fleet's folder: agents, hosts, control planes,
    /// and what they started.
    pub(crate) fn processes(&self) -> Vec<String> {
        self.table().into_iter().map(|(_, line)| line).collect()
    }

    fn table(&self) -> Vec<(u32, String)> {
        let name = self.dir.path().to_string_lossy().into_owned();
        let mut found = Vec::new();
        for (pid, process) in processes::all() {
            if process.zombie || pid.unsigned_abs() == std::process::id() {
                continue;
            }
            let proc = PathBuf::from(format!("/proc/{pid}"));
            let read = |file: &str| {
                let bytes = fs::read(proc.join(file)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let line = read("cmdline");
            let cwd = fs::read_link(proc.join("cwd")).unwrap_or_default();
            if [&line, &read("environ"), &*cwd.to_string_lossy()].iter().any(|t| t.contains(&name))
            {
                found.push((pid.unsigned_abs(), line));
            }
        }
        found
    }
}

fn usage() -> Step {
    Step::Usage { input_tokens: 10, output_tokens: 5, cost: 0.01 }
}

/// The dispatch order that a table says, by admission.
pub(crate) fn by_admission(runs: &[(String, Value)]) -> Vec<String> {
    let mut begun: Vec<(&str, &str)> = runs
        .iter()
        .filter_map(|(issue, run)| Some((run["run"]["admitted_at"].as_str()?, issue.as_str())))
        .collect();
    begun.sort_unstable();
    begun.into_iter().map(|(_, issue)| issue.to_owned()).collect()
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::env::var_os("AFK_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            println!("kept: {}", self.dir.path().display());
        }
        // Control planes end with their handles; hosts and their jobs end here.
        let _ = self.command(&["halt", "--why", "the test is over"]).output();
    }
}
