//! What a forge is to the loop besides a tracker, the same for every kind of forge.

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
    /// What the paths of its REST API begin with.
    fn root(&self) -> &[String];

    /// Whether repositories are at this host, too.
    fn is_at(&self, host: &str) -> bool;

    /// The token that opens the git of `repo`.
    async fn git_token(&self, repo: &RepoName) -> PortResult<Option<SecretString>>;

    /// Looks at everything that the loop needs of `repo`, and makes what is missing if it is to.
    async fn examine(&self, repo: &RepoName, needs: &Needs) -> Vec<RemoteFinding>;
}
