//! Third-party programs that verify evidence, pinned, for tests: a Python with the libraries of
//! in-toto and of DSSE.
//!
//! The Python is the interpreter named by `AFK_TEST_PYTHON`, which must have these packages, or an
//! environment of its own in the target folder, installed once from the Python package index.

use std::path::PathBuf;

use crate::python;
use crate::tools::found_or_skipped;

/// The Python packages with their versions: the libraries, and what they need to check an Ed25519
/// signature.
const PACKAGES: [(&str, &str); 4] = [
    ("securesystemslib", "1.6.0"),
    ("in-toto-attestation", "0.9.3"),
    ("cryptography", "50.0.2"),
    ("protobuf", "7.36.2"),
];

/// The interpreter for a test; `None`, with a printed notice, if it is not available.
///
/// # Panics
///
/// If it is not available although `CI` is set, or although `AFK_TEST_PYTHON` names one.
pub fn for_test(test: &str) -> Option<PathBuf> {
    let found = python::with("verifier", "AFK_TEST_PYTHON", &PACKAGES);
    found_or_skipped(test, "verifier of others", "AFK_TEST_PYTHON", found)
}
