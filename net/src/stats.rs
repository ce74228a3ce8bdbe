//! Plain counters of one core's connections; read by copying.

/// Counts since the start, except where a gauge is named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    pub connections_accepted: u64,
    pub connections_open: u64,
    pub connections_timed_out: u64,
    pub bytes_read: u64,
    pub bytes_written: u64,
}
