//! Sets up a repository, a configuration and an agent's script in a folder of their own, and has
//! `afk` work an issue there.
//!
//! The result is read from outside: what `afk run` prints, the evidence that was kept, and the
//! default branch itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};

use super::change::Files;
use super::kind::Kind;

/// The repository's name.
const REPO: &str = "o/r";
/// Time limit of one command of `afk`.
const BOUND: Duration = Duration::from_mins(20);

/// A folder with everything that one run needs.
pub(crate) struct World {
    folder: PathBuf,
    afk: PathBuf,
    keep: bool,
    repo: &'static str,
    /// The folder with the evidence, from the world's folder.
    evidence: &'static str,
}

/// The result of a run.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    /// The run's outcome: `done`, `needs-human`, `frozen`.
    pub(crate) outcome: String,
    pub(crate) attempts: u64,
    pub(crate) why: String,
    /// The strength of an accepted proof.
    pub(crate) strength: Option<String>,
    /// Why the proof, or a guardrail before it, refused the change.
    pub(crate) refusal: Option<String>,
    /// How many commits the run added to the default branch.
    pub(crate) commits: usize,
    /// The evidence bundle that was kept; null if there is none.
    pub(crate) evidence: Value,
}

impl World {
    /// Makes a new repository of `kind` with `files`; `proof` has the keys of its table for proofs.
    pub(crate) fn new(
        folder: PathBuf,
        afk: &Path,
        keep: bool,
        (kind, files): (Kind, &Files),
        proof: &str,
    ) -> anyhow::Result<Self> {
        let verify: Vec<&str> = kind.verify().to_vec();
        Self::with_verify(folder, afk, keep, (&verify, &kind.read(), files), proof)
    }

    /// The same with another `verify` command, and other folders that the sandbox shows.
    pub(crate) fn with_verify(
        folder: PathBuf,
        afk: &Path,
        keep: bool,
        (verify, read, files): (&[&str], &[String], &Files),
        proof: &str,
    ) -> anyhow::Result<Self> {
        let afk = afk.to_owned();
        let world = Self { folder, afk, keep, repo: REPO, evidence: "data/evidence" };
        for name in ["home", "data", "seed"] {
            fs::create_dir_all(world.at(name))?;
        }
        let (origin, seed) = (world.text("origin.git")?, world.at("seed"));
        world.git(&world.folder, &["init", "-q", "--bare", "--initial-branch=main", &origin])?;
        world.git(&seed, &["init", "-q", "--initial-branch=main"])?;
        for (path, text) in files {
            let path = seed.join(path);
            fs::create_dir_all(path.parent().context("a file has a folder")?)?;
            fs::write(path, text)?;
        }
        world.git(&seed, &["add", "--all"])?;
        world.git(&seed, &["commit", "-q", "-m", "Begin"])?;
        world.git(&seed, &["push", "-q", &origin, "main"])?;
        // JSON strings and lists are valid TOML.
        let config = format!(
            "kill_switch = false\nallowlist = [\"{REPO}\"]\npoll_seconds = 1\nbudget_usd = 5\n\
             executor_retries_max = 0\nlanding_refusals_max = 1\nfix_forward_max_attempts = 1\n\
             data_dir = {}\n\n[agents.scripted]\nscript = {}\n\n[repos.\"{REPO}\"]\nremote = {}\n\
             agent = \"scripted\"\nverify = {}\nread = {}\nverify_timeout_seconds = 180\n\n[repos.\"{REPO}\".proof]\n{proof}\n\n\
             [[repos.\"{REPO}\".stages]]\nname = \"ci\"\ncommand = [\"sh\", \"ci.sh\"]\n",
            json!(world.text("data")?),
            json!(world.text("script.json")?),
            json!(origin),
            json!(verify),
            json!(read),
        );
        fs::write(world.at("afk.toml"), config)?;
        Ok(world)
    }

