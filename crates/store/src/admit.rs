//! Admission: the one write transaction that lets a run begin.
//!
//! It reads what spans runs (who is live, switches, spend) under the write lock,
//! asks the caller's pure decision, and inserts the run with its first journal
//! row, or says why not. The unique index on live runs stands behind the repo
//! lock, whatever is decided here.

use afk_core::ids::{IssueRef, RunId};
use jiff::Timestamp;
use jiff::civil::Date;
use sqlx::SqliteConnection;

use super::{
    JournalEntry, NewSend, Spend, Store, StoreError, Switches, check_document, journal, ledger,
    micros, outbox, parse, signed, switches,
};

/// A run that wants to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Its id.
    pub run: RunId,
    /// What it is to land.
    pub issue: IssueRef,
    /// Its first state, as JSON.
    pub state: String,
    /// What it may spend, in micro-dollars: reserved from now on.
    pub reserve: u64,
    /// When.
    pub at: Timestamp,
    /// The day that spend is counted for.
    pub day: Date,
    /// The first journal row.
    pub journal: JournalEntry,
    /// What is to be sent because of it.
    pub sends: Vec<NewSend>,
}

/// What the decision is made on, read in the transaction that acts on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The issue that asks.
    pub issue: IssueRef,
    /// What it wants to reserve, in micro-dollars.
    pub reserve: u64,
    /// Who is live, by repo.
    pub live: Vec<LiveRun>,
    /// How the switches stand.
    pub switches: Switches,
    /// Today's spend on this repo.
    pub repo_spend: Spend,
    /// Today's spend on all.
    pub all_spend: Spend,
}

/// A live run, as far as admission asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveRun {
    /// Its id.
    pub run: RunId,
    /// What it is landing.
    pub issue: IssueRef,
}

/// What became of an admission. `R` is the caller's own refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission<R> {
    /// The run is live and holds its repo; its version is 1.
    Admitted,
    /// A run of this id was admitted before: this call changed nothing.
    AlreadyAdmitted {
        /// Its version now.
        version: u64,
    },
    /// Another run is live on the repo.
    RepoBusy {
        /// Which.
        holder: LiveRun,
    },
    /// The decision said no.
    Refused(R),
}

/// The limits that [`Caps::check`] holds an admission to. Micro-dollars; `None`
/// is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Live runs at once, on all repos.
    pub max_live: u32,
    /// Spend and reservations on one repo a day.
    pub repo_day: Option<u64>,
    /// Spend and reservations on all repos a day.
    pub all_day: Option<u64>,
}

/// Why [`Caps::check`] said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Halt is on, or a switch cannot be read.
    Halted,
    /// Pause is on.
    Paused,
    /// The repo is frozen.
    Frozen,
    /// As many runs are live as may be.
    Capacity {
        /// How many.
        live: u32,
    },
    /// The repo's spend today has no room for this run's budget.
    RepoSpend {
        /// Spent and reserved.
        total: u64,
    },
    /// The spend of all repos today has no room for this run's budget.
    AllSpend {
        /// Spent and reserved.
        total: u64,
    },
}

impl Caps {
    /// The decision of an admission by the limits and switches alone.
    pub fn check(&self, facts: &Facts) -> Result<(), Refusal> {
        let live = u32::try_from(facts.live.len()).unwrap_or(u32::MAX);
        let over = |spend: Spend, cap: Option<u64>| {
            cap.is_some_and(|cap| spend.total().saturating_add(facts.reserve) > cap)
        };
        if facts.switches.halted() {
            Err(Refusal::Halted)
        } else if facts.switches.paused() {
            Err(Refusal::Paused)
        } else if facts.switches.frozen(&facts.issue.repo) {
            Err(Refusal::Frozen)
        } else if live >= self.max_live {
            Err(Refusal::Capacity { live })
        } else if over(facts.repo_spend, self.repo_day) {
            Err(Refusal::RepoSpend { total: facts.repo_spend.total() })
        } else if over(facts.all_spend, self.all_day) {
            Err(Refusal::AllSpend { total: facts.all_spend.total() })
        } else {
            Ok(())
        }
    }
}

impl Store {
    /// Lets `new` begin if its repo is free and `decide` agrees. `decide` runs
    /// inside the write transaction: it must be quick and pure.
    pub async fn admit<R, D>(&self, new: NewRun, decide: D) -> Result<Admission<R>, StoreError>
    where
        R: Send + 'static,
        D: FnOnce(&Facts) -> Result<(), R> + Send + 'static,
    {
        let checked = check_document("the state of a run", &new.state)
            .and_then(|()| check_document("the body of a journal row", &new.journal.body))
            .and_then(|()| outbox::check(&new.sends));
        checked.map_err(|e| self.fault(e))?;
        self.write(move |tx| Box::pin(async move { apply(tx, new, decide).await })).await
    }
}

async fn apply<R, D>(
    tx: &mut SqliteConnection,
    new: NewRun,
    decide: D,
) -> Result<Admission<R>, StoreError>
where
    D: FnOnce(&Facts) -> Result<(), R>,
{
    let run = new.run.to_string();
    let version: Option<i64> = sqlx::query_scalar("SELECT version FROM runs WHERE id = ?")
        .bind(&run)
        .fetch_optional(&mut *tx)
        .await?;
    if let Some(version) = version {
        return Ok(Admission::AlreadyAdmitted { version: version as u64 });
    }
    let live = live_runs(tx).await?;
    if let Some(holder) = live.iter().find(|l| l.issue.repo == new.issue.repo) {
        return Ok(Admission::RepoBusy { holder: holder.clone() });
    }
    let facts = Facts {
        issue: new.issue.clone(),
        reserve: new.reserve,
        live,
        switches: switches::read(tx).await?,
        repo_spend: ledger::read(tx, Some(&new.issue.repo), new.day).await?,
        all_spend: ledger::read(tx, None, new.day).await?,
    };
    if let Err(refusal) = decide(&facts) {
        return Ok(Admission::Refused(refusal));
    }
    sqlx::query(
        "INSERT INTO runs (id, repo, issue_number, live, version, state_json, \
         reserved_micro_usd, journal_hash, admitted_at, updated_at) \
         VALUES (?, ?, ?, 1, 1, ?, ?, '', ?, ?)",
    )
    .bind(&run)
    .bind(new.issue.repo.as_str())
    .bind(signed(new.issue.number))
    .bind(&new.state)
    .bind(signed(new.reserve))
    .bind(micros(new.at))
    .bind(micros(new.at))
    .execute(&mut *tx)
    .await?;
    let hash = journal::append(tx, &run, 1, new.at, &new.journal, "").await?;
    sqlx::query("UPDATE runs SET journal_hash = ? WHERE id = ?")
        .bind(hash)
        .bind(&run)
        .execute(&mut *tx)
        .await?;
    outbox::enqueue(tx, &run, &new.sends).await?;
    Ok(Admission::Admitted)
}

async fn live_runs(tx: &mut SqliteConnection) -> Result<Vec<LiveRun>, StoreError> {
    let rows: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT id, repo, issue_number FROM runs WHERE live = 1 ORDER BY admitted_at, id",
    )
    .fetch_all(tx)
    .await?;
    rows.into_iter()
        .map(|(run, repo, number)| {
            let repo = parse("the repo of a run", &repo)?;
            let issue = IssueRef { repo, number: number as u64 };
            Ok(LiveRun { run: parse("the id of a run", &run)?, issue })
        })
        .collect()
}
