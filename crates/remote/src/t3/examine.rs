//! The checks of `doctor` of a server: everything that the loop needs of it. They make nothing.

use afk_core::checkout::Checkout;
use afk_core::ids::RepoName;
use afk_core::usd::Usd;
use afk_engine::ports::PortErrorKind;

use super::executor::T3Executor;
use super::ids;
use super::server::Connection;
use crate::forges::RemoteFinding;

/// What findings are about.
const SERVER: &str = "t3 server";
const TOKEN: &str = "t3 token";
const PROJECT: &str = "t3 project";
const LANDING: &str = "t3 landing";
const COST: &str = "t3 cost";
/// The advice for a server that does not say how many tokens its agents use.
pub(super) const SET_TURN_USD: &str =
    "set turn_usd in its table to what a turn is to be charged, in US dollars";

impl T3Executor {
    /// Checks the server, and its project for `repo`.
    pub(super) async fn examine(&self, repo: &RepoName) -> Vec<RemoteFinding> {
        let mut all = Vec::new();
        match self.server.authenticated().await {
            Ok(()) => all.push(RemoteFinding::fine(TOKEN, "may read and operate threads")),
            Err(error) if error.kind == PortErrorKind::Auth => {
                let remedy =
                    "`t3 auth session issue --token-only` on the server's machine mints one";
                return vec![RemoteFinding::failure(TOKEN, error.chain()).remedy(remedy)];
            }
            Err(error) => {
                let remedy = "start it there with `t3 serve --no-browser` (port 3773), or correct \
                            the url";
                return vec![RemoteFinding::failure(SERVER, error.chain()).remedy(remedy)];
            }
        }
        let connection = match self.server.connect().await {
            Ok(connection) => connection,
            Err(error) => {
                let remedy =
                    "see what the server logs, and restart it; `afk t3 check` tries it again";
                all.push(RemoteFinding::failure(SERVER, error.chain()).remedy(remedy));
                return all;
            }
        };
        let (home, version) = (self.server.home(), &connection.about.server_version);
        let says = format!("{home}: T3 Code {version}, protocol {}", connection.number);
        all.push(if connection.is_tested() {
            RemoteFinding::fine(SERVER, says)
        } else {
            RemoteFinding::warning(SERVER, format!("{says}: untested with this version"))
                .remedy("`afk t3 check` tries everything that the loop does with it")
        });
        all.push(self.examined_project(&connection, repo).await);
        all.push(self.examined_landing());
        all.extend(self.examined_cost(&connection));
        all
    }

    async fn examined_project(&self, connection: &Connection, repo: &RepoName) -> RemoteFinding {
        let root = self.table.root(repo);
        let projects = match connection.protocol.projects().await {
            Ok(projects) => projects,
            Err(error) => {
                let remedy = "see what the server logs; `afk t3 check` tries it again";
                return RemoteFinding::failure(PROJECT, error.chain()).remedy(remedy);
            }
        };
        let id = ids::project(repo);
        let found = projects.iter().find(|one| one.id == id);
        let found = found.or_else(|| projects.iter().find(|one| one.root == root));
        match found {
            Some(project) if project.root == root => RemoteFinding::fine(PROJECT, root),
            Some(project) => {
                let says = format!("is in {}, not in {root}", project.root);
                RemoteFinding::warning(PROJECT, says).remedy("correct base, or move the project")
            }
            None => {
                let says = format!("none yet: the first run makes it of {root}");
                RemoteFinding::warning(PROJECT, says)
                    .remedy(format!("clone {repo} there, with a credential that may push"))
            }
        }
    }

    /// The finding about what is charged where the server does not count tokens; none where it
    /// does.
    fn examined_cost(&self, connection: &Connection) -> Option<RemoteFinding> {
        if connection.protocol.counts_tokens() {
            return None;
        }
        let uncounted = "the server does not say what its agents use";
        Some(match self.table.turn_usd {
            None => RemoteFinding::failure(COST, format!("{uncounted}: no turn is begun on it"))
                .remedy(SET_TURN_USD),
            Some(Usd::ZERO) => {
                let says = format!("{uncounted}, and turn_usd is 0: no budget limits them");
                RemoteFinding::warning(COST, says).remedy(SET_TURN_USD)
            }
            Some(each) => {
                let says = format!("{uncounted}: each turn is taken to cost {each}");
                RemoteFinding::warning(COST, says)
                    .remedy("compare it with what the model's provider charges you")
            }
        })
    }

    /// The finding about what the configured way of landing gives up.
    fn examined_landing(&self) -> RemoteFinding {
        let says = match self.table.checkout() {
            Checkout::Own => {
                "the agent pushes by itself: its change is guarded and proved only after it is on \
                 the default branch, it works outside of our sandbox with the server's own \
                 credentials, and what it costs is an estimate"
            }
            Checkout::Ours => {
                "the control plane lands, from a workspace that the agent works in outside of our \
                 sandbox; what it costs is an estimate"
            }
        };
        RemoteFinding::warning(LANDING, says)
            .remedy("only let repos use it whose readers and machine you trust with that")
    }
}
