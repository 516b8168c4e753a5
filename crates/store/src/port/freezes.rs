//! What the row of a freeze says beside who and when: why, and the pages about it.
//!
//! A page and an acknowledgement change the row only as it was read, in one
//! transaction with the doorbell, so that two control planes ring one page once.

use afk_core::freeze::{Acknowledged, Paging};
use afk_core::ids::{At, RepoName, RunId};
use afk_engine::ports::{Freeze, Page, PortError, PortResult, SwitchState};
use serde::{Deserialize, Serialize};

use super::{fault, json, parse};
use crate::{self as store, Store, SwitchName};

/// How often a change that somebody else overtook is tried again.
const MAX_SWAPS: u32 = 10;

/// The value of a freeze's row.
#[derive(Debug, Serialize, Deserialize)]
struct Value {
    why: String,
    paging: Option<Paging>,
}

/// A freeze that a run causes: the pages about it begin.
pub(super) fn by_run(run: RunId, why: String, at: At) -> PortResult<store::FreezeRepo> {
    let value = json(&Value { why, paging: Some(Paging::begun(run, at)) })?;
    Ok(store::FreezeRepo { by: run.to_string(), value })
}

/// The value of a freeze that a person throws or lifts.
pub(super) fn by_person(why: &str) -> PortResult<String> {
    json(&Value { why: why.to_owned(), paging: None })
}

/// The freeze that a row means; one that cannot be read freezes all the same.
pub(super) fn of(state: store::SwitchState) -> Option<Freeze> {
    let value = serde_json::from_str(&state.value);
    let Value { why, paging } = value.unwrap_or(Value { why: state.value, paging: None });
    let at = state.at.unwrap_or(At::UNIX_EPOCH);
    state.on.then_some(Freeze { thrown: SwitchState { by: state.by, at, why }, paging })
}

/// Puts a page into the outbox.
pub(super) async fn page(store: &Store, repo: &RepoName, page: &Page<'_>) -> PortResult<bool> {
    let Some((row, mut value)) = read(store, repo).await? else { return Ok(false) };
    if value.paging.as_ref() != Some(page.before) {
        return Ok(false);
    }
    value.paging = Some(page.after.clone());
    let send = store::NewSend {
        id: page.doorbell.id.to_string(),
        kind: page.doorbell.kind.to_string(),
        body: json(page.doorbell)?,
        not_before: page.after.last,
    };
    let (name, send) = (SwitchName::Freeze(repo.clone()), Some((page.after.run, send)));
    store.swap_switch(name, &row.value, &json(&value)?, send).await.map_err(fault)
}

/// Notes that somebody has heard of the freeze.
pub(super) async fn acknowledge(
    store: &Store,
    repo: &RepoName,
    by: &Acknowledged,
) -> PortResult<Option<Freeze>> {
    for _ in 0..MAX_SWAPS {
        let Some((row, mut value)) = read(store, repo).await? else { return Ok(None) };
        if let Some(paging) = &mut value.paging {
            paging.acknowledged.get_or_insert_with(|| by.clone());
        }
        let (name, new) = (SwitchName::Freeze(repo.clone()), json(&value)?);
        if store.swap_switch(name, &row.value, &new, None).await.map_err(fault)? {
            return Ok(of(store::SwitchState { value: new, ..row }));
        }
    }
    Err(PortError::transient(format!("the freeze of {repo} is being changed, try again")))
}

/// The freeze of a repo, as its row is and as it is meant.
async fn read(store: &Store, repo: &RepoName) -> PortResult<Option<(store::SwitchState, Value)>> {
    let mut freezes = store.switches().await.map_err(fault)?.freezes;
    let Some(row) = freezes.remove(repo).filter(|state| state.on) else { return Ok(None) };
    let value = parse(&format!("the freeze of {repo}"), &row.value)?;
    Ok(Some((row, value)))
}
