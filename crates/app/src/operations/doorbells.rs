//! Rings doorbells as a test, for a person who wants to know whether they work.

use std::time::{Duration, Instant};

use afk_core::doorbell::Doorbell;
use afk_core::ids::AdapterName;
use afk_core::text::Mask;
use afk_engine::ports::{PortError, PortErrorKind};
use futures_util::future::join_all;
use serde::Serialize;

use crate::{App, Error};

/// How long a doorbell may take: the same limit as when it rings for a run.
const RING: Duration = Duration::from_secs(30);

/// The result of ringing one doorbell as a test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DoorbellTested {
    /// The doorbell's name in the configuration.
    pub name: AdapterName,
    /// The doorbell's kind, such as `slack`.
    pub kind: AdapterName,
    /// How long ringing took, in seconds.
    pub seconds: f64,
    /// Why it did not ring; null if it did.
    pub error: Option<String>,
    /// How to fix it; null if it rang.
    pub remedy: Option<String>,
}

/// Rings each doorbell of `names` once, or every configured one if `names` is empty, with a message
/// that says that it is a test. What their entries let them ring for does not matter. A name that
/// is not configured is an [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), and then none is
/// rung.
pub async fn test_doorbells(app: &App, names: &[String]) -> Result<Vec<DoorbellTested>, Error> {
    let doorbells = app.config.policy.doorbells();
    let all: Vec<_> = doorbells.map(|(name, bell)| (name, bell.kind.clone())).collect();
    let known = || {
        let known: Vec<_> = all.iter().map(|(name, _)| name.as_str()).collect();
        if known.is_empty() { "there is none".to_owned() } else { known.join(", ") }
    };
    for name in names {
        if all.iter().all(|(known, _)| known.as_str() != name) {
            let known = known();
            let what = format!("no doorbell {name:?} is configured; those in `notify`: {known}");
            return Err(Error::invalid(what));
        }
    }
    let is_named = |name: &AdapterName| names.iter().any(|one| one == name.as_str());
    let chosen = all.iter().filter(|(name, _)| names.is_empty() || is_named(name));
    Ok(join_all(chosen.map(|(name, kind)| test(app, name, kind))).await)
}

async fn test(app: &App, name: &AdapterName, kind: &AdapterName) -> DoorbellTested {
    let ports = app.engine.ports();
    let bell = Doorbell::of_test(ports.ids.run().uuid());
    let begun = Instant::now();
    let rung = tokio::time::timeout(RING, ports.doorbells.ring(name.as_str(), &bell)).await;
    let seconds = begun.elapsed().as_secs_f64();
    let failed = rung.unwrap_or_else(|_| {
        let why = format!("it did not answer within {} s", RING.as_secs());
        Err(PortError::transient(why))
    });
    let failed = failed.err();
    // The error may quote the receiver, which may say anything.
    let error = failed.as_ref().map(|error| Mask::default().text(&error.chain()).into_owned());
    let remedy = failed.map(|error| remedy(error.kind));
    DoorbellTested { name: name.clone(), kind: kind.clone(), seconds, error, remedy }
}

/// How to fix a doorbell that failed with an error of `kind`.
fn remedy(kind: PortErrorKind) -> String {
    match kind {
        PortErrorKind::Transient | PortErrorKind::Cancelled => {
            "see that its receiver is up and can be reached from here, then try again".to_owned()
        }
        PortErrorKind::RateLimited { until } => format!("try again after {until:.0}"),
        PortErrorKind::Auth => {
            "correct the secret that its entry in `notify` names, or what that one may do"
                .to_owned()
        }
        PortErrorKind::NotFound => "correct where its entry in `notify` points to".to_owned(),
        PortErrorKind::Permanent => "correct its entry in `notify`".to_owned(),
    }
}
