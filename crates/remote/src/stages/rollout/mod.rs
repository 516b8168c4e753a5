//! The stage `rollout`: a workload of a Kubernetes cluster that runs the commit, or a later one.
//!
//! Each poll is one authenticated read of the workload: from the cluster that afk runs in, with the
//! pod's service account, or from the cluster at `url`, with a token. The permission to `get` the
//! workload is enough.

mod fold;

use std::path::{Path, PathBuf};

use afk_core::config::Mistake;
use afk_core::secret::SecretSource;
use afk_core::verdict::StageAnswer;
use afk_engine::ports::{PortError, PortErrorKind, PortResult, StageQuery, StageReport};
use reqwest::Url;
use tokio::io::AsyncReadExt as _;

use fold::{Kind, Rollout, Runs, Workload};

use super::homes::Homes;
use super::table::{StageTable, web};
use super::{Ancestry, nothing_there, tail};
use crate::http::{Request, Scheme};

/// The address of the API server inside its cluster.
const IN_CLUSTER: &str = "https://kubernetes.default.svc/";
/// The folder of a pod's service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Maximum length of a file of authorities, in bytes.
const MAX_CA: u64 = 1 << 20;

/// The workload to read, and its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    url: Url,
    token: SecretSource,
    ca: Option<PathBuf>,
    kind: Kind,
    name: String,
    namespace: String,
    container: Option<String>,
}

impl Settings {
    /// Reads a stage's table.
    pub(super) fn read(table: &StageTable) -> Result<Self, Mistake> {
        let (kind, name) = workload(table.needed("workload", table.workload.as_ref())?)?;
        let namespace = table.namespace.clone().unwrap_or_else(|| "default".to_owned());
        if !is_name(&namespace) {
            return Err(Mistake::at(&["namespace"], "is not the name of a namespace"));
        }
        let (url, token, ca) = match table.base()? {
            Some(url) => {
                let token = table.needed("token", table.token.as_ref())?.clone();
                (url, token, table.ca.clone())
            }
            None if table.token.is_some() || table.ca.is_some() => {
                let what = "needs the url of the cluster that it is for; add it, or omit token and \
                            ca for the cluster that afk runs in";
                return Err(Mistake::at(&[], format!("a stage of kind \"rollout\" {what}")));
            }
            None => {
                let account = Path::new(ACCOUNT);
                let token = SecretSource::File(account.join("token"));
                (web(IN_CLUSTER)?, token, Some(account.join("ca.crt")))
            }
        };
        let container = table.container.clone();
        Ok(Self { url, token, ca, kind, name: name.to_owned(), namespace, container })
    }

    fn request(&self) -> Request {
        let kind = match self.kind {
            Kind::Deployment => "deployments",
            Kind::StatefulSet => "statefulsets",
            Kind::DaemonSet => "daemonsets",
        };
        Request::get(["apis", "apps", "v1", "namespaces", &self.namespace, kind, &self.name])
    }
}

/// Parses the kind and name of a workload, as `kubectl` writes them.
fn workload(text: &str) -> Result<(Kind, &str), Mistake> {
    let parts = text.split_once('/').and_then(|(kind, name)| {
        let kind = match kind {
            "deployment" | "deploy" => Kind::Deployment,
            "statefulset" | "sts" => Kind::StatefulSet,
            "daemonset" | "ds" => Kind::DaemonSet,
            _ => return None,
        };
        is_name(name).then_some((kind, name))
    });
    parts.ok_or_else(|| {
        let what = "must be deployment/NAME, statefulset/NAME or daemonset/NAME";
        Mistake::at(&["workload"], what)
    })
}

/// Whether an object of a cluster can have that name.
fn is_name(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (1..=253).contains(&text.len()) && text.bytes().all(plain) && !text.starts_with(['-', '.'])
}

/// Reads the workload, and says how the commit stands there.
pub(super) async fn poll(
    homes: &Homes,
    ancestry: &dyn Ancestry,
    settings: &Settings,
    query: &StageQuery,
) -> PortResult<StageReport> {
    let authorities = match &settings.ca {
        Some(path) => Some(file(path).await?),
        None => None,
    };
    let token = (&settings.token, Scheme::Bearer);
    let account = homes.account_trusting(&settings.url, Some(token), authorities)?;
    let workload: Workload = match account.json(&settings.request()).await {
        Ok(workload) => workload,
        // The workload may be about to be deployed for the first time.
        Err(error) if error.kind == PortErrorKind::NotFound => return Ok(nothing_there()),
        Err(error) => return Err(error),
    };
    let ours = match workload.runs(&query.commit, settings.container.as_deref()) {
        Runs::Ours => true,
        Runs::Others(digits) => {
            if !is_later(ancestry, query, &digits).await? {
                return Ok(nothing_there());
            }
            false
        }
    };
    Ok(report(workload.rollout(settings.kind), ours))
}

/// Whether one of the commits of the images, by their digits, contains the query's.
async fn is_later(
    ancestry: &dyn Ancestry,
    query: &StageQuery,
    digits: &[String],
) -> PortResult<bool> {
    for digits in digits {
        if ancestry.is_descendant(query, digits).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The report of a rollout. `ours` says that the image is the commit's own, and not a later one's.
fn report(rollout: Rollout, ours: bool) -> StageReport {
    let (answer, tail) = match rollout {
        // Shown because what the rollout waits for may need a person.
        Rollout::Waits(what) => (StageAnswer::Pending, Some(what)),
        Rollout::Done => (StageAnswer::Success, None),
        Rollout::Failed(why) if ours => (StageAnswer::Failure, Some(why)),
        // The commit never ran alone, and the failure may be the later commit's fault.
        Rollout::Failed(why) => (StageAnswer::Void, Some(why)),
    };
    let tail = tail.and_then(|text| tail::kept(text.as_bytes()));
    StageReport { answer, tail, ..nothing_there() }
}

/// Reads the authorities (PEM) in a file. Called at each poll, since a cluster replaces them.
async fn file(path: &Path) -> PortResult<Vec<u8>> {
    let unread = |error: std::io::Error| {
        PortError::transient(format!("{} cannot be read: {error}", path.display()))
    };
    let opened = tokio::fs::File::open(path).await.map_err(unread)?;
    let mut bytes = Vec::new();
    opened.take(MAX_CA).read_to_end(&mut bytes).await.map_err(unread)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;
