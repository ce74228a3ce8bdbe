//! Listeners that end in the write path, one protocol each.

pub mod tcp;
pub mod udp;
