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

/// Writes the program into `folder` and returns its path. It is renamed into place, so that another
/// process never runs half of it.
pub(super) fn write(folder: &Path) -> Result<PathBuf, GitError> {
    let path = folder.join("askpass");
    let failed = |source| GitError::io("write", &path, source);
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(ASKPASS.as_bytes()).map_err(failed)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
    file.persist(&path).map_err(|e| failed(e.error))?;
    Ok(path)
}
