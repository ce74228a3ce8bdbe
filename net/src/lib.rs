//! Bytes on sockets.
//!
//! In reading order: [`socket`] (DOOR 2: streams and listeners, with a simulated side), [`pool`] (the bytes of request
//! bodies a core may hold), [`http1`] (HTTP/1.1 connections over any stream).
//!
//! What this crate does not know: points, series, shards, tasks and clocks. Whoever calls gives `now` and spawns.

pub mod error;
pub mod http1;
pub mod limits;
pub mod pool;
pub mod socket;
pub mod stats;

pub use error::{Error, Result};
