//! Plain counters of one core.
