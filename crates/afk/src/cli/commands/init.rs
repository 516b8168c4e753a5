//! `init`: inspects the current folder and writes a first configuration.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use afk_app::Error;
use afk_app::adapters::{Claude, RemoteUrl, ask, find_claude, on_path};
use afk_app::config::default_file;
use afk_app::starter::project::{READ, proposal};
use afk_app::starter::text::text;
use afk_app::starter::{Found, FoundRepo, SignIn, forge_of, name_of};
use serde_json::json;

use super::Context;
use crate::cli::exit::{Answer, Exit};
use crate::cli::sources::{current_dir, sources};

/// Maximum number of bytes read of a project's file.
const FILE: usize = 256 << 10;
/// Maximum number of names read in a folder.
const NAMES: usize = 5_000;
/// Folders that every sandbox shows.
const SHOWN: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/bin", "/sbin"];

pub(super) async fn run(context: &Context<'_>, print: bool) -> Answer {
    let here = current_dir();
    let found = look(&here).await;
    let text = text(&found);
    let repo = found.repo.as_ref();
    let there = sources(context.config()).file.filter(|path| path.exists());
    let made = default_file(context.config(), |name| std::env::var_os(name), &here);
    let path = there.clone().unwrap_or(made);
    if let (Some(there), false) = (&there, print) {
        return Err(Error::invalid(taken(there, repo)));
    }
    if !print {
        write(&path, &text)?;
    }
    let document = json!({
        "file": path.display().to_string(),
        "written": !print,
        "repo": repo.map(|repo| &repo.name),
        "remote": repo.and_then(|repo| repo.remote.as_ref()),
        "proposal": repo.and_then(|repo| repo.proposal.as_ref()),
        "read": repo.map(|repo| &repo.read),
        "claude": found.claude.as_ref().map(|path| path.display().to_string()),
        "text": text,
    });
    context.out.result(&document, |_| {
        if print { text.clone() } else { format!("wrote {}, disarmed", path.display()) }
    })?;
    if !print {
        let name = repo.map_or("OWNER/NAME", |repo| repo.name.as_str());
        context.out.note(format!(
            "read it, then: `afk doctor` checks what it needs, `afk enroll {name}` lists the \
             repository, `afk arm` lets the loop take issues"
        ));
    }
    Ok(Exit::Done)
}

/// Why nothing is written, and what to do instead.
fn taken(path: &Path, repo: Option<&FoundRepo>) -> String {
    let there =
        format!("{} exists already, and `afk init` never overwrites a file", path.display());
    let quoted = |words: &[String]| {
        let words: toml_edit::Array = words.iter().collect();
        format!("'{}'", toml_edit::Value::from(words).to_string().trim())
    };
    let enroll = repo.and_then(|repo| {
        let (remote, one) = (repo.remote.as_ref()?, repo.proposal.as_ref()?);
        let (verify, ci) = (quoted(&one.verify), quoted(&one.ci));
        Some(format!("afk enroll {} --remote {remote} --verify {verify} --ci {ci}", repo.name))
    });
    let how = match enroll {
        Some(enroll) => format!("to add this repository to it:\n\n    {enroll}"),
        None => "to see what would have been written: `afk init --print`".to_owned(),
    };
    format!("{there}; {how}")
}

fn write(path: &Path, text: &str) -> Answer<()> {
    let failed =
        |error: std::io::Error| Error::failed(format!("cannot write {}: {error}", path.display()));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    // Fails if somebody created the file since we looked.
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)
}

async fn look(here: &Path) -> Found {
    let repo = match ask("git", &["rev-parse", "--show-toplevel"], here).await {
        Some(top) => repository(Path::new(&top)).await,
        None => None,
    };
    let home = std::env::home_dir().unwrap_or_default();
    let sign_in = if std::env::var_os("ANTHROPIC_API_KEY").is_some_and(|key| !key.is_empty()) {
        SignIn::Key
    } else if home.join(".claude/.credentials.json").is_file() {
        SignIn::Home
    } else {
        SignIn::None
    };
    Found { repo, claude: find_claude(&Claude::default()).ok(), sign_in }
}

async fn repository(top: &Path) -> Option<FoundRepo> {
    let remote = ask("git", &["config", "--get", "remote.origin.url"], top).await;
    let remote = remote.map(|remote| absolute(top, remote));
    let name = name_of(remote.as_deref(), top)?;
    // A URL with a token, or one that git cannot use, would make the file invalid.
    let remote = remote.filter(|remote| RemoteUrl::parse(remote).is_ok());
    let proposal = proposal(&files(top));
    let mut read = Vec::new();
    for program in proposal.iter().flat_map(|proposal| &proposal.programs) {
        if let Some(folder) = toolchain(program, top).await
            && !read.contains(&folder)
        {
            read.push(folder);
        }
    }
    let has = |folder: &str| {
        std::fs::read_dir(top.join(folder)).is_ok_and(|mut entries| entries.next().is_some())
    };
    let forge = remote.as_deref().and_then(|remote| forge_of(remote, &has));
    Some(FoundRepo { name, remote, proposal, read, forge })
}

/// A local path is written as absolute, because afk may run from any folder.
fn absolute(top: &Path, remote: String) -> String {
    if remote.contains(':') {
        return remote;
    }
    let path = top.join(&remote);
    path.canonicalize().unwrap_or(path).display().to_string()
}

/// The names in the folder, with the contents of the files that identify a kind of project.
fn files(top: &Path) -> BTreeMap<String, String> {
    use std::io::Read as _;
    let Ok(entries) = std::fs::read_dir(top) else { return BTreeMap::new() };
    let names = entries.flatten().take(NAMES).filter_map(|e| e.file_name().into_string().ok());
    let content = |name: String| {
        let mut bytes = Vec::new();
        let plain = READ.contains(&name.as_str()) && top.join(&name).is_file();
        if plain && let Ok(file) = std::fs::File::open(top.join(&name)) {
            // A file that cannot be read identifies nothing.
            let _ = file.take(FILE as u64).read_to_end(&mut bytes);
        }
        (name, String::from_utf8_lossy(&bytes).into_owned())
    };
    names.map(content).collect()
}

/// The folder that must be added to `read` for `program`; none if the sandbox shows it anyway.
async fn toolchain(program: &str, top: &Path) -> Option<PathBuf> {
    let file = on_path(program)?;
    let folder = file.parent()?;
    if SHOWN.iter().any(|shown| folder == Path::new(shown)) {
        return None;
    }
    if program == "cargo" {
        // What rustup puts on the path is a proxy, not the toolchain.
        let root = ask("rustc", &["--print", "sysroot"], top).await.map(PathBuf::from);
        return root.filter(|root| !root.starts_with("/usr"));
    }
    let above = folder.parent()?.to_owned();
    let home = std::env::home_dir();
    let shared = above.parent().is_none() || home.as_ref().is_some_and(|home| *home == above);
    (folder.ends_with("bin") && !shared).then_some(above)
}
