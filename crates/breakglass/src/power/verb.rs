//! The verbs, and what the hypervisor's exit codes mean. Pure.

use std::fmt;
use std::str::FromStr;

/// The exit code with which the hypervisor's script refuses what is not a verb.
pub const EXIT_REFUSED: i32 = 64;
/// The exit code with which it says that another mutating verb is under way.
pub const EXIT_BUSY: i32 = 75;
/// The exit code with which it says that the VM is locked.
pub const EXIT_LOCKED: i32 = 77;

/// One power verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Stop, then start: a new QEMU process, with the staged configuration.
    Cycle,
    /// Reads and keeps what explains the machine's state.
    Forensics,
    /// Warm reboot in the same QEMU process.
    Reset,
    /// Power on.
    Start,
    /// Whether it runs, whether QEMU answers, and what the last mutating verb did.
    Status,
    /// Power off.
    Stop,
}

impl Verb {
    /// All of them, in alphabetical order.
    pub const ALL: [Self; 6] =
        [Self::Cycle, Self::Forensics, Self::Reset, Self::Start, Self::Status, Self::Stop];

    /// Its name: in addresses, and on the wire to the hypervisor.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cycle => "cycle",
            Self::Forensics => "forensics",
            Self::Reset => "reset",
            Self::Start => "start",
            Self::Status => "status",
            Self::Stop => "stop",
        }
    }

    /// Whether it changes the machine.
    pub const fn is_mutating(self) -> bool {
        match self {
            Self::Cycle | Self::Reset | Self::Start | Self::Stop => true,
            Self::Forensics | Self::Status => false,
        }
    }

    /// What is sent: one argument. A lock of the VM is only passed over where a person has said so.
    pub fn to_wire(self, skip_lock: bool) -> String {
        if skip_lock && self.is_mutating() {
            format!("{} --skiplock", self.name())
        } else {
            self.name().to_owned()
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is no verb.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown verb '{}'", shown(.0))]
pub struct UnknownVerb(pub String);

impl FromStr for Verb {
    type Err = UnknownVerb;

    fn from_str(text: &str) -> Result<Self, UnknownVerb> {
        let found = Self::ALL.into_iter().find(|verb| verb.name() == text);
        found.ok_or_else(|| UnknownVerb(text.to_owned()))
    }
}

/// Text from an address in one short, clean line.
fn shown(text: &str) -> String {
    afk_agent::agents::event::bounded_line(text, 40)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_these_are_verbs() {
        for verb in Verb::ALL {
            assert_eq!(verb.name().parse(), Ok(verb));
        }
        let mut sorted = Verb::ALL.map(Verb::name);
        sorted.sort_unstable();
        assert_eq!(sorted, Verb::ALL.map(Verb::name));
        for text in [
            "",
            "Status",
            "status ",
            " status",
            "status; rm -rf /",
            "status\nstop",
            "-oProxyCommand=x",
            "--help",
            "cycle --skiplock",
            "shutdown",
            "status\0",
            "ѕtatus",
            "$(stop)",
            "../status",
        ] {
            assert!(text.parse::<Verb>().is_err(), "{text:?}");
        }
        let told = "x\n\u{1b}[2J".parse::<Verb>().unwrap_err().to_string();
        assert_eq!(told, "unknown verb 'x [2J'");
    }

    #[test]
    fn what_is_sent_is_the_name_and_a_lock_is_skipped_on_request_alone() {
        assert_eq!(Verb::Cycle.to_wire(false), "cycle");
        assert_eq!(Verb::Cycle.to_wire(true), "cycle --skiplock");
        assert_eq!(Verb::Status.to_wire(true), "status");
    }
}
