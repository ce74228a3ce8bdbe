//! Bytes on sockets: never says point, series or shard.

pub mod error;
pub mod http1;
pub mod limits;
pub mod socket;
pub mod stats;
