//! Credentials for git remotes over HTTP: the account on the forge that a repo lives on.

use std::sync::Arc;

use afk_core::ids::RepoName;
use afk_engine::ports::PortResult;
use afk_local::git::{Credential, Login, RemoteUrl};
use afk_local::{ANY_USER, Logins};
use afk_remote::{Forges, GitToken};
use async_trait::async_trait;

/// The configured accounts on the forges, as git's credentials.
pub(crate) struct ForgeLogins(pub(crate) Arc<Forges>);

impl Logins for ForgeLogins {
    fn of(&self, repo: &RepoName, remote: &RemoteUrl) -> Option<Arc<dyn Login>> {
        let token = self.0.opens(repo, remote.host()?)?;
        Some(Arc::new(ForgeLogin(token)))
    }
}

struct ForgeLogin(GitToken);

#[async_trait]
impl Login for ForgeLogin {
    async fn credential(&self) -> PortResult<Option<Credential>> {
        let secret = self.0.read().await?;
        Ok(secret.map(|secret| Credential { username: ANY_USER.to_owned(), secret }))
    }
}
