//! The time of this machine, and new ids.

use afk_core::ids::{At, RunId};
use afk_engine::ports::{Clock, Ids};
use async_trait::async_trait;
use uuid::Uuid;

/// The machine's clock, to the microsecond: the precision of the store, so that a journal gives the
/// same record that it was made from.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> At {
        let now = At::now();
        At::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    async fn sleep_until(&self, at: At) {
        let left = at.duration_since(At::now());
        tokio::time::sleep(left.try_into().unwrap_or_default()).await;
    }
}

/// Run ids that sort by creation time.
#[derive(Debug, Clone, Copy, Default)]
pub struct FreshIds;

impl Ids for FreshIds {
    fn run(&self) -> RunId {
        RunId::new(Uuid::now_v7())
    }
}
