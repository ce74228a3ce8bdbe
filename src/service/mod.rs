//! Periodic work, one job each.
