//! The sign-in of the CLI, copied from the home of a person where no credential is configured.
//!
//! Called when the service starts and while it runs, because the person's own CLI renews the
//! sign-in. The copy has no refresh token: one can be spent only once, and if it were spent here,
//! the person would be signed out.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::tokens::replace;

/// Where the CLI keeps its sign-in, below a home.
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
        let changed = |path: &Path| fs::metadata(path).and_then(|file| file.modified()).ok();
        let Some(newer) = changed(&theirs) else { return Ok(()) };
        if changed(&ours).is_some_and(|ours| ours >= newer) {
            return Ok(());
        }
        if fs::metadata(&theirs)?.len() > FILE_BYTES {
            return Err(io::Error::other(format!("{} is too large", theirs.display())));
        }
        replace(&ours, &without_refresh(&fs::read(&theirs)?)?)
    }
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
}
