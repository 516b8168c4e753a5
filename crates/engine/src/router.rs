//! Adapters by their names in the configuration.
//!
//! The engine calls a port about a repo; the router picks the adapter that the repo's table names.
//! Only the wiring knows what a name stands for; nothing is decided by one here or in the engine.

mod doorbells;
mod executor;
mod stages;
mod tracker;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use afk_core::ids::AdapterName;

use crate::ports::{PortError, PortResult};

pub use doorbells::RoutedDoorbells;
pub use executor::RoutedExecutor;
pub use stages::RoutedStages;
pub use tracker::RoutedTracker;

/// The adapters of one port, by name. The wiring replaces them when the configuration changes, and
/// the next call uses the new ones.
pub struct Router<T: ?Sized> {
    /// What an adapter of this port is called in messages, such as "executor".
    what: &'static str,
    adapters: RwLock<BTreeMap<AdapterName, Arc<T>>>,
}

impl<T: ?Sized> Router<T> {
    /// Creates a router over `adapters`, each of which messages call a `what`.
    pub fn new(what: &'static str, adapters: BTreeMap<AdapterName, Arc<T>>) -> Self {
        Self { what, adapters: RwLock::new(adapters) }
    }

    /// Replaces all adapters.
    pub fn replace(&self, adapters: BTreeMap<AdapterName, Arc<T>>) {
        *self.adapters.write().unwrap_or_else(PoisonError::into_inner) = adapters;
    }

    /// Returns the adapter called `name`, or a permanent error that lists the known names.
    pub fn get(&self, name: &AdapterName) -> PortResult<Arc<T>> {
        let adapters = self.adapters.read().unwrap_or_else(PoisonError::into_inner);
        adapters.get(name).map(Arc::clone).ok_or_else(|| {
            let known: Vec<_> = adapters.keys().map(AdapterName::as_str).collect();
            let (what, known) = (self.what, known.join(", "));
            PortError::permanent(format!(
                "no {what} is named {name}: correct the configuration; known are {known}"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_is_told_with_those_that_are_known() {
        let name = |text: &str| text.parse::<AdapterName>().unwrap();
        let router: Router<str> = Router::new("executor", BTreeMap::new());
        router.replace([(name("one"), Arc::from("1")), (name("two"), Arc::from("2"))].into());
        assert_eq!(&*router.get(&name("two")).unwrap(), "2");
        let told = router.get(&name("three")).unwrap_err().chain();
        assert!(told.contains("no executor is named three"), "{told}");
        assert!(told.contains("known are one, two"), "{told}");
    }
}
