//! GitHub: issues, pull requests and checks of the repos of one account.
//!
//! [`GitHub`] is one entry of `forges` in the configuration: a token or an app at one GitHub. It
//! reads live; [`crate::issues`] caches what it read.

mod api;
mod app;
mod examine;
mod history;
mod issues;
mod pulls;
mod watched;

use std::sync::Arc;

use afk_core::ids::RepoName;
use afk_engine::ports::{Clock, PortError, PortErrorKind, PortResult};
use async_trait::async_trait;
use jiff::SignedDuration;
use reqwest::Url;
use secrecy::SecretString;

use crate::forges::{ForgeApi, ForgeTable, Login, Needs, Parts, RemoteFinding, RepoNames};
use crate::http::{Account, Request, RequestFailure, Scheme, Sign, Spec, Token};
use app::{AppTokens, OwnKey};
use watched::Watched;

/// Headers of every request: the media type, and the version of the API whose fields are used.
const HEADERS: &[(&str, &str)] =
    &[("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28")];
/// The shortest time between two writes, as GitHub asks for.
const BETWEEN_WRITES: SignedDuration = SignedDuration::from_secs(1);
/// The API of github.com.
const API: &str = "https://api.github.com";

/// One account at one GitHub.
pub(crate) struct GitHub {
    account: Arc<Account>,
    /// The segments that the paths of REST begin with; GraphQL's path does not have them.
    rest: Vec<String>,
    app: Option<Arc<AppTokens>>,
    token: Option<Token>,
    /// The secret of the webhooks that `doctor --fix` makes.
    webhook_secret: Option<Token>,
    clock: Arc<dyn Clock>,
    places: RepoNames,
    watched: Watched,
}

impl GitHub {
    /// The account of `table`.
    pub(crate) fn new(table: &ForgeTable, parts: Parts) -> PortResult<Self> {
        let Parts { client, clock, secrets, notes: _, places } = parts;
        let (base, rest) = split(table.api_url(API).map_err(PortError::permanent)?);
        let home = base.host_str().unwrap_or("GitHub").to_owned();
        let spec = |sign, between_writes| Spec {
            home: home.clone(),
            base: base.clone(),
            sign,
            headers: HEADERS,
            between_writes,
        };
        let hook = table.webhook_secret.as_ref();
        let webhook_secret =
            hook.map(|source| Token::new(secrets.clone(), source.clone(), Scheme::Bearer));
        let (mut app, mut token) = (None, None);
        let sign: Option<Box<dyn Sign>> = match table.login() {
            Some(Login::App(login)) => {
                let key = OwnKey { login: login.clone(), secrets, clock: clock.clone() };
                // This account's only writes make tokens, between which GitHub asks for no pause.
                let spec = spec(Some(Box::new(key)), SignedDuration::ZERO);
                let signed = Account::new(client.clone(), clock.clone(), spec);
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
            account: Arc::new(Account::new(client, clock.clone(), spec(sign, BETWEEN_WRITES))),
            rest,
            app,
            token,
            webhook_secret,
            clock,
            places,
            watched: Watched::default(),
        })
    }

    /// A GET request below `repos/<owner>/<name>`.
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
}

#[async_trait]
impl ForgeApi for GitHub {
    fn root(&self) -> &[String] {
        &self.rest
    }

    /// That is the host of the API, but for github.com, whose API has a host of its own.
    fn is_at(&self, host: &str) -> bool {
        let api = self.account.host();
        host == api.strip_prefix("api.").filter(|host| *host == "github.com").unwrap_or(&api)
    }

    async fn git_token(&self, repo: &RepoName) -> PortResult<Option<SecretString>> {
        let place = self.places.of(repo);
        match (&self.app, &self.token) {
            (Some(app), _) => app.for_git(place.name()).await.map(Some),
            (None, Some(token)) => token.secret().await.map(Some),
            (None, None) => Ok(None),
        }
    }

    async fn examine(&self, repo: &RepoName, needs: &Needs) -> Vec<RemoteFinding> {
        self.examined(repo, needs).await
    }
}

/// Turns a refusal of a branch's rules into an empty list where there can be none: older servers do
/// not know the address, and GitHub refuses it for private repos of the free plan. That the
/// credential may not read the rules is an error.
pub(crate) fn empty_without_rules<T>(failure: RequestFailure) -> PortResult<Vec<T>> {
    let of_the_plan = failure.status == Some(403) && failure.text.starts_with("Upgrade to GitHub");
    if of_the_plan || failure.error.kind == PortErrorKind::NotFound {
        return Ok(Vec::new());
    }
    Err(failure.error)
}

/// Splits the address of REST into the part that GraphQL shares and the segments that REST's paths
/// begin with below that: `v3` on Enterprise Server.
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
