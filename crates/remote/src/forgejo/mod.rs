//! Forgejo and Gitea: issues, pull requests and checks of the repos of one account.
//!
//! [`Forgejo`] is one entry of `forges` in the configuration: a token at one server. It reads live;
//! [`crate::issues`] caches what it read. Only what Forgejo and Gitea have in common is used, so
//! that nothing depends on which of them the server is, nor much on its version.

mod api;
mod examine;
mod history;
mod issues;
mod labels;
mod pages;
mod pulls;
mod texts;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use afk_core::ids::RepoName;
use afk_engine::ports::{Clock, Notes, PortError, PortResult};
use async_trait::async_trait;
use jiff::SignedDuration;
use reqwest::Url;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::forges::{ForgeApi, ForgeTable, Login, Needs, Parts, RemoteFinding, RepoNames};
use crate::http::{Account, Answer, Request, Scheme, Sign, Spec, Token};
use labels::Labels;
use pages::{NextPage, TooLarge};
use texts::Texts;

/// What the paths of the API begin with, below the server's address.
const ROOT: [&str; 2] = ["api", "v1"];
/// The shortest time between two writes. A courtesy: these servers have no rate limits.
const BETWEEN_WRITES: SignedDuration = SignedDuration::from_millis(100);
/// How many pages are asked for at most: a list that is longer is an error, never cut short.
const PAGES: usize = 400;

/// One account at one Forgejo or Gitea.
pub(crate) struct Forgejo {
    /// Its name in the configuration.
    name: String,
    account: Arc<Account>,
    /// The segments that the paths of the API begin with.
    root: Vec<String>,
    token: Option<Token>,
    /// The secret of the webhooks that `doctor --fix` makes.
    webhook_secret: Option<Token>,
    clock: Arc<dyn Clock>,
    notes: Arc<dyn Notes>,
    places: RepoNames,
    /// For each repo, observations that the server does not keep; none until the notes were read.
    known: Mutex<BTreeMap<RepoName, Arc<tokio::sync::Mutex<Option<Known>>>>>,
}

/// Observations of a repo that are kept because the server does not tell them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Known {
    /// Since when issues have the texts that they have.
    texts: Texts,
    /// Since when labels have their names.
    labels: Labels,
}

impl Forgejo {
    /// The account of `table`, which is named `name` in the configuration.
    pub(crate) fn new(name: &str, table: &ForgeTable, parts: Parts) -> PortResult<Self> {
        let Parts { client, clock, secrets, notes, places } = parts;
        let base = root_of(table.api_url("").map_err(PortError::permanent)?);
        let token = match table.login() {
            Some(Login::Token(source)) => {
                Some(Token::new(secrets.clone(), source.clone(), Scheme::Token))
            }
            Some(Login::App(_)) | None => None,
        };
        let hook = table.webhook_secret.as_ref();
        let webhook_secret = hook.map(|source| Token::new(secrets, source.clone(), Scheme::Token));
        let spec = Spec {
            home: base.host_str().unwrap_or("the forge").to_owned(),
            base,
            sign: token.clone().map(|token| Box::new(token) as Box<dyn Sign>),
            headers: &[],
            between_writes: BETWEEN_WRITES,
        };
        Ok(Self {
            name: name.to_owned(),
            account: Arc::new(Account::new(client, clock.clone(), spec)),
            root: ROOT.map(str::to_owned).to_vec(),
            token,
            webhook_secret,
            clock,
            notes,
            places,
            known: Mutex::default(),
        })
    }

    /// A GET request below `repos/<owner>/<name>`.
    fn get(&self, repo: &RepoName, below: &[&str]) -> Request {
        Request::get(self.path(repo, below))
    }

    /// The segments of the path below `repos/<owner>/<name>`.
    fn path(&self, repo: &RepoName, below: &[&str]) -> Vec<String> {
        let place = self.places.of(repo);
        self.top(&[&["repos", place.owner(), place.name()], below].concat())
    }

    /// The segments of a path that belongs to no repo.
    fn top(&self, below: &[&str]) -> Vec<String> {
        self.root.iter().cloned().chain(below.iter().map(|part| (*part).to_owned())).collect()
    }

