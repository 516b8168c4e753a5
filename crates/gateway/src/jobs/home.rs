//! The home of the CLI that works in one checkout. [`super::checkout`] makes it, and removes it
//! with the checkout.
//!
//! The gateway's own home is read by the CLI of every caller: what a job left there, in the
//! settings or in an agent's definition, would take effect in everybody's turns. So each job gets
//! copies of what the operator has put there for jobs, and what it changes goes with it.
//!
//! The sign-in is the gateway's own and no copy, because it is renewed while jobs run, and its
//! refresh token can be spent only once. The environment of [`crate::turn::command`] says where it
//! is. A CLI that does not know that variable follows a link here, which it replaces by a file when
//! it renews the sign-in; the gateway's home gets that file when this home is removed. A job that
//! looks for the gateway's home by its path still finds it, since it runs as the same user.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::service::private_folder;
use crate::sign_in;

/// What a job gets of the gateway's home: what the CLI and git read, and nothing that the work of
/// others leaves there, such as transcripts.
const COPIED: [&str; 11] = [
    ".claude.json",
    ".claude/agents",
    ".claude/commands",
    ".claude/plugins",
    ".claude/settings.json",
    ".claude/skills",
    ".config/gh",
    ".config/git",
    ".git-credentials",
    ".gitconfig",
    ".netrc",
];
/// How deep folders are copied. Links are followed, and may lead in a circle.
const DEPTH: u32 = 8;
/// How the name of a home goes on after its checkout's.
const END: &str = ".home";

/// Returns where the home for a checkout is. Its name begins like the checkout's, so that what a
/// killed service leaves of either is found alike.
pub(super) fn beside(checkout: &Path) -> PathBuf {
    let mut home = checkout.as_os_str().to_owned();
    home.push(END);
    home.into()
}

/// Whether a path is the home for a checkout, and not the checkout.
pub(super) fn is_one(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(END.as_bytes())
}

/// Makes the home of a job from the gateway's.
pub(super) fn make(home: &Path, gateway: &Path) -> io::Result<()> {
    private_folder(&home.join(".claude"))?;
    private_folder(&home.join(".config"))?;
    for name in COPIED {
        copy(&gateway.join(name), &home.join(name), DEPTH)?;
    }
    let kept = gateway.canonicalize()?.join(sign_in::FILE);
    if kept.is_file() {
        std::os::unix::fs::symlink(kept, home.join(sign_in::FILE))?;
    }
    Ok(())
}

/// Copies a file, or a folder with its contents; nothing if there is neither.
fn copy(from: &Path, to: &Path, depth: u32) -> io::Result<()> {
    let found = match fs::metadata(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if found.is_file() {
        fs::copy(from, to)?;
    } else if found.is_dir() && depth > 0 {
        private_folder(to)?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            copy(&from.join(&name), &to.join(&name), depth - 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn put(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_job_s_home_has_what_was_put_there_for_jobs_and_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let (gateway, checkout) = (folder.path().join("home"), folder.path().join("afk-job-1"));
        let home = beside(&checkout);
        assert_eq!(home, folder.path().join("afk-job-1.home"));
        let agent = ".claude/agents/team/worker.md";
        for name in [agent, ".claude/settings.json", ".gitconfig", ".config/gh/hosts.yml"] {
            put(&gateway.join(name), name);
        }
        for name in [".claude/projects/-x/s.jsonl", ".claude/CLAUDE.md", "notes"] {
            put(&gateway.join(name), "of others");
        }
        put(&gateway.join(sign_in::FILE), "first");
        // A link is followed, one that leads nowhere is passed over, and a circle ends.
        put(&folder.path().join("elsewhere/SKILL.md"), "linked");
        fs::create_dir(gateway.join(".claude/skills")).unwrap();
        symlink(folder.path().join("elsewhere"), gateway.join(".claude/skills/linked")).unwrap();
        symlink("nowhere", gateway.join(".claude/skills/broken")).unwrap();
        symlink(".", gateway.join(".claude/agents/circle")).unwrap();

        make(&home, &gateway).unwrap();
        assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o700);
        let read = |name: &str| fs::read_to_string(home.join(name)).unwrap();
        for name in [agent, ".claude/settings.json", ".gitconfig", ".config/gh/hosts.yml"] {
            assert_eq!(read(name), name);
        }
        assert_eq!(read(".claude/skills/linked/SKILL.md"), "linked");
        for name in [".claude/projects", ".claude/CLAUDE.md", "notes", ".claude/skills/broken"] {
            assert!(!home.join(name).exists(), "{name}");
        }
        // What the job changes is its own; a sign-in that is renewed reaches it.
        for name in [agent, ".claude/settings.json", ".claude/skills/linked/SKILL.md"] {
            fs::write(home.join(name), "of the job").unwrap();
            assert_ne!(fs::read_to_string(gateway.join(name)).unwrap(), "of the job", "{name}");
        }
        fs::remove_file(gateway.join(sign_in::FILE)).unwrap();
        fs::write(gateway.join(sign_in::FILE), "second").unwrap();
        assert_eq!(read(sign_in::FILE), "second");
    }

    #[test]
    fn a_gateway_s_home_without_anything_in_it_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("afk-job-1.home");
        make(&home, folder.path()).unwrap();
        assert!(!home.join(sign_in::FILE).exists());
    }
}
