//! When output is coloured.

use std::ffi::OsString;

use clap::ValueEnum;

/// When to use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(in crate::cli) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// Whether to colour a stream; `terminal` says whether it is a terminal.
    pub(in crate::cli) fn wanted(
        self,
        terminal: bool,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let refused = env("NO_COLOR").is_some_and(|value| !value.is_empty())
                    || env("TERM").is_some_and(|term| term == "dumb");
                terminal && !refused
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_that_want_it() {
        let env = |name: &'static str, value: &'static str| {
            move |asked: &str| (asked == name).then(|| OsString::from(value))
        };
        let check = |choice: ColorChoice, terminal, name, value, expected| {
            let wanted = choice.wanted(terminal, env(name, value));
            assert_eq!(wanted, expected, "{choice:?} {terminal} {name}={value}");
        };
        check(ColorChoice::Auto, true, "", "", true);
        check(ColorChoice::Auto, false, "", "", false);
        check(ColorChoice::Auto, true, "NO_COLOR", "1", false);
        check(ColorChoice::Auto, true, "NO_COLOR", "", true);
        check(ColorChoice::Auto, true, "TERM", "dumb", false);
        check(ColorChoice::Always, false, "NO_COLOR", "1", true);
        check(ColorChoice::Never, true, "", "", false);
    }
}
