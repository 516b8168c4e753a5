//! The forges of the configuration: accounts at GitHub, Forgejo and Gitea, by name, as trackers and
//! for pull requests.
//!
//! When the configuration changes, a forge whose own table stays the same is kept with all that it
//! has cached; the others are made anew.

mod api;
mod finding;
mod hooks;
mod repo_names;
mod settings;
mod stages;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use afk_core::config::Policy;
use afk_core::ids::{AdapterName, At, RepoName};
use afk_core::run::PullSeen;
use afk_engine::ports::{
    Clock, Notes, PortError, PortResult, PullRequests, PullSpec, Secrets, Tracker,
};
use async_trait::async_trait;
use secrecy::SecretString;
use serde::Serialize;

use crate::forgejo::Forgejo;
use crate::github::GitHub;
use crate::http::{self, AnswerCounts, Limits};
use crate::issues::Issues;
use crate::pulls;
use crate::settings::RemoteSettings;
pub(crate) use api::ForgeApi;
pub use finding::{Needs, RemoteFinding, Severity};
use hooks::{Deliveries, HookSecret};
pub use hooks::{HookOutcome, HookRefusal, LARGEST_HOOK, may_be_signed};
pub(crate) use repo_names::RepoNames;
pub use settings::{AppLogin, FORGES, ForgeTable};
use settings::{FORGEJO, GITEA, GITHUB};
pub(crate) use settings::{Login, is_loopback};

/// All forges of the configuration.
pub struct Forges {
    client: http::Client,
    clock: Arc<dyn Clock>,
    secrets: Arc<dyn Secrets>,
    notes: Arc<dyn Notes>,
    state: RwLock<State>,
    /// The newest deliveries of webhooks, to recognise repeats.
    heard: Mutex<Deliveries>,
}

#[derive(Default)]
struct State {
    forges: BTreeMap<AdapterName, Made>,
    /// The forge that opens a repo's pull requests, and is asked for its checks.
    pulls: BTreeMap<RepoName, AdapterName>,
}

/// A forge, and the table that it was made from.
#[derive(Clone)]
struct Made {
    table: ForgeTable,
    places: RepoNames,
    forge: Arc<dyn ForgeApi>,
    issues: Arc<Issues>,
    hook_secret: Arc<HookSecret>,
}

/// What a forge is made with.
pub(crate) struct Parts {
    pub(crate) client: http::Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) notes: Arc<dyn Notes>,
    pub(crate) places: RepoNames,
}

impl Forges {
    /// Without any forge, until [`Self::configure`].
    pub fn new(clock: Arc<dyn Clock>, secrets: Arc<dyn Secrets>, notes: Arc<dyn Notes>) -> Self {
        Self {
            client: http::client(),
            clock,
            secrets,
            notes,
            state: RwLock::default(),
            heard: Mutex::default(),
        }
    }

