//! Listeners that end in the write path, one protocol each.
