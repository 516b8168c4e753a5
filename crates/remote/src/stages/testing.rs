//! For tests: a home on loopback that gives set answers and records requests.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use afk_core::config;
use afk_core::ids::{AdapterName, At, RepoName, RunId};
use afk_core::secret::SecretSource;
use afk_core::verdict::StageAnswer;
use afk_engine::ports::{
    Clock, PortError, PortResult, Secrets, StageQuery, StageReport, Stages as _,
};
use async_trait::async_trait;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::forges::{ChecksOf, Forge, ForgesOfStages};
use super::homes::Homes;
use super::{Ancestry, PolledStages};
use crate::http::{Account, Scheme};
use crate::settings::RemoteSettings;

/// The commit that tests ask about.
pub(crate) const COMMIT: &str = "1a2b3c4d5e6f708192a3b4c5d6e7f80912345678";
/// The credential that tests ask with.
pub(crate) const TOKEN: &str = "token-of-the-test";

/// One answer of the home.
#[derive(Debug, Clone)]
pub(crate) struct HomeAnswer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl HomeAnswer {
    pub(crate) fn json(body: &Value) -> Self {
        Self::text(200, &body.to_string()).with("content-type", "application/json")
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::from(body.to_owned()) }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// A request that the home got: `GET /path?query`, and its credential.
pub(crate) type ReceivedRequest = (String, Option<String>);

#[derive(Default)]
struct Script {
    /// The answers to `GET /path?query`, or to the same without the query; the last comes first.
    says: BTreeMap<String, Vec<HomeAnswer>>,
    asked: Vec<ReceivedRequest>,
}

/// A home on loopback.
pub(crate) struct Home {
    /// Its address, without a slash at the end.
    pub(crate) url: String,
    told: Arc<Mutex<Script>>,
}

impl Home {
    /// Opens a home that answers everything with 404.
    pub(crate) async fn open() -> Self {
        let told = Arc::new(Mutex::new(Script::default()));
        let app = axum::Router::new().fallback(answer).with_state(told.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, told }
    }

    /// Sets the answers to `request` from now on: one after the other, the last again and again.
    pub(crate) fn says(&self, request: &str, answers: impl Into<Vec<HomeAnswer>>) {
        let mut answers: Vec<_> = answers.into();
        answers.reverse();
        self.told.lock().unwrap().says.insert(request.to_owned(), answers);
    }

    /// Sets one JSON answer to `request`.
    pub(crate) fn gives(&self, request: &str, body: &Value) {
        self.says(request, [HomeAnswer::json(body)]);
    }

    /// Takes the requests since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked_with().into_iter().map(|(request, _)| request).collect()
    }

    /// The same, with the credentials.
    pub(crate) fn asked_with(&self) -> Vec<ReceivedRequest> {
        std::mem::take(&mut self.told.lock().unwrap().asked)
    }
}

async fn answer(State(told): State<Arc<Mutex<Script>>>, request: Request) -> Response {
    let uri = request.uri().clone();
    let whole = format!("{} {uri}", request.method());
    let plain = format!("{} {}", request.method(), uri.path());
    let credential = request.headers().get("authorization");
    let credential = credential.map(|value| value.to_str().unwrap().to_owned());
    let mut told = told.lock().unwrap();
    told.asked.push((whole.clone(), credential));
    let key = if told.says.contains_key(&whole) { whole } else { plain };
    let said = told.says.get_mut(&key).and_then(|answers| match answers.len() {
        0 | 1 => answers.first().cloned(),
        _ => answers.pop(),
    });
    let Some(said) = said else { return StatusCode::NOT_FOUND.into_response() };
    let headers: HeaderMap = said
        .headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
        .collect();
    (StatusCode::from_u16(said.status).unwrap(), headers, said.body).into_response()
}

/// The ports of tests: the real clock, [`TOKEN`] as every secret, and commits that begin with `d`
/// as descendants.
pub(crate) struct Here;

#[async_trait]
impl Clock for Here {
    fn now(&self) -> At {
        At::now()
    }
    async fn sleep_until(&self, _at: At) {}
}

#[async_trait]
impl Secrets for Here {
    async fn read(&self, _source: &SecretSource) -> PortResult<SecretString> {
        Ok(TOKEN.into())
    }
}

#[async_trait]
impl Ancestry for Here {
    async fn is_descendant(&self, _: &StageQuery, digits: &str) -> PortResult<bool> {
        Ok(digits.starts_with('d'))
    }
}

