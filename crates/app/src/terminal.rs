//! The doorbell on the terminal of whoever runs afk.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use afk_core::doorbell::Doorbell;
use afk_engine::ports::{Doorbells, PortResult};
use async_trait::async_trait;
use uuid::Uuid;

/// The kind of this doorbell in the configuration.
pub const TERMINAL: &str = "terminal";

/// Doorbells that are remembered as shown.
const REMEMBERED: usize = 256;

/// How this process shows a doorbell to whoever sits at its terminal.
type Show = Box<dyn Fn(&Doorbell) + Send + Sync>;

static SHOW: OnceLock<Show> = OnceLock::new();

/// Says once how doorbells are shown: what owns the terminal knows what moves on it, and
/// whether anybody reads words there. Until then they are lines on standard error.
pub fn shown_by(show: impl Fn(&Doorbell) + Send + Sync + 'static) {
    // A second one in one process is refused, which only tests could try.
    let _ = SHOW.set(Box::new(show));
}

/// The terminal, whatever its doorbells are named: there is one.
#[derive(Debug, Default)]
pub struct Terminal {
    /// The newest doorbells that were shown: what was shown and could not be noted is rung
    /// again, and nobody wants to be shown the same twice.
    shown: Mutex<VecDeque<Uuid>>,
}

impl Terminal {
    /// Whether the doorbell was not shown yet; from now on it was.
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

/// Nobody may be reading: that is no failure of the doorbell.
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
