//! Git, by the `git` command.