    /// Runs `afk demo`, and uses what it leaves behind: its sample, with one issue landed.
    pub(crate) fn demo(folder: PathBuf, afk: &Path) -> anyhow::Result<Self> {
        let (home, afk) = (folder.with_extension("home"), afk.to_owned());
        fs::create_dir_all(&home)?;
        let world = Self { folder, afk, keep: false, repo: "demo/hello", evidence: "evidence" };
        let output = world
            .clean(&world.afk, &home)
            .args(["demo", "--json", "--keep"])
            .arg(&world.folder)
            .output()
            .context("cannot run the demo")?;
        ensure!(output.status.success(), "the demo failed: {}", said(&output));
        fs::create_dir_all(world.at("home"))?;
        Ok(world)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn text(&self, name: &str) -> anyhow::Result<String> {
        let path = self.at(name);
        path.to_str().map(str::to_owned).context("the temporary folder's path is not text")
    }

    /// Makes a clone of the default branch with what has landed.
    pub(crate) fn clone_of_main(&self) -> anyhow::Result<PathBuf> {
        let clone = self.text("clone")?;
        self.git(&self.folder, &["clone", "-q", &self.text("origin.git")?, &clone])?;
        Ok(self.at("clone"))
    }

    /// Creates an issue with `title`, and has it worked to its end by an agent that does `turns`.
    pub(crate) fn work(&self, title: &str, turns: &[Vec<Value>]) -> anyhow::Result<Ended> {
        let turns: Vec<Value> = turns.iter().map(|steps| json!({ "steps": steps })).collect();
        fs::write(self.at("script.json"), json!({ "turns": turns }).to_string())?;
        let before = self.commits()?;
        let new = ["issue", "new", self.repo, title, "--body", "As said.", "--ready", "--json"];
        let issue = self.afk(&new)?;
        ensure!(issue.status.success(), "no issue: {}", said(&issue));
        let issue: Value = serde_json::from_slice(&issue.stdout).context("`afk issue new`")?;
        let issue = issue["issue"].as_str().context("an issue without a name")?.to_owned();
        let ran = self.afk(&["run", &issue, "--json"])?;
        let view: Value = serde_json::from_slice(&ran.stdout)
            .with_context(|| format!("`afk run` told no result: {}", said(&ran)))?;
        let word = |key: &str| view[key].as_str().unwrap_or_default().to_owned();
        let bundle = self.at(self.evidence).join(word("run")).with_extension("json");
        let evidence: Value = match fs::read_to_string(&bundle) {
            Ok(text) => serde_json::from_str(&text).context("the evidence is not JSON")?,
            Err(_) => Value::Null,
        };
        let why = word("why");
        Ok(Ended {
            outcome: word("outcome"),
            attempts: view["attempts"].as_u64().unwrap_or_default(),
            strength: strength(&evidence),
            refusal: refusal(&evidence, &why),
            why,
            commits: self.commits()?.saturating_sub(before),
            evidence,
        })
    }

    fn commits(&self) -> anyhow::Result<usize> {
        let count = self.git(&self.at("origin.git"), &["rev-list", "--count", "main"])?;
        count.trim().parse().context("git counts no commits")
    }

    fn afk(&self, args: &[&str]) -> anyhow::Result<Output> {
        let mut command = self.clean(&self.afk, &self.at("home"));
        command.args(args).arg("--config").arg(self.at("afk.toml"));
        bounded(command, &self.at("afk.out"), &self.at("afk.err"))
    }

    fn git(&self, folder: &Path, args: &[&str]) -> anyhow::Result<String> {
        let mut command = self.clean(Path::new("git"), folder);
        let output = command
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .args(["-c", "user.name=dev", "-c", "user.email=dev@example.org"])
            .args(args)
            .output()
            .context("cannot run git")?;
        ensure!(output.status.success(), "git {} failed: {}", args.join(" "), said(&output));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A command whose environment has nothing of this machine's but the search path.
    fn clean(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.at("home"))
            .env("USER", "ann")
            .current_dir(folder)
            .stdin(Stdio::null());
        command
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // Caches are read-only. What cannot be removed is in the temporary folder anyway.
        let _ = Command::new("chmod").args(["-R", "u+w"]).arg(&self.folder).status();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Runs a command and returns its output; an error after [`BOUND`].
fn bounded(mut command: Command, out: &Path, err: &Path) -> anyhow::Result<Output> {
    let mut child = command
        .stdout(fs::File::create(out)?)
        .stderr(fs::File::create(err)?)
        .spawn()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let deadline = Instant::now() + BOUND;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            let _ = child.kill();
            let _ = child.wait();
            bail!("it did not end in {} minutes", BOUND.as_secs() / 60);
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    Ok(Output { status, stdout: fs::read(out)?, stderr: fs::read(err)? })
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = text.lines().rev().take(3).collect();
    format!("{}: {}", output.status, last.into_iter().rev().collect::<Vec<_>>().join(" / "))
}

/// The outcome of the last proof. The one in the bundle is of the commit that landed; a proof that
/// was refused after that is only in the journal.
fn last_outcome(evidence: &Value) -> Value {
    let rows = evidence["journal"]["rows"].as_array();
    let last = rows.and_then(|rows| rows.iter().rev().find(|row| row["kind"] == "proved"));
    let body = last.and_then(|row| serde_json::from_str::<Value>(row["body"].as_str()?).ok());
    match body {
        Some(body) => body["transition"]["report"]["outcome"].clone(),
        None => evidence["proof"]["outcome"].clone(),
    }
}

fn strength(evidence: &Value) -> Option<String> {
    last_outcome(evidence)["accepted"].as_str().map(str::to_owned)
}

/// Why the change was refused: the proof's reason, or `guardrail`; none if it was not.
fn refusal(evidence: &Value, why: &str) -> Option<String> {
    let reason = last_outcome(evidence)["refused"]["reason"].as_str().map(str::to_owned);
    reason.or_else(|| why.contains("guardrail").then(|| "guardrail".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_proofs_or_a_guardrails() {
        let refused = json!({ "proof": { "outcome": { "refused": { "reason": "vacuous" } } } });
        assert_eq!(refusal(&refused, "x").as_deref(), Some("vacuous"));
        assert_eq!(refusal(&Value::Null, "the guardrails say no").as_deref(), Some("guardrail"));
        assert_eq!(refusal(&Value::Null, "the agent did not start"), None);
        assert_eq!(strength(&refused), None);
        let accepted = json!({ "proof": { "outcome": { "accepted": "weaker" } } });
        assert_eq!(strength(&accepted).as_deref(), Some("weaker"));
        assert_eq!(refusal(&accepted, ""), None);
        // A fix that was refused after the first part had landed.
        let row = |outcome: &Value| {
            let body = json!({ "transition": { "report": { "outcome": outcome } } });
            json!({ "kind": "proved", "body": body.to_string() })
        };
        let outcome = |of: &Value| of["proof"]["outcome"].clone();
        let rows = [row(&outcome(&accepted)), row(&outcome(&refused)), json!({ "kind": "x" })];
        let mut fixed = accepted;
        fixed["journal"] = json!({ "rows": rows });
        assert_eq!(refusal(&fixed, "").as_deref(), Some("vacuous"));
        assert_eq!(strength(&fixed), None);
    }
}
