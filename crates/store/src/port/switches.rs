//! The switches that people throw and lift, between the engine's words and the store's.

use afk_core::ids::At;
use afk_engine::ports::{PortError, PortResult, Switch, SwitchState, Switches};

use super::{fault, freezes, json};
use crate::{self as store, Store, SwitchName};

/// How all of them stand; one that nobody understands is an error.
pub(super) async fn read(store: &Store) -> PortResult<Switches> {
    let now = store.switches().await.map_err(fault)?;
    if let Some(name) = now.unreadable.first() {
        return Err(PortError::permanent(format!(
            "the switch {name:?} in the store is not one that this binary knows: upgrade it, \
             or lift the switch with the binary that threw it"
        )));
    }
    let state = |state: store::SwitchState| {
        state.on.then(|| SwitchState {
            by: state.by,
            at: state.at.unwrap_or(At::UNIX_EPOCH),
            why: serde_json::from_str(&state.value).unwrap_or(state.value),
        })
    };
    Ok(Switches {
        halt: now.halt.and_then(state),
        pause: now.pause.and_then(state),
        frozen: now
            .freezes
            .into_iter()
            .filter_map(|(repo, freeze)| Some((repo, freezes::of(freeze)?)))
            .collect(),
    })
}

/// Throws a switch, or lifts it in nobody's name.
pub(super) async fn set(
    store: &Store,
    switch: &Switch,
    state: Option<&SwitchState>,
) -> PortResult<()> {
    let Some(state) = state else { return lift(store, switch, "", At::UNIX_EPOCH).await };
    let value = value(switch, &state.why)?;
    store.set_switch(named(switch), true, &value, &state.by, state.at).await.map_err(fault)
}

pub(super) async fn lift(store: &Store, switch: &Switch, by: &str, at: At) -> PortResult<()> {
    let value = value(switch, "")?;
    store.set_switch(named(switch), false, &value, by, at).await.map_err(fault)
}

/// The switch as the store names it.
fn named(switch: &Switch) -> SwitchName {
    match switch {
        Switch::Halt => SwitchName::Halt,
        Switch::Pause => SwitchName::Pause,
        Switch::Freeze(repo) => SwitchName::Freeze(repo.clone()),
    }
}

/// Why a person throws it, as the store keeps it.
fn value(switch: &Switch, why: &str) -> PortResult<String> {
    match switch {
        Switch::Halt | Switch::Pause => json(&why),
        Switch::Freeze(_) => freezes::by_person(why),
    }
}