    /// Takes over the configuration. A table from which no forge can be made is passed over: it is
    /// reported as a mistake of the configuration.
    pub fn configure(&self, settings: &RemoteSettings, policy: &Policy) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut forges = BTreeMap::new();
        for (name, table) in &settings.forges {
            let known = state.forges.get(name).filter(|made| made.table == *table).cloned();
            let Some(made) = known.or_else(|| self.make(name, table)) else { continue };
            let repos = policy.repos.keys().cloned().collect();
            made.places.replace(settings.places_at(name), repos);
            forges.insert(name.clone(), made);
        }
        let pulls = policy.repos.iter().filter_map(|(repo, table)| {
            let forge = settings.forge_of(repo, &table.tracker)?;
            forges.contains_key(forge).then(|| (repo.clone(), forge.clone()))
        });
        *state = State { pulls: pulls.collect(), forges };
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, name: &AdapterName, table: &ForgeTable) -> Option<Made> {
        let places = RepoNames::default();
        let parts = Parts {
            client: self.client.clone(),
            clock: self.clock.clone(),
            secrets: self.secrets.clone(),
            notes: self.notes.clone(),
            places: places.clone(),
        };
        let forge: Arc<dyn ForgeApi> = match table.kind(name) {
            GITHUB => Arc::new(GitHub::new(table, parts).ok()?),
            FORGEJO | GITEA => Arc::new(Forgejo::new(name.as_str(), table, parts).ok()?),
            _ => return None,
        };
        let (clock, notes) = (self.clock.clone(), self.notes.clone());
        let issues = Issues::new(name.as_str(), forge.clone(), clock, notes, places.clone());
        let (table, issues) = (table.clone(), Arc::new(issues));
        Some(Made { table, places, forge, issues, hook_secret: Arc::default() })
    }

    /// Every forge as a tracker, by its name.
    pub fn trackers(&self) -> BTreeMap<AdapterName, Arc<dyn Tracker>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let trackers = state.forges.iter().map(|(name, made)| {
            let tracker: Arc<dyn Tracker> = made.issues.clone();
            (name.clone(), tracker)
        });
        trackers.collect()
    }

    /// Takes in a webhook that came for the forge of that name: checks its signature, and makes the
    /// next read of its repo a live one. `header` returns a header's value by its lower-case name.
    pub async fn receive_hook(
        &self,
        forge: &AdapterName,
        header: &(dyn Fn(&str) -> Option<String> + Sync),
        body: &[u8],
    ) -> Result<HookOutcome, HookRefusal> {
        let made = self.state().forges.get(forge).cloned().ok_or(HookRefusal::Unknown)?;
        let source = made.table.webhook_secret.as_ref().ok_or(HookRefusal::Unknown)?;
        // First, because reading the secret may start a command, and anybody can send a webhook
        // without a signature.
        let signature = hooks::signature(header)?;
        let secret = made.hook_secret.read(&*self.secrets, &*self.clock, source).await?;
        hooks::verify(&signature, body, &secret)?;
        let Some(place) = hooks::place(body)? else { return Ok(HookOutcome::NoRepo) };
        if let Some(id) = hooks::delivery(header) {
            let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            if !heard.is_new(format!("{forge} {id}")) {
                return Ok(HookOutcome::Repeated);
            }
        }
        self.woken(forge, &place).map(HookOutcome::Woke).ok_or(HookRefusal::Unknown)
    }

    /// Notes that something happened to the repo that the forge of that name calls `place`, so that
    /// its next read is a live one. Returns the repo's own name; none if there is no such forge.
    pub fn woken(&self, forge: &AdapterName, place: &RepoName) -> Option<RepoName> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let made = state.forges.get(forge)?;
        let repo = made.places.at(place);
        made.issues.woken(&repo);
        Some(repo)
    }

    /// The forge that opens a repo's pull requests, whose account opens its git, and which is asked
    /// for its checks.
    pub fn opener(&self, repo: &RepoName) -> Option<AdapterName> {
        self.state().pulls.get(repo).cloned()
    }

    /// Whether the forge of that name serves repositories at this host.
    pub fn is_at(&self, forge: &AdapterName, host: &str) -> bool {
        self.state().forges.get(forge).is_some_and(|made| made.forge.is_at(host))
    }

    /// Checks everything that the loop needs of `repo` on the forge of that name; none if there is
    /// no such forge.
    pub async fn examine(
        &self,
        repo: &RepoName,
        forge: &AdapterName,
        needs: &Needs,
    ) -> Option<Vec<RemoteFinding>> {
        let forge = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            state.forges.get(forge)?.forge.clone()
        };
        Some(forge.examine(repo, needs).await)
    }

    /// The rate limits of each forge's account.
    pub async fn limits(&self) -> Vec<ForgeLimits> {
        self.in_use().await.into_iter().map(|forge| forge.limits).collect()
    }

    /// How each forge's account is used: its rate limits, and counts of answers to this process.
    pub async fn in_use(&self) -> Vec<ForgeUse> {
        let forges: Vec<_> = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            state.forges.iter().map(|(name, made)| (name.clone(), made.issues.clone())).collect()
        };
        let mut all = Vec::new();
        for (name, issues) in forges {
            let answers = issues.answer_counts();
            let Limits { quota, until } = issues.known_limits().await;
            let until = until.filter(|until| *until > self.clock.now());
            let left = quota.map(|quota| (quota.remaining, quota.limit, quota.reset));
            all.push(ForgeUse { limits: ForgeLimits { name, left, until }, answers });
        }
        all
    }

    /// The names of the forges that take webhooks: those with a `webhook_secret`.
    pub fn hearing(&self) -> Vec<AdapterName> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let hearing = state.forges.iter().filter(|(_, made)| made.table.webhook_secret.is_some());
        hearing.map(|(name, _)| name.clone()).collect()
    }

    /// The token for the git of `repo` at `host`, if its forge serves repositories there.
    pub fn opens(&self, repo: &RepoName, host: &str) -> Option<GitToken> {
        let forge = self.of(repo).ok().filter(|forge| forge.is_at(host))?;
        Some(GitToken { forge, repo: repo.clone() })
    }

    fn of(&self, repo: &RepoName) -> PortResult<Arc<dyn ForgeApi>> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let made = state.pulls.get(repo).and_then(|name| state.forges.get(name));
        made.map(|made| made.forge.clone()).ok_or_else(|| {
            PortError::permanent(format!(
                "no forge opens pull requests on {repo}; set its tracker or its forge to one of \
                 [forges]"
            ))
        })
    }
}

/// What is known of the rate limits of a forge's account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForgeLimits {
    /// The forge's name in the configuration.
    pub name: AdapterName,
    /// The quota, if the forge names one: requests left, requests of a whole period, and the end of
    /// the period.
    pub left: Option<(u64, u64, At)>,
    /// Until when no request is sent, while a limit lasts.
    pub until: Option<At>,
}

/// How a forge's account is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgeUse {
    /// What is known of its rate limits.
    pub limits: ForgeLimits,
    /// Counts of its answers to this process.
    pub answers: AnswerCounts,
}

/// Reads the token that opens a repo's git.
pub struct GitToken {
    forge: Arc<dyn ForgeApi>,
    repo: RepoName,
}

impl GitToken {
    /// Returns the token as it is now; none if the forge has no credential.
    pub async fn read(&self) -> PortResult<Option<SecretString>> {
        self.forge.git_token(&self.repo).await
    }
}

#[async_trait]
impl PullRequests for Forges {
    async fn open(&self, pull: &PullSpec) -> PortResult<PullSeen> {
        pulls::open(&*self.of(&pull.repo)?, pull).await
    }

    async fn look(&self, repo: &RepoName, branch: &str) -> PortResult<PullSeen> {
        pulls::look(&*self.of(repo)?, repo, branch).await
    }

    async fn close(&self, repo: &RepoName, branch: &str) -> PortResult<()> {
        pulls::close(&*self.of(repo)?, repo, branch).await
    }
}
