//! Plain counters of one core; read by copying.
