//! The program that gives git its credential, so that the credential is in no argument and no file.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::error::GitError;

/// A shell script that answers git's two prompts from its environment.
const ASKPASS: &str = "#!/bin/sh\n\
    case \"$1\" in\n\
    Username*) printf '%s\\n' \"$AFK_GIT_USERNAME\" ;;\n\
    Password*) printf '%s\\n' \"$AFK_GIT_SECRET\" ;;\n\
    *) exit 1 ;;\n\
    esac\n";

/// Readable and executable by all: there is no secret in it, and the folder's mode says who gets
/// there.
const MODE: u32 = 0o755;

/// Writes the program into `folder`, unless it is there already, and returns its path. It is
/// renamed into place, so that another process never runs half of it.
///
/// What is there stays, so that a command of another user, root for example, does not replace it by
/// a file of theirs while the daemon uses it, and so that a full disk keeps nobody from looking.
pub(super) fn write(folder: &Path) -> Result<PathBuf, GitError> {
    let path = folder.join("askpass");
    if is_written(&path) {
        return Ok(path);
    }
    let failed = |source| GitError::io("write", &path, source);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(ASKPASS.as_bytes()).map_err(failed)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(MODE)).map_err(failed)?;
    file.persist(&path).map_err(|e| failed(e.error))?;
    Ok(path)
}

/// Whether exactly the program is at `path`, with its mode. What cannot be read is something else.
fn is_written(path: &Path) -> bool {
    let plain = std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o7777 == MODE);
    plain && std::fs::read(path).is_ok_and(|bytes| bytes == ASKPASS.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_program_is_replaced_only_if_it_differs() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path()).unwrap();
        let found = || std::fs::metadata(&path).unwrap();
        let first = found();
        assert_eq!(first.mode() & 0o7777, 0o755, "every user of the folder can run it");
        // Holds the first file, so that no later one gets its inode.
        let _held = std::fs::File::open(&path).unwrap();
        assert_eq!(write(folder.path()).unwrap(), path);
        assert_eq!(found().ino(), first.ino(), "it was replaced by the same");

        // One of an older version of afk, and one that only its owner could run.
        for (text, mode) in [("#!/bin/sh\nexit 1\n", 0o755), (ASKPASS, 0o700)] {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let (held, before) = (std::fs::File::open(&path).unwrap(), found().ino());
            write(folder.path()).unwrap();
            assert_ne!(found().ino(), before, "{text} {mode:o}");
            assert_eq!(found().mode() & 0o7777, 0o755);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), ASKPASS);
            drop(held);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
