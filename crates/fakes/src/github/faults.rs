//! What may go wrong with an answer.

use std::collections::VecDeque;

use super::Route;

/// A bad answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing happens, and the answer is this status.
    Status(u16),
    /// It happens, and the answer is this status.
    Lost(u16),
    /// A page for people, under 200.
    Html,
    /// The first half of the answer, as if it were the whole.
    Truncated,
    /// The first half of the answer, and then the connection breaks.
    Broken,
    /// A redirect of this status to another host.
    Elsewhere(u16),
    /// A credential that is not known here yet: 401.
    Unauthorized,
    /// A secondary limit without a time: 403, while the quota is not spent.
    SecondaryLimit,
    /// A limit for so many seconds: 429.
    RetryAfter(u32),
    /// A limit of GraphQL: an error under 200.
    GraphLimit,
    /// The answer that the same address had before.
    Stale,
    /// A list without its entry of this number.
    Omits(u64),
}

/// The faults that wait for requests, in their order for each route.
#[derive(Debug, Default)]
pub(super) struct Faults(VecDeque<(Route, Fault)>);

impl Faults {
    /// The next request of that route has this fault.
    pub(super) fn push(&mut self, route: Route, fault: Fault) {
        self.0.push_back((route, fault));
    }

    /// The fault of a request of that route.
    pub(super) fn take(&mut self, route: Route) -> Option<Fault> {
        let at = self.0.iter().position(|(of, _)| *of == route)?;
        self.0.remove(at).map(|(_, fault)| fault)
    }

    /// How many have not been met.
    pub(super) fn left(&self) -> usize {
        self.0.len()
    }
}
