//! The `afk` binary.

fn main() {}
