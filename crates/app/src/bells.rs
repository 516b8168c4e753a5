//! All doorbells that are configured, and the one on the terminal of whoever runs afk.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use afk_core::config::Notify;
use afk_core::doorbell::{Doorbell, DoorbellKind};
use afk_engine::ports::{Notifier, PortResult, Secrets, Settings};
use afk_remote::Webhook;
use async_trait::async_trait;
use uuid::Uuid;

/// Doorbells that are remembered as shown on the terminal.
const SHOWN: usize = 256;

/// How this process shows a doorbell to whoever sits at its terminal.
type Show = Box<dyn Fn(&Doorbell) + Send + Sync>;

static TERMINAL: OnceLock<Show> = OnceLock::new();

/// Says once how doorbells are shown: what owns the terminal knows what moves on it, and
/// whether anybody reads words there. Until then they are lines on standard error.
pub fn shown_by(show: impl Fn(&Doorbell) + Send + Sync + 'static) {
    // A second one in one process is refused, which only tests could try.
    let _ = TERMINAL.set(Box::new(show));
}

/// All doorbells that are configured.
pub struct Bells {
    settings: Arc<dyn Settings>,
    secrets: Arc<dyn Secrets>,
    webhook: Webhook,
    /// The newest doorbells that were shown: where a webhook beside the terminal fails, all
    /// is rung again, and nobody wants to be shown the same each time.
    shown: Mutex<VecDeque<Uuid>>,
}

impl Bells {
    /// The doorbells of `settings`, signed with what `secrets` reads.
    pub fn new(settings: Arc<dyn Settings>, secrets: Arc<dyn Secrets>) -> PortResult<Self> {
        let webhook = Webhook::new()?;
        Ok(Self { settings, secrets, webhook, shown: Mutex::default() })
    }

    /// Whether the doorbell was not shown yet; from now on it was.
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
impl Notifier for Bells {
    async fn ring(&self, doorbell: &Doorbell) -> PortResult<()> {
        let (config, _) = self.settings.current();
        let mut failed = None;
        for bell in &config.notify {
            let rung = match bell {
                Notify::Terminal => {
                    if self.is_first(doorbell.id) {
                        show(doorbell);
                    }
                    Ok(())
                }
                Notify::Webhook { done: false, .. } if doorbell.kind == DoorbellKind::Done => {
                    Ok(())
                }
                Notify::Webhook { url, secret, .. } => match self.secrets.read(secret).await {
                    Ok(key) => self.webhook.post(url, &key, doorbell).await,
                    Err(error) => Err(error),
                },
            };
            if let Err(error) = rung {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Nobody may be reading: that is no failure of the doorbell.
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

    #[tokio::test]
    async fn the_terminal_shows_a_doorbell_once_however_often_it_is_rung() {
        // A webhook beside it that fails each time: nobody listens there.
        let config = "notify = [{ kind = \"terminal\" }, { kind = \"webhook\", \
                      url = \"http://127.0.0.1:1/\", secret = { env = \"PATH\" } }]";
        let bells = Bells::new(
            Arc::new(Fixed(Arc::new(toml::from_str(config).unwrap()))),
            Arc::new(afk_local::LocalSecrets::default()),
        )
        .unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shown = seen.clone();
        shown_by(move |doorbell| shown.lock().unwrap().push(doorbell.title.clone()));
        let issue: IssueRef = "o/web#7".parse().unwrap();
        let run = "0198c0de-0000-7000-8000-0000000000aa".parse().unwrap();
        for nth in [0, 0, 1, 0, 1] {
            let (kind, detail) = (DoorbellKind::NeedsHuman, "why");
            let ring = Ring { run, issue: &issue, kind, reason: None, detail, link: None, nth };
            bells.ring(&Doorbell::new(&ring)).await.unwrap_err();
        }
        assert_eq!(seen.lock().unwrap().len(), 2);
    }
}
