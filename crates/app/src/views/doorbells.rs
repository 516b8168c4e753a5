//! Doorbells whose rings were given up, and how to fix them.

use afk_core::ids::At;
use afk_core::text::Mask;
use afk_engine::ports::Settings as _;
use jiff::SignedDuration;
use serde::Serialize;

use crate::{App, Error};

/// How long a ring that was given up is shown, unless its doorbell rings again before.
const SHOWN: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A doorbell of which at least one ring was given up since it last rang.
#[derive(Debug, Clone, Serialize)]
pub struct SilentDoorbell {
    /// Its name in the configuration.
    pub name: String,
    /// How many of its rings were given up since.
    pub given_up: u64,
    /// When the first of these was given up.
    pub since: At,
    /// When the last of these was given up.
    pub last: At,
    /// Why the last of these failed.
    pub error: String,
    /// How to fix it.
    pub remedy: String,
}

impl SilentDoorbell {
    /// Reads all such doorbells from the outbox, by name.
    pub async fn read(app: &App) -> Result<Vec<Self>, Error> {
        let after = app.engine.ports().clock.now().checked_sub(SHOWN).unwrap_or(At::MIN);
        let found = app.store.given_up(after).await?;
        // Whether a doorbell is still configured is unknown under an invalid configuration.
        let known = app.settings.current().1.is_none();
        let names: Vec<_> = app.config.policy.doorbells().map(|(name, _)| name).collect();
        let silent = found.into_iter().map(|one| {
            let name = one.name.unwrap_or_else(|| "all".to_owned());
            let is_named = names.iter().any(|other| other.as_str() == name);
            let remedy = if known && !is_named {
                "no doorbell has this name any more, and what was for it is not rung: rename one, \
                 or let it be"
            } else {
                "correct its entry in `notify`, and try it with `afk doorbell test`; what was given \
                 up is not rung again, but `afk runs` lists what it was about"
            };
            Self {
                name,
                given_up: one.count,
                since: one.first,
                last: one.last,
                error: Mask::default().text(&one.error).into_owned(),
                remedy: remedy.to_owned(),
            }
        });
        Ok(silent.collect())
    }
}
