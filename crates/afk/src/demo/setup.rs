//! Sets a demo up: its folder with origin, script and configuration, and its issues.

use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use afk_agent::agents::scripted::script::Script;
use afk_app::App;
use afk_app::adapters::RemoteUrl;
use afk_app::config::Sources;
use afk_core::ids::{IssueRef, RepoName};

use super::agents::{DemoAgent, NoAgent};
use super::error::DemoError;
use super::forge::{self, Forge};
use super::issues::Issues;
use super::{ForgeKind, Scenario, sample};

/// The name of the file with the token for the fake forge.
const TOKEN_FILE: &str = "forge-token";

/// Options of a demo.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// The scenario.
    pub scenario: Scenario,
    /// The agent that writes the code.
    pub agent: DemoAgent,
    /// The forge that the issue lives on; none is afk's own tracker.
    pub forge: Option<ForgeKind>,
    /// The folder to create. None creates one in the temporary directory.
    pub keep: Option<PathBuf>,
}

/// A demo that is ready to run.
pub struct Demo {
    /// The scenario.
    pub scenario: Scenario,
    /// The agent that writes the code.
    pub agent: DemoAgent,
    /// The folder that contains everything.
    pub folder: PathBuf,
    /// The control plane, armed for this folder only.
    pub app: App,
    /// The forge that the issues live on. It ends with the demo.
    pub forge: Option<Forge>,
    /// The issue that is labelled ready.
    pub issue: IssueRef,
    /// The second issue, also labelled ready.
    pub next_issue: Option<IssueRef>,
    pub(super) begun: std::time::Instant,
    pub(super) setup_ms: u64,
}

impl Demo {
    /// Creates the folder, opens its control plane, and files and releases the issues. Whatever
    /// fails, the folder is removed: there is nothing to see in it, and a further try under the
    /// same name would be refused.
    pub async fn set_up(options: &DemoOptions) -> Result<Self, DemoError> {
        let begun = std::time::Instant::now();
        let folder = folder(options.keep.as_deref())?;
        let demo = Box::pin(Self::set_up_in(folder.clone(), options, begun)).await;
        if demo.is_err() {
            remove(&folder);
        }
        demo
    }

    async fn set_up_in(
        folder: PathBuf,
        options: &DemoOptions,
        begun: std::time::Instant,
    ) -> Result<Self, DemoError> {
        seed_origin(&folder).await?;
        let thinking_ms = match options.forge {
            Some(_) => sample::THINKING_ON_FORGE_MS,
            None => sample::THINKING_MS,
        };
        write_script(&folder, &sample::script(options.scenario, thinking_ms))?;
        let repo: RepoName = sample::REPO.parse().map_err(|error| DemoError::Git {
            what: "name".to_owned(),
            detail: format!("{error}"),
        })?;
        let forge = match options.forge {
            Some(kind) => {
                write(&folder.join(TOKEN_FILE), forge::TOKEN.as_bytes())?;
                let origin = folder.join("origin.git");
                Some(Forge::start(kind, &repo, &origin)?)
            }
            None => None,
        };
        let config = configuration(&folder, options, forge.as_ref())?;
        write(&folder.join("afk.toml"), config.as_bytes())?;
        let app = App::open(sources(&folder)).await?;
        let issues = forge.as_ref().map_or(Issues::Own(&app.tracker), Issues::On);
        let issue = issues.first(&repo, options.scenario).await?;
        let next_issue = issues.next(&repo, options.scenario).await?;
        let setup_ms = begun.elapsed().as_millis() as u64;
        let (scenario, agent) = (options.scenario, options.agent);
        Ok(Self { scenario, agent, folder, app, forge, issue, next_issue, begun, setup_ms })
    }

    /// Removes the folder of a demo that nobody will run.
    pub fn discard(self) {
        remove(&self.folder);
    }

    /// Gives the scripted agent another script.
    pub(super) fn write_script(&self, script: &Script) -> Result<(), DemoError> {
        write_script(&self.folder, script)
    }
}

/// Refuses a folder whose path cannot be a part of a remote's, before anything is created there.
fn usable(folder: &Path) -> Result<(), DemoError> {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    // Through links, as far as it exists.
    let real = whole.ancestors().find_map(|above| {
        let below = whole.strip_prefix(above).ok()?;
        Some(above.canonicalize().ok()?.join(below))
    });
    let path = real.unwrap_or(whole).join("origin.git");
    let why = match path.to_str().map(RemoteUrl::parse) {
        Some(Ok(_)) => return Ok(()),
        Some(Err(error)) => error.reason(),
        None => "it must be UTF-8".to_owned(),
    };
    Err(DemoError::Unusable { path, why })
}

/// Creates the folder, which only its owner may read, as every folder of afk.
fn folder(keep: Option<&Path>) -> Result<PathBuf, DemoError> {
    const MODE: u32 = 0o700;
    let folder = match keep {
        Some(path) if path.exists() => return Err(DemoError::Exists(path.to_owned())),
        Some(path) => {
            usable(path)?;
            let mut builder = std::fs::DirBuilder::new();
            builder.mode(MODE);
            if let Some(above) = path.parent() {
                builder.recursive(true).create(above).map_err(made(above))?;
            }
            // Fails if somebody else has made it meanwhile: it may be removed again.
            builder.recursive(false).create(path).map_err(made(path))?;
            path.to_owned()
        }
        None => {
            let base = std::env::temp_dir();
            usable(&base)?;
            let mut builder = tempfile::Builder::new();
            let builder = builder.prefix("afk-demo-").permissions(Permissions::from_mode(MODE));
            builder.tempdir_in(&base).map_err(made(&base))?.keep()
        }
    };
    folder.canonicalize().map_err(made(&folder))
}

