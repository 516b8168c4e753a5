//! The switches that people throw while it runs: halt, pause, freeze of a repo.
//!
//! Read at every pass and rechecked in `admit`. Fail-closed: a row whose name
//! cannot be understood counts as a halt, and a state other than 0 as on. A row
//! that was turned off stays, with the name of whoever did it.

use std::collections::BTreeMap;
use std::fmt;

use afk_core::ids::{RepoName, RunId};
use jiff::Timestamp;
use sqlx::SqliteConnection;

use super::outbox::{self, NewSend};
use super::{Store, StoreError, check_document, from_micros, micros};

/// One switch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SwitchName {
    /// Everything stops, agents and jobs too.
    Halt,
    /// No new runs.
    Pause,
    /// Nothing is dispatched or landed on one repo.
    Freeze(RepoName),
}

impl fmt::Display for SwitchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Halt => f.write_str("halt"),
            Self::Pause => f.write_str("pause"),
            Self::Freeze(repo) => write!(f, "freeze:{repo}"),
        }
    }
}

/// How a switch stands, and who put it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchState {
    /// Whether it is on.
    pub on: bool,
    /// Why, and whatever else belongs to it, as JSON.
    pub value: String,
    /// By whom.
    pub by: String,
    /// When; `None` where that cannot be read.
    pub at: Option<Timestamp>,
}

/// All switches that were ever thrown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Switches {
    /// Halt.
    pub halt: Option<SwitchState>,
    /// Pause.
    pub pause: Option<SwitchState>,
    /// Freezes by repo.
    pub freezes: BTreeMap<RepoName, SwitchState>,
    /// Names of rows that this binary does not understand: each counts as a halt.
    pub unreadable: Vec<String>,
}

impl Switches {
    /// Whether everything is to stop.
    pub fn halted(&self) -> bool {
        !self.unreadable.is_empty() || self.halt.as_ref().is_some_and(|s| s.on)
    }

    /// Whether no new run may start.
    pub fn paused(&self) -> bool {
        self.halted() || self.pause.as_ref().is_some_and(|s| s.on)
    }

    /// Whether `repo` is frozen.
    pub fn frozen(&self, repo: &RepoName) -> bool {
        self.freezes.get(repo).is_some_and(|s| s.on)
    }
}

impl Store {
    /// How all switches stand.
    pub async fn switches(&self) -> Result<Switches, StoreError> {
        let mut connection = self.readers().acquire().await.map_err(|e| self.fault(e))?;
        read(&mut connection).await.map_err(|e| self.fault(e))
    }

    /// Throws a switch; `value` is JSON.
    pub async fn set_switch(
        &self,
        name: SwitchName,
        on: bool,
        value: &str,
        by: &str,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        check_document("the value of a switch", value).map_err(|e| self.fault(e))?;
        let (value, by) = (value.to_owned(), by.to_owned());
        self.write(move |tx| Box::pin(async move { set(tx, &name, on, &value, &by, at).await }))
            .await
    }
}

impl Store {
    /// Turns a switch off that was thrown before `at`; false where none was.
    pub async fn lift_older(
        &self,
        name: SwitchName,
        value: &str,
        by: &str,
        at: Timestamp,
    ) -> Result<bool, StoreError> {
        check_document("the value of a switch", value).map_err(|e| self.fault(e))?;
        let (value, by) = (value.to_owned(), by.to_owned());
        self.write(move |tx| {
            Box::pin(async move {
                let lifted = sqlx::query(
                    "UPDATE switches SET is_on = 0, value_json = ?2, by = ?3, at = ?4 \
                     WHERE name = ?1 AND is_on <> 0 AND at < ?4",
                )
                .bind(name.to_string())
                .bind(value)
                .bind(by)
                .bind(micros(at))
                .execute(tx)
                .await?;
                Ok(lifted.rows_affected() > 0)
            })
        })
        .await
    }

    /// Changes the value of a switch that is on, together with a send of `run`: only
    /// where the value still is `expected`, and no other send of that run waits.
    pub async fn swap_switch(
        &self,
        name: SwitchName,
        expected: &str,
        value: &str,
        send: Option<(RunId, NewSend)>,
    ) -> Result<bool, StoreError> {
        check_document("the value of a switch", value).map_err(|e| self.fault(e))?;
        let sends: Vec<NewSend> = send.iter().map(|(_, send)| send.clone()).collect();
        outbox::check(&sends).map_err(|e| self.fault(e))?;
        let run = send.map(|(run, _)| run.to_string());
        let (expected, value) = (expected.to_owned(), value.to_owned());
        self.write(move |tx| {
            Box::pin(async move {
                if let Some(run) = &run
                    && outbox::waits(tx, run).await?
                {
                    return Ok(false);
                }
                let swapped = sqlx::query(
                    "UPDATE switches SET value_json = ? \
                     WHERE name = ? AND is_on <> 0 AND value_json = ?",
                )
                .bind(value)
                .bind(name.to_string())
                .bind(expected)
                .execute(&mut *tx)
                .await?
                .rows_affected()
                    > 0;
                if let Some(run) = run.filter(|_| swapped) {
                    outbox::enqueue(tx, &run, &sends).await?;
                }
                Ok(swapped)
            })
        })
        .await
    }
}

pub(super) async fn set(
    connection: &mut SqliteConnection,
    name: &SwitchName,
    on: bool,
    value: &str,
    by: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO switches (name, is_on, value_json, by, at) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (name) DO UPDATE SET is_on = ?2, value_json = ?3, by = ?4, at = ?5",
    )
    .bind(name.to_string())
    .bind(i64::from(on))
    .bind(value)
    .bind(by)
    .bind(micros(at))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Switches, StoreError> {
    let rows: Vec<(String, i64, String, String, i64)> =
        sqlx::query_as("SELECT name, is_on, value_json, by, at FROM switches ORDER BY name")
            .fetch_all(connection)
            .await?;
    let mut switches = Switches::default();
    for (name, on, value, by, at) in rows {
        let at = from_micros("the time of a switch", at).ok();
        let state = SwitchState { on: on != 0, value, by, at };
        match name.as_str() {
            "halt" => switches.halt = Some(state),
            "pause" => switches.pause = Some(state),
            other => match other.strip_prefix("freeze:").map(str::parse::<RepoName>) {
                Some(Ok(repo)) => {
                    switches.freezes.insert(repo, state);
                }
                Some(Err(_)) | None => switches.unreadable.push(name),
            },
        }
    }
    Ok(switches)
}
