//! The coding agents: how each is started and how its output is read.