/// Removes the folder that was created for a demo.
fn remove(folder: &Path) {
    if let Err(error) = std::fs::remove_dir_all(folder) {
        tracing::warn!(folder = %folder.display(), %error, "the demo's folder cannot be removed");
    }
}

/// Creates the bare origin with the project's first commit on `main`.
async fn seed_origin(folder: &Path) -> Result<(), DemoError> {
    let (origin, seed) = (folder.join("origin.git"), folder.join("seed"));
    let path = |path: &Path| path.as_os_str().to_owned();
    git(folder, &["init", "--quiet", "--bare", "--initial-branch=main"], Some(path(&origin)))
        .await?;
    git(folder, &["init", "--quiet", "--initial-branch=main"], Some(path(&seed))).await?;
    for (name, content, executable) in sample::FILES {
        let file = seed.join(name);
        write(&file, content.as_bytes())?;
        if executable {
            let mode = Permissions::from_mode(0o755);
            std::fs::set_permissions(&file, mode).map_err(made(&file))?;
        }
    }
    git(&seed, &["add", "--all"], None).await?;
    git(&seed, &["commit", "--quiet", "--message=Greet people by name"], None).await?;
    git(&seed, &["push", "--quiet"], Some(path(&origin))).await?;
    std::fs::remove_dir_all(&seed).map_err(made(&seed))
}

/// Runs git for the sample, isolated from the user's and the machine's configuration. `target` is a
/// path to append; `push` pushes `main` there.
async fn git(dir: &Path, args: &[&str], target: Option<OsString>) -> Result<(), DemoError> {
    let mut command = tokio::process::Command::new("git");
    command
        .current_dir(dir)
        .args(["-c", "user.name=afk demo", "-c", "user.email=demo@afk.invalid"])
        .args(["-c", "core.hooksPath=/dev/null", "-c", "commit.gpgSign=false"])
        .args(args)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env_remove("GIT_DIR")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let what = args.first().copied().unwrap_or_default().to_owned();
    if let Some(target) = target {
        command.arg(target);
        if what == "push" {
            command.arg("main");
        }
    }
    let output = command.output().await.map_err(|error| DemoError::Git {
        what: what.clone(),
        detail: format!("{error}; is git 2.39 or newer installed?"),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let detail = match String::from_utf8_lossy(&output.stderr).trim() {
        "" => output.status.to_string(),
        said => said.to_owned(),
    };
    Err(DemoError::Git { what, detail })
}

/// The text of the demo's configuration, as a person would write it.
fn configuration(
    folder: &Path,
    options: &DemoOptions,
    forge: Option<&Forge>,
) -> Result<String, NoAgent> {
    let quoted = |path: &Path| toml::Value::String(path.to_string_lossy().into()).to_string();
    let mut text = format!(
        r#"# The demo's own configuration: armed for this folder alone.
kill_switch = false
allowlist = ["{repo}"]
data_dir = {data}
sandbox = "preferred"
poll_seconds = 1
budget_usd = 5
{bounds}
[repos."{repo}"]
remote = {origin}
verify = ["sh", "test.sh"]
agent = "{agent}"
{tracker}{landing}

[agents.scripted]
script = {script}
"#,
        repo = sample::REPO,
        agent = options.agent.name(),
        bounds = sample::bounds(options.scenario),
        tracker = forge
            .map_or_else(String::new, |forge| { format!("tracker = \"{}\"\n", forge.kind.name()) }),
        landing = sample::landing(options.scenario),
        data = quoted(folder),
        origin = quoted(&folder.join("origin.git")),
        script = quoted(&folder.join("script.json")),
    );
    if let Some(forge) = forge {
        let (name, title) = (forge.kind.name(), forge.kind.title());
        let (url, token) = (forge.url(), quoted(&folder.join(TOKEN_FILE)));
        text.extend([
            format!("\n# A fake of {title} in the demo's own process, which ended with it.\n"),
            format!("[forges.{name}]\nurl = \"{url}\"\ntoken = {{ file = {token} }}\n"),
        ]);
    }
    text.push_str(&options.agent.table()?);
    Ok(text)
}

/// The demo's file, and only the environment variables that concern the agents: the others are
/// meant for the real configuration.
fn sources(folder: &Path) -> Sources {
    let env = std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok().filter(|name| name.starts_with("AFK_AGENTS__"))?;
        Some((name, value))
    });
    Sources { file: Some(folder.join("afk.toml")), env: env.collect(), ..Sources::default() }
}

fn write_script(folder: &Path, script: &Script) -> Result<(), DemoError> {
    let file = folder.join("script.json");
    let text = serde_json::to_vec_pretty(script).map_err(|e| made(&file)(e.into()))?;
    write(&file, &text)
}

fn write(path: &Path, content: &[u8]) -> Result<(), DemoError> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(made(folder))?;
    }
    std::fs::write(path, content).map_err(made(path))
}

fn made(path: &Path) -> impl Fn(std::io::Error) -> DemoError {
    let path = path.to_owned();
    move |source| DemoError::Make { path: path.clone(), source }
}
