//! What agents of a scenario do in a turn, by name.

use afk_core::run::{AgentNeed, TurnEnd};
use afk_core::usd::Usd;
use serde::{Deserialize, Serialize};

use crate::world::{Act, Asks, Script};

/// What an agent does in one turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// What is done.
    pub does: Does,
    /// Index of the feature that it is about, of three.
    #[serde(default)]
    pub feature: usize,
    /// What it costs, in millionths of a US dollar.
    pub cost: u64,
    /// Whether the agent asks a question first.
    #[serde(default)]
    pub asks: bool,
    /// Whether an agent that pushes by itself forgets the trailer that names its run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unmarked: bool,
}

/// What an agent does in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    /// A test, then the code that passes it.
    Good,
    /// Good work, plus something that breaks the stage.
    Breaks,
    /// Good work, plus something that breaks the stage and makes it print for ever.
    Floods,
    /// Good work, plus something that keeps the stage from running.
    Voids,
    /// A fixed note, with which the stage passes again.
    #[serde(rename = "mends")]
    Fixes,
    /// Code without a test.
    Untested,
    /// A test that nothing passes.
    Unpassable,
    /// Hangs.
    Hangs,
    /// Hangs with an open tool call.
    HangsInTool,
    /// Fails, because the model's service is down.
    ServiceAway,
    /// Fails in a way that no retry helps: the agent is not logged in.
    Hopeless,
    /// Cannot work for now: the model is overloaded.
    CannotWork,
    /// Good work, and then the turn fails.
    BreaksOff,
    /// Ends at a usage limit that names no time of reset.
    Limited,
    /// Good work, and an uncommitted file.
    LeavesDirt,
    /// Good work, and an unfinished rebase.
    LeavesRebase,
    /// Discards what is uncommitted, and commits code with a message that makes CI skip it.
    SkipsCi,
    /// Nothing but finishing what a git operation had begun.
    Nothing,
}

/// Files of each feature: its test, and the code that passes it.
const FEATURES: [[(&str, &str); 2]; 3] = [
    [("tests/two", "expect src/two two"), ("src/two", "two")],
    [("tests/three", "expect src/three three"), ("src/three", "three")],
    [("tests/four", "expect src/four four"), ("src/four", "four")],
];

fn commit(message: &'static str, file: (&'static str, &'static str)) -> Act {
    Act::Commit { message, files: vec![(file.0, Some(file.1))] }
}

impl Work {
    /// The script for this work.
    pub(super) fn script(&self) -> Script {
        let [test, code] = FEATURES[self.feature % FEATURES.len()];
        let good = vec![commit("Expect it", test), commit("Make it so", code)];
        let with = |more: Act| good.iter().cloned().chain([more]).collect::<Vec<_>>();
        let failed = |message: &str| TurnEnd::Failed { message: message.to_owned() };
        let note = |text| commit("Change the note", ("src/note", text));
        let mut script = match self.does {
            Does::Good => Script::acts(good),
            Does::Breaks => Script::acts(with(note("BREAKS-CI"))),
            Does::Floods => Script::acts(with(note("BREAKS-CI PRINTS-FOR-EVER"))),
            Does::Voids => Script::acts(with(note("VOIDS-CI"))),
            Does::Fixes => Script::acts(vec![note("fine")]),
            Does::Untested => Script::acts(vec![commit("Make it so", code)]),
            Does::Unpassable => {
                Script::acts(vec![commit("Expect much", ("tests/never", "expect src/lib never"))])
            }
            Does::Hangs => Script::hangs(),
            Does::HangsInTool => Script { tool_open: true, ..Script::hangs() },
            Does::ServiceAway => Script::ends(Vec::new(), failed("the service is away")),
            Does::Hopeless => {
                let message = "it is not logged in".to_owned();
                Script::ends(Vec::new(), TurnEnd::Hopeless { message })
            }
            Does::CannotWork => {
                let (what, message) = (AgentNeed::Model, "it is overloaded".to_owned());
                Script::ends(Vec::new(), TurnEnd::Unavailable { what, message })
            }
            Does::BreaksOff => Script::ends(good, failed("it broke off")),
            Does::Limited => Script::ends(Vec::new(), TurnEnd::Limited { resets_at: None }),
            Does::LeavesDirt => Script::acts(with(Act::Dirty("src/left"))),
            Does::LeavesRebase => Script::acts(with(Act::Begin("a rebase"))),
            Does::SkipsCi => Script::acts(vec![Act::Discard, commit("Skip it [skip ci]", code)]),
            Does::Nothing => Script::acts(vec![Act::Finish]),
        };
        script.cost = Usd::micros(self.cost);
        script.unmarked = self.unmarked;
        script.asks = self.asks.then_some(Asks::Question("Which of the two?"));
        script
    }
}
