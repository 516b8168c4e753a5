//! What is said of mistakes.
