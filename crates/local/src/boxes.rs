//! The base of every box: the toolchains that it sees, its search path, and the caches that it
//! finds.
//!
//! Everything that a box sees is mounted at its own path, so that borrowed objects and lock files
//! are where git and package managers expect them.

use std::path::{Path, PathBuf};

use afk_agent::sandbox::{Access, BoxSpec, Network};
use afk_core::config::Repo;
use afk_core::ids::RepoName;

use super::world::Local;

/// The search path in a box, before the folders that a repo adds.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Which of a repo's build caches a box gets, writable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// No cache: package managers write to the box's own home, which is removed with the box. For
    /// proofs and everything else that runs before a commit has landed: what one of them wrote to a
    /// shared cache could decide later ones.
    None,
    /// The cache that agents share.
    Agent,
    /// The cache that stages of landed commits share.
    Landed,
}

/// Returns a box for `argv` in `cwd`, with the repo's toolchains and a cache.
pub fn boxed(
    local: &Local,
    name: &RepoName,
    repo: &Repo,
    argv: Vec<String>,
    cwd: &Path,
    cache: Cache,
) -> std::io::Result<BoxSpec> {
    let mut spec = BoxSpec::new(argv, cwd);
    spec.requirement = local.requirement();
    let mut path = Vec::new();
    for folder in &repo.read {
        spec = spec.bind(folder, Access::ReadOnly);
        if folder.join("bin").is_dir() {
            path.push(folder.join("bin").to_string_lossy().into_owned());
        }
        if folder.file_name().is_some_and(|last| last == ".rustup") {
            spec.env.insert("RUSTUP_HOME".to_owned(), folder.to_string_lossy().into_owned());
        }
    }
    path.push(PATH.to_owned());
    spec.env.insert("PATH".to_owned(), path.join(":"));
    spec.env.insert("CI".to_owned(), "true".to_owned());
    let caches = local.workspaces.caches(name);
    let folder = match cache {
        Cache::None => return Ok(spec),
        Cache::Agent => caches.agent,
        Cache::Landed => caches.landed,
    };
    std::fs::create_dir_all(&folder)?;
    // The cache that was not used for the longest time is removed first.
    std::fs::File::open(&folder)?.set_modified(std::time::SystemTime::now())?;
    for (variable, part) in [
        ("CARGO_HOME", "cargo"),
        ("npm_config_cache", "npm"),
        ("PNPM_HOME", "pnpm"),
        ("PIP_CACHE_DIR", "pip"),
        ("UV_CACHE_DIR", "uv"),
        ("GOMODCACHE", "go"),
        ("GOCACHE", "go-build"),
    ] {
        let part = folder.join(part);
        make_folder(&part)?;
        spec.env.insert(variable.to_owned(), part.to_string_lossy().into_owned());
    }
    Ok(spec.bind(folder, Access::ReadWrite))
}

/// Creates a part of a cache. A file or link that an agent may have put in its place is removed.
fn make_folder(part: &Path) -> std::io::Result<()> {
    if part.symlink_metadata().is_ok_and(|there| !there.is_dir()) {
        std::fs::remove_file(part)?;
    }
    std::fs::create_dir_all(part).map_err(|error| {
        let text = format!("the cache folder {} cannot be made: {error}", part.display());
        std::io::Error::new(error.kind(), text)
    })
}

/// Returns the network for a policy's switch.
pub(super) const fn network(open: bool) -> Network {
    if open { Network::Open } else { Network::None }
}

/// Returns the real path of a program, to be mounted, if it is outside the system's own folders.
pub(super) fn home_of_program(program: &Path) -> Option<PathBuf> {
    let real = program.canonicalize().ok()?;
    let system = ["/usr", "/bin", "/sbin", "/lib", "/lib64"];
    if system.iter().any(|folder| real.starts_with(folder)) {
        return None;
    }
    Some(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_put_in_the_place_of_a_cache_goes() {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("cargo");
        std::fs::write(&part, "in the way").unwrap();
        make_folder(&part).unwrap();
        std::fs::write(part.join("kept"), "").unwrap();
        make_folder(&part).unwrap();
        assert!(part.join("kept").exists());
        let link = dir.path().join("npm");
        std::os::unix::fs::symlink("/nowhere", &link).unwrap();
        make_folder(&link).unwrap();
        assert!(link.symlink_metadata().unwrap().is_dir());
        let error = make_folder(&part.join("kept/below")).unwrap_err().to_string();
        assert!(error.contains("kept/below"), "{error}");
    }
}
