//! The polled stages: each call goes to the adapter that the stage's kind names.

use std::sync::Arc;

use async_trait::async_trait;

use super::Router;
use crate::ports::{PortResult, StageQuery, StageReport, Stages};

/// Stages by the name in their `kind`.
pub struct RoutedStages {
    kinds: Arc<Router<dyn Stages>>,
}

impl RoutedStages {
    /// Routes to the adapters in `kinds`.
    pub fn new(kinds: Arc<Router<dyn Stages>>) -> Self {
        Self { kinds }
    }
}

#[async_trait]
impl Stages for RoutedStages {
    async fn poll(&self, query: &StageQuery) -> PortResult<StageReport> {
        self.kinds.get(&query.stage.kind)?.poll(query).await
    }
}
