//! The switches that people turn on and off at run time: halt, pause, freeze of a repo.
//!
//! Read twice a second by a control plane, and checked again in `admit`. They fail closed: an
//! unknown switch is an error, which counts as a halt, and any state other than 0 is on. The row of
//! a switch that was turned off stays, with the name of the person who did it.

use afk_core::ids::At;
use afk_engine::ports::{Switch, SwitchState, Switches};
use sqlx::SqliteConnection;

use super::error::StoreErrorKind;
use super::{Store, StoreError, freezes, from_micros, micros, to_json};

/// The prefix of the name of a freeze's row; the repo follows.
const FREEZE: &str = "freeze:";

/// Reads all rows except those of freezes that are off, of which there may be one for each repo.
const READ: &str = "SELECT name, is_on, value_json, by, at FROM switches WHERE is_on <> 0 \
     UNION ALL SELECT name, is_on, value_json, by, at FROM switches \
     WHERE is_on = 0 AND (name < 'freeze:' OR name >= 'freeze;')";

/// The state of all switches.
pub(super) async fn all(store: &Store) -> Result<Switches, StoreError> {
    read(&mut *store.readers().acquire().await?).await
}

pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Switches, StoreError> {
    let rows: Vec<(String, i64, String, String, i64)> =
        sqlx::query_as(READ).fetch_all(connection).await?;
    let mut switches = Switches::default();
    for (name, on, value, by, at) in rows {
        // A time that cannot be read must not hide the switch.
        let at = from_micros("the time of a switch", at).unwrap_or(At::UNIX_EPOCH);
        let thrown = |why| (on != 0).then_some(SwitchState { by, at, why });
        let why = |value: String| serde_json::from_str(&value).unwrap_or(value);
        match name.as_str() {
            "halt" => switches.halt = thrown(why(value)),
            "pause" => switches.pause = thrown(why(value)),
            other => {
                let repo = other.strip_prefix(FREEZE).and_then(|repo| repo.parse().ok());
                let repo =
                    repo.ok_or_else(|| StoreError::new(StoreErrorKind::UnknownSwitch(name)))?;
                let freeze = freezes::of(thrown, value);
                switches.frozen.extend(freeze.map(|freeze| (repo, freeze)));
            }
        }
    }
    switches.frozen.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(switches)
}

/// Turns a switch on in a person's name.
pub(super) async fn throw(
    store: &Store,
    switch: &Switch,
    state: &SwitchState,
) -> Result<(), StoreError> {
    match switch {
        Switch::Halt | Switch::Pause => {
            write(store, switch, true, to_json(&state.why)?, &state.by, state.at).await
        }
        Switch::Freeze(repo) => freezes::throw(store, repo, state).await,
    }
}

/// Turns a switch off, and records who did it and when.
pub(super) async fn lift(
    store: &Store,
    switch: &Switch,
    by: &str,
    at: At,
) -> Result<(), StoreError> {
    let value = match switch {
        Switch::Halt | Switch::Pause => to_json(&"")?,
        Switch::Freeze(_) => freezes::lifted()?,
    };
    write(store, switch, false, value, by, at).await
}

async fn write(
    store: &Store,
    switch: &Switch,
    on: bool,
    value: String,
    by: &str,
    at: At,
) -> Result<(), StoreError> {
    let (switch, by) = (switch.clone(), by.to_owned());
    store
        .write(move |tx| Box::pin(async move { set(tx, &switch, on, &value, &by, at).await }))
        .await
}

pub(super) async fn set(
    tx: &mut SqliteConnection,
    switch: &Switch,
    on: bool,
    value: &str,
    by: &str,
    at: At,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO switches (name, is_on, value_json, by, at) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (name) DO UPDATE SET is_on = ?2, value_json = ?3, by = ?4, at = ?5",
    )
    .bind(name(switch))
    .bind(i64::from(on))
    .bind(value)
    .bind(by)
    .bind(micros(at))
    .execute(tx)
    .await?;
    Ok(())
}

/// The name of the switch's row.
pub(super) fn name(switch: &Switch) -> String {
    match switch {
        Switch::Halt => "halt".to_owned(),
        Switch::Pause => "pause".to_owned(),
        Switch::Freeze(repo) => format!("{FREEZE}{repo}"),
    }
}
