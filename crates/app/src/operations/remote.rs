//! Checks a remote before its repository is enrolled.

use std::path::Path;
use std::time::Duration;

use afk_local::git::{Git, Limits, RemoteUrl, look_at};

/// Time limit of one git command that uses the network.
const LOOK: Duration = Duration::from_secs(30);

/// Returns why the repository at `remote` cannot be worked, and what to do about it; none if
/// nothing speaks against it. An error says why it could not be examined.
pub async fn unworkable(remote: &str) -> Result<Option<String>, String> {
    let url = RemoteUrl::parse(remote).map_err(|error| error.reason())?;
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let limits = Limits { network: LOOK, ..Limits::default() };
    let git = Git::open(Path::new("git"), folder.path(), Vec::new(), limits).await;
    let git = git.map_err(|error| error.to_string())?;
    let found = look_at(&git, url, folder.path()).await.map_err(|error| error.to_string())?;
    Ok(found.map(|why| format!("{why}; {}", why.remedy())))
}
