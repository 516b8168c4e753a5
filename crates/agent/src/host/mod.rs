//! The small process that owns a local job.
