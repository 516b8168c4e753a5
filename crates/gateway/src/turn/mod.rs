//! One turn of the Claude CLI: its [command line](command), its [process](process), what it
//! [said](transcript), and processes that [wait](pool) for one.

pub(crate) mod command;
pub(crate) mod pool;
pub(crate) mod process;
pub(crate) mod sizing;
pub(crate) mod transcript;
