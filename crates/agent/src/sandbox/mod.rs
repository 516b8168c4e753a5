//! The box that every local job runs in.
