//! The doorbells, each rung by the adapter that its kind names.

use std::sync::Arc;

use afk_core::doorbell::Doorbell;
use async_trait::async_trait;

use super::Router;
use crate::ports::{Doorbells, PortError, PortErrorKind, PortResult, Settings};

/// Doorbells by their name in the configuration, which gives their kind.
pub struct RoutedDoorbells {
    settings: Arc<dyn Settings>,
    kinds: Arc<Router<dyn Doorbells>>,
}

impl RoutedDoorbells {
    /// Routes to the doorbells of `settings`, by the adapters for each kind.
    pub fn new(settings: Arc<dyn Settings>, kinds: Arc<Router<dyn Doorbells>>) -> Self {
        Self { settings, kinds }
    }
}

#[async_trait]
impl Doorbells for RoutedDoorbells {
    async fn ring(&self, name: &str, doorbell: &Doorbell) -> PortResult<()> {
        let (policy, _) = self.settings.current();
        let found = policy.doorbells().find(|(known, _)| known.as_str() == name);
        let Some((_, configured)) = found else {
            let why = format!("no doorbell {name:?} is configured any more");
            return Err(PortError::new(PortErrorKind::NotFound, why));
        };
        self.kinds.get(&configured.kind)?.ring(name, doorbell).await
    }
}
