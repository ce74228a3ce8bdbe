//! Listeners that end in the write path, one protocol each.

pub mod batch;
pub mod collectd;
pub mod graphite;
pub mod login;
pub mod opentsdb;
pub mod tcp;
pub mod udp;
