//! The daemon: one for each store, driving the loop until it is stopped.
//!
//! Knows no terminal and no signals; the command line cancels a token. A lease in the store,
//! renewed while the daemon lives, keeps it the only one; `afk tick` and `afk run` may use the
//! store beside it, under the runs' own leases.

use std::time::Duration;

use afk_core::ids::RunId;
use afk_engine::driver::{Drive, Until, lease_key};
use afk_engine::ports::PortError;
use afk_local::owner::{self, Holder};
use afk_store::{Store, StoreError};
use jiff::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::App;

/// The key of the daemon's lease.
const KEY: &str = "serve";
/// How long the lease lasts without renewal; that of a run lasts as long.
const LEASE: Duration = Duration::from_secs(30);
/// How often the lease is renewed.
const RENEW: Duration = Duration::from_secs(10);
/// How often the token for Vault is renewed, if it is time.
const TEND: Duration = Duration::from_mins(1);
/// Time limit of a stop: the driver's own limit, and some margin.
const STOP_BOUND: Duration = Duration::from_secs(12);

/// Why the daemon cannot run, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Another daemon works this store; the text names its process.
    #[error(
        "another `afk serve` works this store: {0}; stop that one first. \
         `afk tick` and `afk run` may be used beside it"
    )]
    Taken(String),
    /// Another process took the lease over, so this daemon had to stop; the text names that
    /// process.
    #[error("the lease of this `afk serve` was lost to {0}: it stopped, its runs go on there")]
    Lost(String),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The lease could not be taken, or the loop failed.
    #[error("{}", .0.chain())]
    Loop(PortError),
}

/// Serves until `shutdown`, or until the lease is lost; awaits `begun` once the lease is held.
/// Agents and jobs go on under their hosts either way.
pub async fn serve(
    app: &App,
    begun: impl Future<Output = ()>,
    shutdown: &CancellationToken,
) -> Result<(), ServeError> {
    if !hold(app).await.map_err(ServeError::Loop)? {
        return Err(ServeError::Taken(holder(&app.store).await?));
    }
    begun.await;
    let stop = shutdown.child_token();
    let (driven, lost) = work(app, &stop).await;
    if lost {
        return Err(ServeError::Lost(holder(&app.store).await?));
    }
    if let Err(error) = app.engine.ports().store.unlease(KEY, &app.owner).await {
        tracing::warn!(error = error.chain(), "lease not released");
    }
    driven.map_err(ServeError::Loop)
}

/// Finds the daemon that works this store; none if nobody holds its lease, or the holder is dead.
pub async fn serving(store: &Store) -> Result<Option<Holder>, StoreError> {
    alive(store, KEY).await
}

/// Who carries out what is requested of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worker {
    /// The daemon, which works every run.
    Daemon(Holder),
    /// Another process that works this run, such as `afk run` or `afk tick`.
    Other(Holder),
}

/// Finds the process that works this run or will take it up; none if nobody does until somebody
/// starts one.
pub async fn worker(store: &Store, run: RunId) -> Result<Option<Worker>, StoreError> {
    if let Some(daemon) = serving(store).await? {
        return Ok(Some(Worker::Daemon(daemon)));
    }
    Ok(alive(store, &lease_key(run)).await?.map(Worker::Other))
}

/// The process that holds the lease on `key`; none if nobody holds it, or the holder is dead.
async fn alive(store: &Store, key: &str) -> Result<Option<Holder>, StoreError> {
    let found = store.lease_holder(key).await?.filter(|held| held.holds(LEASE, Timestamp::now()));
    let alive = found.filter(|held| !owner::is_dead(&held.owner));
    Ok(alive.and_then(|held| Holder::of(&held.owner)))
}

/// Drives the loop until `stop`, which losing the lease also cancels; returns whether the lease was
/// lost.
async fn work(app: &App, stop: &CancellationToken) -> (Result<(), PortError>, bool) {
    let drive = app.engine.drive(Drive { dispatch: true, until: Until::Shutdown }, stop);
    tokio::pin!(drive);
    let lost = CancellationToken::new();
    let beside = guard(app, stop, &lost);
    tokio::pin!(beside);
    let tended = keep_token_alive(app, stop);
    tokio::pin!(tended);
    let bound = async {
        stop.cancelled().await;
        sleep(STOP_BOUND).await;
    };
    tokio::pin!(bound);
    let (mut resting, mut untended) = (false, false);
    loop {
        tokio::select! {
            driven = &mut drive => {
                stop.cancel();
                return (driven, lost.is_cancelled());
            }
            () = &mut beside, if !resting => resting = true,
            () = &mut tended, if !untended => untended = true,
            () = &mut bound => {
                tracing::warn!("unfinished work is left as it is: the next start continues it");
                return (Ok(()), lost.is_cancelled());
            }
        }
    }
}

/// Takes or renews the lease; false while another process holds it.
async fn hold(app: &App) -> Result<bool, PortError> {
    let store = &app.engine.ports().store;
    Ok(store.lease(KEY, &app.owner, LEASE, Timestamp::now()).await?.is_some())
}

/// Renews the lease until `stop`, and stops everything when it is lost. A store that does not
/// answer is not a loss: every write of a run is fenced by the run's own lease.
async fn guard(app: &App, stop: &CancellationToken, lost: &CancellationToken) {
    loop {
        tokio::select! {
            () = sleep(RENEW) => {}
            () = stop.cancelled() => return,
        }
        match hold(app).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::error!("the lease of this daemon is lost: stopping");
                lost.cancel();
                stop.cancel();
            }
            Err(error) => {
                tracing::warn!(error = error.chain(), "lease not renewed, will try again");
            }
        }
    }
}

/// Renews the token for Vault when it is time, until `stop`: one that is rarely used would expire.
async fn keep_token_alive(app: &App, stop: &CancellationToken) {
    loop {
        tokio::select! {
            () = sleep(TEND) => app.secrets.renew_if_due().await,
            () = stop.cancelled() => return,
        }
    }
}

/// The holder of the lease, in words.
async fn holder(store: &Store) -> Result<String, StoreError> {
    let found = store.lease_holder(KEY).await?;
    Ok(found.map_or_else(|| "nobody".to_owned(), |held| owner::in_words(&held.owner)))
}
