//! What can go wrong at a port, in the kinds that the loop distinguishes.

use std::fmt;

use afk_core::ids::At;
use afk_core::impediment::Fault;

/// The result of a port call.
pub type PortResult<T> = Result<T, PortError>;

/// A failed port call.
#[derive(Debug)]
pub struct PortError {
    /// The kind of failure, which is all that the loop decides by.
    pub kind: PortErrorKind,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The kinds of failure that the loop distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortErrorKind {
    /// The same call may succeed in a moment.
    Transient,
    /// The other side asked us to come back later.
    RateLimited {
        /// When the limit ends, as the other side says.
        until: At,
    },
    /// The object does not exist.
    NotFound,
    /// Access was denied.
    Auth,
    /// The same call fails in the same way until a person changes something.
    Permanent,
    /// Stopped by a halt or a shutdown.
    Cancelled,
}

impl PortError {
    /// Creates an error of `kind` with its cause.
    pub fn new(
        kind: PortErrorKind,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { kind, source: source.into() }
    }

    /// Creates a [`PortErrorKind::Transient`] error.
    pub fn transient(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(PortErrorKind::Transient, source)
    }

    /// Creates a [`PortErrorKind::Permanent`] error.
    pub fn permanent(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(PortErrorKind::Permanent, source)
    }

    /// Returns whether a person must act before trying again helps.
    pub fn needs_a_person(&self) -> bool {
        self.fault().is_some_and(Fault::needs_a_person)
    }

    /// Returns the kind as the run's record has it; none for `Cancelled`, which is not a failure of
    /// the port.
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

    /// Returns when the rate limit ends, if the error is one.
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

    /// Returns the message and those of all its causes as one sentence, without repeating a cause
    /// that the message quotes already.
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
