//! Offline dump and verify of WAL, TSM and meta.
