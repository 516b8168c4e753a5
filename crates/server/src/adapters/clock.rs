//! The time of this machine, and fresh ids.

use afk_core::ids::{At, RunId};
use afk_engine::ports::{Clock, Ids};
use async_trait::async_trait;
use uuid::Uuid;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> At {
        At::now()
    }

    async fn sleep_until(&self, at: At) {
        let left = at.duration_since(At::now());
        tokio::time::sleep(left.try_into().unwrap_or_default()).await;
    }
}

/// Run ids that sort by the time they were made.
#[derive(Debug, Clone, Copy, Default)]
pub struct FreshIds;

impl Ids for FreshIds {
    fn run(&self) -> RunId {
        RunId::new(Uuid::now_v7())
    }
}
