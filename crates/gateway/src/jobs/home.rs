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

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::service::private_folder;
use crate::sign_in;

/// What a job gets of the gateway's home: what the CLI and git read, and nothing that the work of
/// others leaves there, such as transcripts.
const COPIED: [&str; 12] = [
    ".claude.json",
    ".claude/agents",
    ".claude/commands",
    ".claude/hooks",
    ".claude/plugins",
    ".claude/settings.json",
    ".claude/skills",
    ".config/gh",
    ".config/git",
    ".git-credentials",
    ".gitconfig",
    ".netrc",
];
/// What may keep an agent from doing things. The CLI goes on without a hook that it cannot find, so
/// a job does not run if one of these cannot be copied.
const GUARDS: [&str; 2] = [".claude/hooks", ".claude/settings.json"];
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
    let mut too_deep = None;
    for name in COPIED {
        let kind = if GUARDS.contains(&name) { Kind::Guard } else { Kind::Other };
        copy(&gateway.join(name), &home.join(name), kind, DEPTH, &mut too_deep)?;
    }
    if let Some(path) = too_deep {
        let path = path.display();
        tracing::warn!(%path, "folders as deep as this one are not copied to a job's home");
    }
    let kept = gateway.canonicalize()?.join(sign_in::FILE);
    if kept.is_file() {
        std::os::unix::fs::symlink(kept, home.join(sign_in::FILE))?;
    }
    Ok(())
}

/// Whether a job can do without an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Guard,
    Other,
}

/// What there is to copy.
enum Found {
    File,
    /// A folder, with the names of its entries.
    Folder(Vec<OsString>),
    Neither,
}

/// Copies a file, or a folder with its contents; nothing if there is neither. Notes the first
/// folder that is too deep to be copied.
fn copy(
    from: &Path,
    to: &Path,
    kind: Kind,
    depth: u32,
    too_deep: &mut Option<PathBuf>,
) -> io::Result<()> {
    match look(from) {
        Ok(Found::File) => {
            fs::copy(from, to)?;
        }
        Ok(Found::Folder(_)) if depth == 0 => {
            too_deep.get_or_insert_with(|| from.to_owned());
        }
        Ok(Found::Folder(names)) => {
            private_folder(to)?;
            for name in names {
                copy(&from.join(&name), &to.join(&name), kind, depth - 1, too_deep)?;
            }
        }
        Ok(Found::Neither) => {}
        Err(error) if is_absent(from, &error) => {}
        Err(error) if kind == Kind::Guard => {
            let why = format!(
                "{} cannot be read, and no job runs without the hooks and settings of the \
                 gateway's home: make it readable, or remove it: {error}",
                from.display()
            );
            return Err(io::Error::new(error.kind(), why));
        }
        Err(error) => {
            let path = from.display();
            tracing::warn!(%path, %error, "not copied to a job's home: it cannot be read");
        }
    }
    Ok(())
}

/// Finds out what there is, and whether it can be read: what fails afterwards is the writing.
fn look(from: &Path) -> io::Result<Found> {
    let found = fs::metadata(from)?;
    if found.is_file() {
        fs::File::open(from)?;
        return Ok(Found::File);
    }
    if found.is_dir() {
        let names = fs::read_dir(from)?.map(|entry| entry.map(|entry| entry.file_name()));
        return Ok(Found::Folder(names.collect::<io::Result<_>>()?));
    }
    Ok(Found::Neither)
}

/// Whether an entry was not found because there is none, not even a link that leads nowhere.
fn is_absent(path: &Path, error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err()
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
        // A link is followed, one that leads nowhere is left out, and a circle ends.
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
    fn a_job_s_home_has_the_hooks_and_they_can_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let (gateway, home) = (folder.path().join("home"), folder.path().join("afk-job-1.home"));
        let hook = ".claude/hooks/lib/guard.sh";
        put(&gateway.join(hook), "#!/bin/sh");
        fs::set_permissions(gateway.join(hook), fs::Permissions::from_mode(0o750)).unwrap();
        make(&home, &gateway).unwrap();
        assert_eq!(fs::metadata(home.join(hook)).unwrap().permissions().mode() & 0o777, 0o750);
    }

    /// Links stand for what cannot be read, since root can read whatever the modes say.
    #[test]
    fn what_cannot_be_read_is_left_out_unless_it_guards_the_job() {
        let folder = tempfile::tempdir().unwrap();
        let gateway = folder.path().join("home");
        put(&gateway.join(".claude/agents/worker.md"), "worker");
        put(&gateway.join("file"), "");
        let made = |name: &str, at: &str, to: &str| {
            fs::create_dir_all(gateway.join(at).parent().unwrap()).unwrap();
            symlink(to, gateway.join(at)).unwrap();
            let home = folder.path().join(name);
            let made = make(&home, &gateway);
            fs::remove_file(gateway.join(at)).unwrap();
            made.map(|()| home)
        };
        let leads = ["itself", "nowhere", "../../file/below"];
        for (n, to) in leads.into_iter().enumerate() {
            let home = made(&format!("fine-{n}"), ".claude/agents/itself", to).unwrap();
            let agents = home.join(".claude/agents");
            assert_eq!(fs::read_to_string(agents.join("worker.md")).unwrap(), "worker");
            assert!(fs::symlink_metadata(agents.join("itself")).is_err(), "{to}");
            let told = made(&format!("bad-{n}"), ".claude/hooks/itself", to).unwrap_err();
            let told = told.to_string();
            assert!(told.contains(".claude/hooks/itself cannot be read"), "{told}");
        }
        let told = made("settings", ".claude/settings.json", "settings.json").unwrap_err();
        assert!(told.to_string().contains("settings.json cannot be read"), "{told}");
        // A file in the place of a folder hides nothing but what would be in it.
        put(&gateway.join(".config"), "");
        make(&folder.path().join("config"), &gateway).unwrap();
    }

    #[test]
    fn the_first_folder_that_is_too_deep_is_noted() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        put(&from.join("1/2/3/file"), "deep");
        put(&from.join("1/file"), "fine");
        let mut too_deep = None;
        copy(&from, &to, Kind::Other, 2, &mut too_deep).unwrap();
        assert_eq!(too_deep, Some(from.join("1/2")));
        assert!(to.join("1/file").exists() && !to.join("1/2").exists());
    }

    #[test]
    fn a_gateway_s_home_without_anything_in_it_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("afk-job-1.home");
        make(&home, folder.path()).unwrap();
        assert!(!home.join(sign_in::FILE).exists());
    }
}