    /// Reads every page of a list.
    ///
    /// `Link` headers are not followed: they contain the server's public address, which may not be
    /// the one that we have. A short page is not taken for the last one, since some servers give
    /// fewer entries a page than they are asked for; the list ends at `x-total-count`, or at an
    /// empty page.
    async fn pages(&self, request: &Request) -> PortResult<Vec<Answer>> {
        self.pages_until(request, TooLarge::Fails, |_| Ok(false)).await
    }

    /// The same without entries that nobody can read, because one alone is too large: whoever may
    /// write issues could make the list unreadable by a single one.
    async fn readable_pages(&self, request: &Request) -> PortResult<Vec<Answer>> {
        self.pages_until(request, TooLarge::LeftOut, |_| Ok(false)).await
    }

    /// The same, but no page after one for which `is_last` holds.
    async fn pages_until(
        &self,
        request: &Request,
        too_large: TooLarge,
        is_last: impl Fn(&Answer) -> PortResult<bool> + Send,
    ) -> PortResult<Vec<Answer>> {
        let (mut all, mut next) = (Vec::new(), NextPage::FIRST);
        for _ in 0..PAGES {
            let page = request.clone().with("limit", next.size).with("page", next.number);
            let answer = match self.account.try_send(&page).await {
                Ok(answer) => answer,
                Err(failure) => {
                    next = match next.smaller() {
                        Some(smaller) if failure.too_large => smaller,
                        None if failure.too_large && too_large == TooLarge::LeftOut => {
                            next.after(1)
                        }
                        _ => return Err(failure.error),
                    };
                    continue;
                }
            };
            let here = list_of::<serde::de::IgnoredAny>(&answer)?.len();
            let total = answer.header("x-total-count").and_then(|total| total.parse().ok());
            next = next.after(here);
            let is_over = here == 0 || total.is_some_and(|total: usize| total <= next.before);
            let is_last = is_over || is_last(&answer)?;
            all.push(answer);
            if is_last {
                return Ok(all);
            }
        }
        let why = format!("{request}: the list has more than {PAGES} pages");
        Err(PortError::permanent(why))
    }

    /// Reads every entry of a list.
    async fn all<T: DeserializeOwned>(&self, request: &Request) -> PortResult<Vec<T>> {
        let mut all = Vec::new();
        for answer in self.pages(request).await? {
            all.extend(list_of::<T>(&answer)?);
        }
        Ok(all)
    }

    /// The slot of what is known of a repo.
    fn known_of(&self, repo: &RepoName) -> Arc<tokio::sync::Mutex<Option<Known>>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(repo.clone()).or_default().clone()
    }
}

#[async_trait]
impl ForgeApi for Forgejo {
    fn root(&self) -> &[String] {
        &self.root
    }

    fn is_at(&self, host: &str) -> bool {
        host == self.account.host()
    }

    async fn git_token(&self, _repo: &RepoName) -> PortResult<Option<SecretString>> {
        match &self.token {
            Some(token) => token.secret().await.map(Some),
            None => Ok(None),
        }
    }

    async fn examine(&self, repo: &RepoName, needs: &Needs) -> Vec<RemoteFinding> {
        self.examined(repo, needs).await
    }
}

/// The entries of a list. Go writes some empty lists as null.
fn list_of<'a, T: Deserialize<'a>>(answer: &'a Answer) -> PortResult<Vec<T>> {
    Ok(answer.borrowed::<Option<Vec<T>>>()?.unwrap_or_default())
}

/// The server's address, given that or the address of its API.
fn root_of(url: Url) -> Url {
    let mut root = url;
    let path = root.path().trim_end_matches('/').to_owned();
    if let Some(above) = path.strip_suffix("/api/v1") {
        root.set_path(above);
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_the_server_or_of_its_api_is_the_same() {
        let check = |url: &str, root: &str| {
            assert_eq!(root_of(Url::parse(url).unwrap()).as_str(), root);
        };
        check("https://code.example", "https://code.example/");
        check("https://code.example/api/v1/", "https://code.example/");
        check("https://example.org/git", "https://example.org/git");
        check("https://example.org/git/api/v1", "https://example.org/git");
    }
}