struct NoForge;

impl ForgesOfStages for NoForge {
    fn forge(&self, _: Option<&AdapterName>, _: &RepoName) -> PortResult<Forge> {
        Err(PortError::permanent("no forge"))
    }
}

struct OneForge(Arc<Account>, ChecksOf);

impl ForgesOfStages for OneForge {
    fn forge(&self, name: Option<&AdapterName>, repo: &RepoName) -> PortResult<Forge> {
        assert_eq!(name, None);
        let root = ["api", "v3"].map(str::to_owned).into();
        Ok(Forge { checks: self.1, account: self.0.clone(), root, repo: repo.clone() })
    }
}

/// A stage under test, of the repo `you/web`.
pub(crate) struct Stage {
    stages: Arc<PolledStages>,
    table: config::Stage,
    run: RunId,
}

impl Stage {
    /// The stage of this table, which must have no mistakes.
    pub(crate) fn new(table: Value) -> Self {
        let here = Arc::new(Here);
        let stages = PolledStages::asking(here.clone(), here.clone(), here, Arc::new(NoForge));
        let [stage] = Self::of(stages, [table]);
        stage
    }

    /// The same, where `home` is the forge that tracks the repo, with its API below `/api/v3`.
    pub(crate) fn at(home: &Home, table: Value) -> Self {
        let [stage] = Self::all_at(home, [table]);
        stage
    }

    /// Two stages of the repo.
    pub(crate) fn two_at(home: &Home, tables: [Value; 2]) -> [Self; 2] {
        Self::all_at(home, tables)
    }

    fn all_at<const N: usize>(home: &Home, tables: [Value; N]) -> [Self; N] {
        let here = Arc::new(Here);
        let source = SecretSource::Env("TOKEN".to_owned());
        let account = Homes::new(here.clone(), here.clone())
            .account(&home.url.parse().unwrap(), Some((&source, Scheme::Bearer)))
            .unwrap();
        let checks = match tables[0]["kind"].as_str() {
            Some("forgejo-status") => ChecksOf::Forgejo,
            _ => ChecksOf::GitHub,
        };
        let forges = Arc::new(OneForge(account, checks));
        Self::of(PolledStages::asking(here.clone(), here.clone(), here, forges), tables)
    }

    fn of<const N: usize>(stages: PolledStages, mut tables: [Value; N]) -> [Self; N] {
        for (n, table) in tables.iter_mut().enumerate() {
            table["name"] = ["it", "other"][n].into();
        }
        let whole = json!({ "repos": { "you/web": { "stages": tables.as_slice() } } });
        let settings: RemoteSettings = serde_json::from_value(whole).unwrap();
        assert_eq!(settings.mistakes(), []);
        stages.configure(Arc::new(settings));
        let stages = Arc::new(stages);
        tables.map(|table| {
            let table = serde_json::from_value(table).unwrap();
            Self { stages: stages.clone(), table, run: RunId::new(uuid::Uuid::nil()) }
        })
    }

    /// Polls it about [`COMMIT`], with `again` restarts asked for.
    pub(crate) async fn poll(&self, again: u32) -> PortResult<StageReport> {
        self.poll_at(true, again).await
    }

    async fn poll_at(&self, landed: bool, again: u32) -> PortResult<StageReport> {
        let query = StageQuery {
            run: self.run,
            repo: "you/web".parse().unwrap(),
            stage: self.table.clone(),
            commit: COMMIT.parse().unwrap(),
            landed,
            again,
        };
        self.stages.poll(&query).await
    }

    /// The same, which must succeed.
    pub(crate) async fn says(&self, again: u32) -> StageReport {
        self.poll(again).await.unwrap_or_else(|error| panic!("{}", error.chain()))
    }

    /// Its answer before the commit has landed, and once it has.
    pub(crate) async fn before_and_after(&self) -> (StageAnswer, StageAnswer) {
        let answer = async |landed: bool| match self.poll_at(landed, 0).await {
            Ok(report) => report.answer,
            Err(error) => panic!("{}", error.chain()),
        };
        (answer(false).await, answer(true).await)
    }

    /// Polls it, which must fail, and returns the error.
    pub(crate) async fn fails(&self) -> String {
        self.poll(0).await.map(|report| panic!("{report:?}")).unwrap_err().chain()
    }
}
