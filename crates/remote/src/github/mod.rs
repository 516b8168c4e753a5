//! GitHub: issues, pull requests and checks of the repos of one account.
//!
//! [`GitHub`] is one entry of `forges` in the configuration: a token or an app at one GitHub. It
//! reads through what one conditional request a repo has seen ([`seen`]), so that a repo in which
//! nothing happens costs that request and nothing else.

mod api;
mod app;
mod examine;
mod history;
mod pulls;
mod repo;
mod seen;
mod shared;
mod tracker;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use afk_core::ids::{Actor, At, RepoName};
use afk_core::issue::Permission;
use afk_engine::ports::{Clock, Notes, PortError, PortResult, Secrets};
use jiff::SignedDuration;
use reqwest::Url;
use secrecy::SecretString;

use crate::forges::{ForgeTable, Login, Places};
use crate::http::{Account, Request, Scheme, Sign, Spec, Token};
use app::{AppTokens, OwnKey};
use repo::RepoState;
use shared::Shared;

/// Headers of every request: the version that GitHub's fields are taken from.
const HEADERS: &[(&str, &str)] =
    &[("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28")];
/// GitHub asks for a second between two writes.
const BETWEEN_WRITES: SignedDuration = SignedDuration::from_secs(1);
/// Where github.com's API is.
const API: &str = "https://api.github.com";
/// How long a permission that was read is believed.
const PERMISSION_HOLDS: SignedDuration = SignedDuration::from_mins(5);

/// One account at one GitHub.
pub(crate) struct GitHub {
    /// Its name in the configuration.
    name: String,
    account: Arc<Account>,
    /// What the paths of REST begin with: GraphQL is beside them.
    rest: Vec<String>,
    app: Option<Arc<AppTokens>>,
    token: Option<Token>,
    /// What webhooks that are made are signed with.
    webhook_secret: Option<Token>,
    clock: Arc<dyn Clock>,
    notes: Arc<dyn Notes>,
    shared: Shared,
    places: Places,
    repos: Mutex<BTreeMap<RepoName, Arc<RepoState>>>,
    permissions: Mutex<HashMap<(RepoName, String), (Permission, At)>>,
    own: tokio::sync::OnceCell<Actor>,
}

/// What a forge is made with.
pub(crate) struct Parts {
    pub(crate) client: reqwest::Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) notes: Arc<dyn Notes>,
    pub(crate) places: Places,
}

impl GitHub {
    /// The account of `table`, which is named `name` in the configuration.
    pub(crate) fn new(name: &str, table: &ForgeTable, parts: Parts) -> PortResult<Self> {
        let Parts { client, clock, secrets, notes, places } = parts;
        let (base, rest) = split(table.api_url(API).map_err(PortError::permanent)?);
        let home = base.host_str().unwrap_or("GitHub").to_owned();
        let spec = |sign| Spec {
            home: home.clone(),
            base: base.clone(),
            sign,
            headers: HEADERS,
            between_writes: BETWEEN_WRITES,
        };
        let hook = table.webhook_secret.as_ref();
        let webhook_secret =
            hook.map(|source| Token::new(secrets.clone(), source.clone(), Scheme::Bearer));
        let (mut app, mut token) = (None, None);
        let sign: Option<Box<dyn Sign>> = match table.login() {
            Some(Login::App(login)) => {
                let key = OwnKey { login: login.clone(), secrets, clock: clock.clone() };
                let signed = Account::new(client.clone(), clock.clone(), spec(Some(Box::new(key))));
                let (at, rest) = (login.installation, rest.clone());
                let tokens = Arc::new(AppTokens::new(at, signed, rest, clock.clone()));
                app = Some(tokens.clone());
                Some(Box::new(tokens))
            }
            Some(Login::Token(source)) => {
                let own = Token::new(secrets, source.clone(), Scheme::Bearer);
                token = Some(own.clone());
                Some(Box::new(own))
            }
            None => None,
        };
        Ok(Self {
            name: name.to_owned(),
            account: Arc::new(Account::new(client, clock.clone(), spec(sign))),
            rest,
            app,
            token,
            webhook_secret,
            clock,
            notes,
            shared: Shared::default(),
            places,
            repos: Mutex::default(),
            permissions: Mutex::default(),
            own: tokio::sync::OnceCell::new(),
        })
    }

    /// The account, and what the paths of its REST API begin with.
    pub(crate) fn api(&self) -> (Arc<Account>, Vec<String>) {
        (self.account.clone(), self.rest.clone())
    }

    /// What is kept about `repo`.
    fn repo(&self, repo: &RepoName) -> Arc<RepoState> {
        let mut repos = self.repos.lock().unwrap_or_else(PoisonError::into_inner);
        repos.entry(repo.clone()).or_default().clone()
    }

    /// A read below `repos/<owner>/<name>`.
    fn get(&self, repo: &RepoName, below: &[&str]) -> Request {
        Request::get(self.path(repo, below))
    }

    /// The segments of the path below `repos/<owner>/<name>`.
    fn path(&self, repo: &RepoName, below: &[&str]) -> Vec<String> {
        let place = self.places.of(repo);
        let (owner, name) = place.as_str().split_once('/').unwrap_or((place.as_str(), ""));
        let whole = ["repos", owner, name].into_iter().chain(below.iter().copied());
        self.rest.iter().cloned().chain(whole.map(str::to_owned)).collect()
    }

    /// The segments of a path that belongs to no repo.
    fn top(&self, below: &[&str]) -> Vec<String> {
        self.rest.iter().cloned().chain(below.iter().map(|part| (*part).to_owned())).collect()
    }

    /// Whether repositories are at this host, too: github.com has its API elsewhere.
    pub(crate) fn is_at(&self, host: &str) -> bool {
        let api = self.account.host();
        host == api.strip_prefix("api.").filter(|host| *host == "github.com").unwrap_or(&api)
    }

    /// The token that opens the git of `repo`.
    pub(crate) async fn git_token(&self, repo: &RepoName) -> PortResult<Option<SecretString>> {
        let place = self.places.of(repo);
        match (&self.app, &self.token) {
            (Some(app), _) => {
                let name = place.as_str().split_once('/').map_or("", |(_, name)| name);
                app.for_git(name).await.map(Some)
            }
            (None, Some(token)) => token.secret().await.map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Something happened in `repo`.
    pub(crate) fn woken(&self, repo: &RepoName) {
        self.repo(repo).wake(self.now());
    }

    fn now(&self) -> At {
        self.clock.now()
    }
}

/// The address that REST and GraphQL share, and what REST's paths begin with below it: on Enterprise
/// Server `v3`.
fn split(base: Url) -> (Url, Vec<String>) {
    let path = base.path().trim_end_matches('/').to_owned();
    let mut root = base;
    let rest = path.strip_suffix("/v3").map(|path| {
        root.set_path(path);
        vec!["v3".to_owned()]
    });
    (root, rest.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphql_is_beside_the_api() {
        let check = |base: &str, root: &str, rest: &[&str]| {
            let (found, below) = split(Url::parse(base).unwrap());
            assert_eq!(
                (found.as_str(), below.as_slice()),
                (root, &*rest.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
            );
        };
        check("https://api.github.com", "https://api.github.com/", &[]);
        check("https://ghe.example/api/v3", "https://ghe.example/api", &["v3"]);
        check("https://ghe.example/api/v3/", "https://ghe.example/api", &["v3"]);
    }
}
