//! The sign-in of the CLI, copied from the home of a person where no credential is configured.
//!
//! Called when the service starts and while it runs, because the person's own CLI renews the
//! sign-in. The copy has no refresh token: one can be spent only once, and if it were spent here,
//! the person would be signed out. A sign-in that was made in the gateway's own home has one, and
//! our CLIs renew it: [`take_back`] keeps what one of them has renewed in a job's home.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::tokens::replace;

/// The folder in which the CLI keeps its sign-in, below a home, and the file there.
pub(crate) const FOLDER: &str = ".claude";
pub(crate) const FILE: &str = ".claude/.credentials.json";
/// The largest sign-in that is read, in bytes.
const FILE_BYTES: u64 = 1024 * 1024;

/// Copies the sign-in from one home to another.
#[derive(Debug, Clone)]
pub(crate) struct SignIn {
    from: PathBuf,
    home: PathBuf,
}

impl SignIn {
    pub(crate) fn new(from: PathBuf, home: &Path) -> Self {
        Self { from, home: home.to_owned() }
    }

    /// Copies the sign-in if there is one and it is newer than ours.
    pub(crate) fn renew(&self) -> io::Result<()> {
        let (theirs, ours) = (self.from.join(FILE), self.home.join(FILE));
        if !is_newer(&theirs, &ours) {
            return Ok(());
        }
        replace(&ours, &without_refresh(&read(&theirs)?)?)
    }
}

/// Keeps the sign-in that a CLI has renewed in a home of its own, `from`, if it is newer than the
/// one in `home`. All of it is kept: the refresh token that was in `home` is spent.
pub(crate) fn take_back(from: &Path, home: &Path) -> io::Result<()> {
    let (theirs, ours) = (from.join(FILE), home.join(FILE));
    // A link still leads to ours.
    let is_file = fs::symlink_metadata(&theirs).is_ok_and(|found| found.is_file());
    if !is_file || !is_newer(&theirs, &ours) {
        return Ok(());
    }
    let bytes = read(&theirs)?;
    let _: IgnoredAny = serde_json::from_slice(&bytes)?;
    replace(&ours, &bytes)
}

/// Whether there is a file at `theirs`, and none at `ours` that is as new.
fn is_newer(theirs: &Path, ours: &Path) -> bool {
    let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
    changed(theirs).is_some_and(|theirs| changed(ours).is_none_or(|ours| ours < theirs))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > FILE_BYTES {
        return Err(io::Error::other(format!("{} is too large", path.display())));
    }
    fs::read(path)
}

fn without_refresh(sign_in: &[u8]) -> io::Result<Vec<u8>> {
    let mut kept: Value = serde_json::from_slice(sign_in)?;
    for entry in kept.as_object_mut().into_iter().flat_map(|kept| kept.values_mut()) {
        if let Some(entry) = entry.as_object_mut() {
            entry.remove("refreshToken");
        }
    }
    Ok(serde_json::to_vec(&kept)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_in_is_taken_over_without_what_can_be_spent_once_and_renewed() {
        let (person, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let sign_in = SignIn::new(person.path().to_owned(), ours.path());
        sign_in.renew().unwrap();
        assert!(!ours.path().join(FILE).exists(), "there is none");
        fs::create_dir(person.path().join(".claude")).unwrap();
        let write = |token: &str, seconds: u64| {
            let text =
                format!(r#"{{"claudeAiOauth":{{"accessToken":"{token}","refreshToken":"once"}}}}"#);
            fs::write(person.path().join(FILE), text).unwrap();
            let file = fs::File::options().write(true).open(person.path().join(FILE)).unwrap();
            let later = std::time::SystemTime::now() + std::time::Duration::from_secs(seconds);
            file.set_modified(later).unwrap();
        };
        for (token, seconds) in [("first", 100), ("second", 200)] {
            write(token, seconds);
            sign_in.renew().unwrap();
            let taken = fs::read_to_string(ours.path().join(FILE)).unwrap();
            assert!(taken.contains(token) && !taken.contains("once"), "{taken}");
        }
    }

    #[test]
    fn a_sign_in_that_was_renewed_elsewhere_is_kept_if_it_is_whole_and_newer() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};

        let (job, ours) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for home in [&job, &ours] {
            fs::create_dir(home.path().join(FOLDER)).unwrap();
        }
        let (theirs, kept) = (job.path().join(FILE), ours.path().join(FILE));
        let at = |path: &Path, seconds: u64| {
            let file = fs::File::options().write(true).open(path).unwrap();
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            file.set_modified(time).unwrap();
        };
        let take = || take_back(job.path(), ours.path());
        let told = || fs::read_to_string(&kept).unwrap();
        fs::write(&kept, "1").unwrap();
        at(&kept, 1000);
        take().unwrap();
        symlink(&kept, &theirs).unwrap();
        take().unwrap();
        fs::remove_file(&theirs).unwrap();
        for (text, seconds) in [("2", 999), ("2", 1000), ("{", 2000)] {
            fs::write(&theirs, text).unwrap();
            at(&theirs, seconds);
            assert_eq!(take().is_err(), text == "{", "{text} at {seconds}");
            assert_eq!(told(), "1", "{text} at {seconds}");
        }
        fs::write(&theirs, r#"{"refreshToken":"new"}"#).unwrap();
        at(&theirs, 2000);
        take().unwrap();
        assert_eq!(told(), r#"{"refreshToken":"new"}"#);
        assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
