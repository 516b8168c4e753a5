//! The stage `woodpecker`: the pipeline for a commit on a Woodpecker server.
//!
//! The server has no filter by commit, so its newest pipelines are read until one matches. A
//! restart that [`StageQuery::again`] asks for is the server's own: it makes a new pipeline that
//! names the old one as its parent, by which the restart is recognised after a crash. Nothing else
//! is started here.

mod fold;

use std::fmt::Write as _;
use std::sync::Arc;

use afk_core::config::Mistake;
use afk_core::ids::RepoName;
use afk_core::secret::SecretSource;
use afk_core::verdict::StageAnswer;
use afk_engine::ports::{PortResult, StageQuery, StageReport};
use reqwest::Url;
use serde::Deserialize;

use fold::{About, Pipeline};

use super::homes::Homes;
use super::started::Started;
use super::table::StageTable;
use super::{nothing_there, tail};
use crate::http::{Account, Method, Request, Scheme};

/// Pipelines per page: the server gives no more.
const PAGE: usize = 50;
/// How many pages are searched at most.
const PAGES: usize = 10;
/// The events whose pipelines count by default.
const EVENTS: [&str; 3] = ["push", "manual", "deployment"];
/// The default variable that names the commit.
const VARIABLE: &str = "IMAGE_TAG";

/// The server and repo whose pipelines are read, and which of them count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    url: Url,
    token: SecretSource,
    repo: RepoName,
    events: Vec<String>,
    variable: String,
    restart: bool,
}

impl Settings {
    /// Reads the table of a stage of `repo`.
    pub(super) fn read(table: &StageTable, repo: &RepoName) -> Result<Self, Mistake> {
        table.needed("url", table.url.as_ref())?;
        let url = table.base()?;
        let events = table.events.clone().unwrap_or_else(|| EVENTS.map(str::to_owned).into());
        if events.is_empty() {
            return Err(Mistake::at(&["events"], "is empty, so no pipeline counts; omit it"));
        }
        Ok(Self {
            url: table.needed("url", url.as_ref())?.clone(),
            token: table.needed("token", table.token.as_ref())?.clone(),
            repo: table.repo.clone().unwrap_or_else(|| repo.clone()),
            events,
            variable: table.variable.clone().unwrap_or_else(|| VARIABLE.to_owned()),
            restart: table.restart.unwrap_or(true),
        })
    }
}

/// A repo as the server knows it.
#[derive(Debug, Deserialize)]
struct Repo {
    id: u64,
    #[serde(default)]
    default_branch: String,
}

/// Finds the newest pipeline for the commit, and says how it stands.
pub(super) async fn poll(
    homes: &Homes,
    started: &Started,
    settings: &Settings,
    query: &StageQuery,
) -> PortResult<StageReport> {
    let account = homes.account(&settings.url, Some((&settings.token, Scheme::Bearer)))?;
    let server = Server { account, settings };
    let repo = server.repo().await?;
    let found = server.find(&repo, query).await?;
    let repo = repo.id;
    let Some(newest) = found.first() else { return Ok(nothing_there()) };
    let answer = fold::answer(&newest.status);
    let again = answer.trouble().is_some()
        && settings.restart
        && fold::restarts(newest, &found) < query.again;
    if again
        && let Some(Some(new)) = started.once(query, 0, server.restart(repo, newest.number)).await?
    {
        return Ok(StageReport {
            answer: StageAnswer::Pending,
            link: Some(server.link(repo, new)),
            ..nothing_there()
        });
    }
    let tail = match answer {
        StageAnswer::Failure => server.what_failed(repo, newest.number).await?,
        StageAnswer::None | StageAnswer::Pending | StageAnswer::Success | StageAnswer::Void => None,
    };
    let link = Some(server.link(repo, newest.number));
    Ok(StageReport { answer, link, tail, next_look: None })
}

/// The server of one stage.
struct Server<'a> {
    account: Arc<Account>,
    settings: &'a Settings,
}

impl Server<'_> {
    /// Reads what the server knows of the repo.
    async fn repo(&self) -> PortResult<Repo> {
        let name = &self.settings.repo;
        let request = Request::get(["api", "repos", "lookup", name.owner(), name.name()]);
        self.account.json(&request).await
    }

    /// Reads the pipelines for the commit, newest first, but those of pushes to other branches than
    /// the one that has the commit last: only the pipelines on the newest page that has any.
    async fn find(&self, repo: &Repo, query: &StageQuery) -> PortResult<Vec<Pipeline>> {
        let Settings { events, variable, .. } = self.settings;
        let (commit, landed) = (&query.commit, query.landed);
        let default_branch = repo.default_branch.as_str();
        let about = About { commit, landed, events, variable, default_branch };
        let repo = repo.id.to_string();
        for page in 1..=PAGES {
            let request = Request::get(["api", "repos", &repo, "pipelines"]);
            let request = request.with("page", page).with("perPage", PAGE);
            let all: Vec<Pipeline> = self.account.json(&request).await?;
            let last = all.len() < PAGE;
            let mut found: Vec<_> = all.into_iter().filter(|one| about.is(one)).collect();
            found.sort_by_key(|one| (about.is_elsewhere(one), std::cmp::Reverse(one.number)));
            if last || !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// Restarts the pipeline, and returns the new pipeline's number. None if the server's filters
    /// skipped it, so that nothing was started and the old answer stands.
    async fn restart(&self, repo: u64, number: u64) -> PortResult<Option<u64>> {
        let (repo, number) = (repo.to_string(), number.to_string());
        let request = Request::new(Method::Post, ["api", "repos", &repo, "pipelines", &number]);
        let answer = self.account.send(&request).await?;
        if answer.body.is_empty() {
            return Ok(None);
        }
        answer.json::<Pipeline>().map(|new| Some(new.number))
    }

    /// Reads the end of the log of the step that failed, followed by the faults that the server
    /// lists.
    async fn what_failed(&self, repo: u64, number: u64) -> PortResult<Option<String>> {
        let (repo, number) = (repo.to_string(), number.to_string());
        let request = Request::get(["api", "repos", &repo, "pipelines", &number]);
        let whole: Pipeline = self.account.json(&request).await?;
        let mut text = String::new();
        if let Some((_, step)) = fold::failed_step(&whole) {
            let step = step.id.to_string();
            let log = Request::get(["api", "repos", &repo, "logs", &number, &step, "download"]);
            text = tail::of(&self.account, &log).await;
        }
        for fault in fold::faults(&whole) {
            let _ = write!(text, "\n{fault}");
        }
        Ok(tail::kept(text.as_bytes()))
    }

    /// The pipeline's page, for people.
    fn link(&self, repo: u64, number: u64) -> String {
        let base = self.settings.url.as_str().trim_end_matches('/');
        format!("{base}/repos/{repo}/pipeline/{number}")
    }
}

#[cfg(test)]
mod tests;
