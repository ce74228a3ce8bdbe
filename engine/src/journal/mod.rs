//! Segmented checksummed append log, used by WAL, meta and hints.
