//! The trait of every kind of forge: issues, pull requests, and what else the loop needs of it.

use afk_core::ids::RepoName;
use afk_engine::ports::PortResult;
use async_trait::async_trait;
use secrecy::SecretString;

use super::{Needs, RemoteFinding};
use crate::issues::IssuesApi;
use crate::pulls::PullsApi;

/// One account at one forge.
#[async_trait]
pub(crate) trait ForgeApi: IssuesApi + PullsApi {
    /// The segments that the paths of its REST API begin with, below the account's base address.
    fn root(&self) -> &[String];

    /// Whether the forge serves repositories at this host.
    fn is_at(&self, host: &str) -> bool;

    /// The token that opens the git of `repo`; none if no credential is configured.
    async fn git_token(&self, repo: &RepoName) -> PortResult<Option<SecretString>>;

    /// Checks everything that the loop needs of `repo`, and makes what is missing if
    /// [`Needs::make`] says so.
    async fn examine(&self, repo: &RepoName, needs: &Needs) -> Vec<RemoteFinding>;
}
