//! Third-party clients for tests of the gateway, pinned: a Python with OpenAI's SDK, `LiteLLM` and
//! schemathesis, and OpenAI's SDK for Node.
//!
//! The Python is the interpreter named by `AFK_TEST_CLIENTS`, which must have these packages, or an
//! environment of its own in the target folder, installed once from the Python package index.

use std::path::PathBuf;

use crate::python;
use crate::tools::{found_or_skipped, from_npm};

const PACKAGES: [(&str, &str); 3] =
    [("openai", "3.57.0"), ("litellm", "1.110.2"), ("schemathesis", "4.32.5")];
const NODE: &str = "openai@7.59.0";

/// The Python interpreter for a test; `None`, with a printed notice, if it is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set, or although `AFK_TEST_CLIENTS` names one.
pub fn python(test: &str) -> Option<PathBuf> {
    let found = python::with("clients", "AFK_TEST_CLIENTS", &PACKAGES);
    found_or_skipped(test, "clients in Python", "AFK_TEST_CLIENTS", found)
}

/// The main file of the SDK for Node; `None`, with a printed notice, if it is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set.
pub fn node(test: &str) -> Option<PathBuf> {
    from_npm(test, NODE, "index.mjs")
}
