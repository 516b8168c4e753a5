//! All configured doorbells, and the one on the terminal of whoever runs afk.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use afk_core::config::Notify;
use afk_core::doorbell::{Doorbell, DoorbellKind};
use afk_engine::ports::{Doorbells, PortError, PortErrorKind, PortResult, Secrets, Settings};
use afk_remote::Webhook;
use async_trait::async_trait;
use uuid::Uuid;

/// How many shown doorbells are remembered.
const SHOWN: usize = 256;

/// How this process shows a doorbell to whoever sits at its terminal.
type Show = Box<dyn Fn(&Doorbell) + Send + Sync>;

static TERMINAL: OnceLock<Show> = OnceLock::new();

/// Sets, once, how doorbells are shown on the terminal. Until then they are lines on standard
/// error.
pub fn shown_by(show: impl Fn(&Doorbell) + Send + Sync + 'static) {
    // Fails only if it was set already, as in tests.
    let _ = TERMINAL.set(Box::new(show));
}

/// The configured doorbells by name: their kind, numbered if there are several of one kind.
pub struct Bells {
    settings: Arc<dyn Settings>,
    secrets: Arc<dyn Secrets>,
    webhook: Webhook,
    /// The newest doorbells that were shown. One whose delivery could not be recorded is rung
    /// again, and must not be shown twice.
    shown: Mutex<VecDeque<Uuid>>,
}

impl Bells {
    /// The doorbells of `settings`, signed with what `secrets` reads.
    pub fn new(settings: Arc<dyn Settings>, secrets: Arc<dyn Secrets>) -> PortResult<Self> {
        let webhook = Webhook::new()?;
        Ok(Self { settings, secrets, webhook, shown: Mutex::default() })
    }

    /// Whether the doorbell has not been shown yet; marks it as shown.
    fn is_first(&self, id: Uuid) -> bool {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if shown.contains(&id) {
            return false;
        }
        shown.push_back(id);
        if shown.len() > SHOWN {
            shown.pop_front();
        }
        true
    }
}

#[async_trait]
impl Doorbells for Bells {
    fn names(&self, kind: DoorbellKind) -> Vec<String> {
        let (config, _) = self.settings.current();
        let wants = |bell: &Notify| match bell {
            Notify::Terminal => true,
            Notify::Webhook { done, .. } => *done || kind != DoorbellKind::Done,
        };
        named(&config.notify).filter(|(_, bell)| wants(bell)).map(|(name, _)| name).collect()
    }

    async fn ring(&self, name: &str, doorbell: &Doorbell) -> PortResult<()> {
        let (config, _) = self.settings.current();
        match named(&config.notify).find(|(known, _)| known == name) {
            None => Err(PortError::new(
                PortErrorKind::NotFound,
                format!("no doorbell {name:?} is configured any more"),
            )),
            Some((_, Notify::Terminal)) => {
                if self.is_first(doorbell.id) {
                    show(doorbell);
                }
                Ok(())
            }
            Some((_, Notify::Webhook { url, secret, .. })) => {
                let key = self.secrets.read(secret).await?;
                self.webhook.post(url, &key, doorbell).await
            }
        }
    }
}

/// The doorbells with their names: `webhook`, then `webhook-2`.
fn named(all: &[Notify]) -> impl Iterator<Item = (String, &Notify)> {
    all.iter().enumerate().map(|(n, bell)| {
        let kind = |bell: &Notify| match bell {
            Notify::Terminal => "terminal",
            Notify::Webhook { .. } => "webhook",
        };
        let word = kind(bell);
        let before = all[..n].iter().filter(|other| kind(other) == word).count();
        let name = if before == 0 { word.to_owned() } else { format!("{word}-{}", before + 1) };
        (name, bell)
    })
}

/// A terminal that nobody reads is not a failure of the doorbell.
fn show(doorbell: &Doorbell) {
    if let Some(show) = TERMINAL.get() {
        show(doorbell);
    } else {
        let _ = writeln!(std::io::stderr(), "{}", doorbell.title);
    }
}

#[cfg(test)]
mod tests {
    use afk_core::config::Policy;
    use afk_core::doorbell::Ring;
    use afk_core::ids::IssueRef;

    use super::*;

    struct Fixed(Arc<Policy>);

    impl Settings for Fixed {
        fn current(&self) -> (Arc<Policy>, Option<String>) {
            (self.0.clone(), None)
        }
    }

    fn bells(config: &str) -> Bells {
        let config = Arc::new(toml::from_str(config).unwrap());
        Bells::new(Arc::new(Fixed(config)), Arc::new(afk_local::LocalSecrets::default())).unwrap()
    }

    #[test]
    fn each_doorbell_has_a_name_and_says_what_it_wants() {
        let hook = |done| {
            format!(
                "{{ kind = \"webhook\", url = \"http://127.0.0.1:1/\", \
                 secret = {{ env = \"PATH\" }}, done = {done} }}"
            )
        };
        let (quiet, all) = (hook(false), hook(true));
        let bells = bells(&format!("notify = [{quiet}, {{ kind = \"terminal\" }}, {all}]"));
        assert_eq!(bells.names(DoorbellKind::Done), ["terminal", "webhook-2"]);
        assert_eq!(bells.names(DoorbellKind::Frozen), ["webhook", "terminal", "webhook-2"]);
    }

    #[tokio::test]
    async fn the_terminal_shows_a_doorbell_once_however_often_it_is_rung() {
        let bells = bells("notify = [{ kind = \"terminal\" }]");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shown = seen.clone();
        shown_by(move |doorbell| shown.lock().unwrap().push(doorbell.title.clone()));
        let issue: IssueRef = "o/web#7".parse().unwrap();
        let run = "0198c0de-0000-7000-8000-0000000000aa".parse().unwrap();
        for nth in [0, 0, 1, 0, 1] {
            let (kind, detail) = (DoorbellKind::NeedsHuman, "why");
            let ring = Ring { run, issue: &issue, kind, reason: None, detail, link: None, nth };
            bells.ring("terminal", &Doorbell::new(&ring)).await.unwrap();
        }
        assert_eq!(seen.lock().unwrap().len(), 2);
        let ring = Ring {
            run,
            issue: &issue,
            kind: DoorbellKind::Done,
            reason: None,
            detail: "",
            link: None,
            nth: 0,
        };
        let error = bells.ring("webhook", &Doorbell::new(&ring)).await.unwrap_err();
        assert_eq!(error.kind, PortErrorKind::NotFound);
    }
}
