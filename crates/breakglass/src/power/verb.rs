//! The verbs, and what the hypervisor's exit codes mean. Pure.

use std::fmt;
use std::str::FromStr;

/// The exit code with which the hypervisor's script refuses what is not a verb.
pub const EXIT_REFUSED: i32 = 64;
/// The exit code of the script if the VM is locked.
pub const EXIT_LOCKED: i32 = 77;

/// One power verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// Stops the VM, then starts it: a new QEMU process, with the staged configuration.
    Cycle,
    /// Records the VM's state on the hypervisor; changes nothing.
    Forensics,
    /// Reboots the VM in the same QEMU process.
    Reset,
    /// Powers the VM on.
    Start,
    /// Tells whether the VM runs, whether QEMU answers, and what the last mutating verb did.
    Status,
    /// Powers the VM off.
    Stop,
}

impl Verb {
    /// All verbs, in alphabetical order.
    pub const ALL: [Self; 6] =
        [Self::Cycle, Self::Forensics, Self::Reset, Self::Start, Self::Status, Self::Stop];

    /// Returns the verb's name, in addresses and on the wire to the hypervisor.
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

    /// Whether the verb changes the VM.
    pub const fn is_mutating(self) -> bool {
        match self {
            Self::Cycle | Self::Reset | Self::Start | Self::Stop => true,
            Self::Forensics | Self::Status => false,
        }
    }

    /// Returns the one argument to send. `skip_lock` lets a mutating verb pass over a lock.
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

/// A text that is not the name of a verb.
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

/// Returns text from an address as one line of at most 40 characters, without control characters.
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
