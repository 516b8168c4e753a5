//! What can go wrong at a port, in the only differences that the loop acts on.

use std::fmt;

use afk_core::ids::At;
use afk_core::impediment::Fault;

/// The answer of a port.
pub type PortResult<T> = Result<T, PortError>;

/// A port could not do what it was asked.
#[derive(Debug)]
pub struct PortError {
    /// What the loop does about it.
    pub kind: PortErrorKind,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The differences that the loop acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortErrorKind {
    /// May go better in a moment.
    Transient,
    /// The other side asked us to come back later.
    RateLimited {
        /// When.
        until: At,
    },
    /// What was asked about is not there.
    NotFound,
    /// We are not let in.
    Auth,
    /// Asking again gives the same answer; a person has to mend it.
    Permanent,
    /// Stopped by a halt or a shutdown.
    Cancelled,
}

impl PortError {
    /// An error of `kind` with what is behind it.
    pub fn new(
        kind: PortErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, source: source.into() }
    }

    /// May go better in a moment.
    pub fn transient(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(PortErrorKind::Transient, source)
    }

    /// A person has to mend it.
    pub fn permanent(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(PortErrorKind::Permanent, source)
    }

    /// Whether a person has to do something before asking again helps.
    pub fn needs_a_person(&self) -> bool {
        self.fault().is_some_and(Fault::needs_a_person)
    }

    /// How the record tells of it; none for what is no failure of the port.
    pub const fn fault(&self) -> Option<Fault> {
        match self.kind {
            PortErrorKind::Transient => Some(Fault::Transient),
            PortErrorKind::RateLimited { .. } => Some(Fault::RateLimited),
            PortErrorKind::NotFound => Some(Fault::NotFound),
            PortErrorKind::Auth => Some(Fault::Auth),
            PortErrorKind::Permanent => Some(Fault::Permanent),
            PortErrorKind::Cancelled => None,
        }
    }

    /// When the rate limit ends that was in the way, where it was one.
    pub const fn reset(&self) -> Option<At> {
        match self.kind {
            PortErrorKind::RateLimited { until } => Some(until),
            PortErrorKind::Transient
            | PortErrorKind::NotFound
            | PortErrorKind::Auth
            | PortErrorKind::Permanent
            | PortErrorKind::Cancelled => None,
        }
    }

    /// The whole chain as one sentence.
    pub fn chain(&self) -> String {
        let mut text = self.source.to_string();
        let mut next = self.source.source();
        while let Some(error) = next {
            let part = error.to_string();
            if !text.contains(&part) {
                text.push_str(": ");
                text.push_str(&part);
            }
            next = error.source();
        }
        text
    }
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl std::error::Error for PortError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_behind_it_once() {
        let inner = std::io::Error::other("the disk is full");
        let error = PortError::transient(inner);
        assert_eq!(error.to_string(), "the disk is full");
        assert_eq!(error.chain(), "the disk is full");
    }
}
