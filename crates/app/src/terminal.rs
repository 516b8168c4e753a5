//! The doorbell of kind `terminal`: shown by the process that works the run.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use afk_core::doorbell::Doorbell;
use afk_engine::ports::{Doorbells, PortResult};
use async_trait::async_trait;
use uuid::Uuid;

/// The kind of this doorbell in the configuration.
pub const TERMINAL: &str = "terminal";

/// How many of the newest doorbells are remembered as shown.
const REMEMBERED: usize = 256;

/// Shows a doorbell on this process's terminal.
type Show = Box<dyn Fn(&Doorbell) + Send + Sync>;

static SHOW: OnceLock<Show> = OnceLock::new();

/// Sets how this process shows doorbells: the owner of the terminal knows what it is drawing there,
/// and whether people or programs read it. Until then the title is a line on standard error.
pub fn shown_by(show: impl Fn(&Doorbell) + Send + Sync + 'static) {
    // The first call wins; only tests could make a second.
    let _ = SHOW.set(Box::new(show));
}

/// The terminal. A process has one, so doorbells of every name ring on it.
#[derive(Debug, Default)]
pub struct Terminal {
    /// Ids of the newest doorbells that were shown. A doorbell whose delivery could not be recorded
    /// is rung again, and people should not see it twice.
    shown: Mutex<VecDeque<Uuid>>,
}

impl Terminal {
    /// Whether the doorbell was not shown yet; remembers it as shown.
    fn is_first(&self, id: Uuid) -> bool {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.contains(&id) {
            return false;
        }
        shown.push_back(id);
        if shown.len() > REMEMBERED {
            shown.pop_front();
        }
        true
    }
}

#[async_trait]
impl Doorbells for Terminal {
    async fn ring(&self, _name: &str, doorbell: &Doorbell) -> PortResult<()> {
        if self.is_first(doorbell.id) {
            show(doorbell);
        }
        Ok(())
    }
}

/// Shows the doorbell. A closed standard error is ignored: that nobody reads is no failure.
fn show(doorbell: &Doorbell) {
    if let Some(show) = SHOW.get() {
        show(doorbell);
    } else {
        let _ = writeln!(std::io::stderr(), "{}", doorbell.title);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use afk_core::doorbell::{DoorbellKind, Ring};
    use afk_core::ids::IssueRef;

    use super::*;

    #[tokio::test]
    async fn the_terminal_shows_a_doorbell_once_however_often_it_is_rung() {
        let terminal = Terminal::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shown = seen.clone();
        shown_by(move |doorbell| shown.lock().unwrap().push(doorbell.title.clone()));
        let issue: IssueRef = "o/web#7".parse().unwrap();
        let run = "0198c0de-0000-7000-8000-0000000000aa".parse().unwrap();
        for nth in [0, 0, 1, 0, 1] {
            let (kind, detail) = (DoorbellKind::NeedsHuman, "why");
            let ring = Ring { run, issue: &issue, kind, reason: None, detail, link: None, nth };
            terminal.ring("terminal", &Doorbell::new(&ring)).await.unwrap();
        }
        assert_eq!(seen.lock().unwrap().len(), 2);
    }
}
