//! What agents of a scenario do in a turn, by name.

use afk_core::run::{AgentNeed, TurnEnd};
use afk_core::usd::Usd;
use serde::{Deserialize, Serialize};

use crate::world::{Act, Asks, Script};

/// One turn's work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Work {
    /// What is done.
    pub does: Does,
    /// Which of three features it is about.
    #[serde(default)]
    pub feature: usize,
    /// What it costs, in millionths of a US dollar.
    pub cost: u64,
    /// The agent asks a question first.
    #[serde(default)]
    pub asks: bool,
    /// Where it pushes by itself, it forgets to say for which run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unmarked: bool,
}

/// What is done in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Does {
    /// A test, then the code that passes it.
    Good,
    /// The same, plus something that breaks the stage.
    Breaks,
    /// The same, plus something that makes the stage print for ever.
    Floods,
    /// The same, plus something that keeps the stage from running.
    Voids,
    /// A fix of the stage.
    Mends,
    /// Code without a test.
    Untested,
    /// A test that nothing passes.
    Unpassable,
    /// Nothing, for ever.
    Hangs,
    /// Nothing, for ever, with an open tool call.
    HangsInTool,
    /// Its service is down.
    ServiceAway,
    /// Its service refuses it.
    Hopeless,
    /// What the agent needs is not available.
    CannotWork,
    /// Good work that breaks off.
    BreaksOff,
    /// A usage limit ends it.
    Limited,
    /// Good work, and something uncommitted.
    LeavesDirt,
    /// Good work, in the middle of a rebase.
    LeavesRebase,
    /// It discards its changes, and makes CI skip the commit.
    SkipsCi,
    /// Nothing.
    Nothing,
}

/// Files of one piece of work: its test, and the code that passes it.
const FEATURES: [[(&str, &str); 2]; 3] = [
    [("tests/two", "expect src/two two"), ("src/two", "two")],
    [("tests/three", "expect src/three three"), ("src/three", "three")],
    [("tests/four", "expect src/four four"), ("src/four", "four")],
];

fn commit(message: &'static str, file: (&'static str, &'static str)) -> Act {
    Act::Commit { message, files: vec![(file.0, Some(file.1))] }
}

impl Work {
    /// The script for `work`.
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
            Does::Mends => Script::acts(vec![note("fine")]),
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
