//! One core's storage: WAL, cache, TSM files, compaction and scans.
//!
//! In reading order: [`model`] (points and batches), [`disk`] (the door), [`codec`], [`journal`], [`wal`], [`cache`],
//! [`tsm`], [`index`], [`compact`], [`scan`], [`shard`], [`store`].
//!
//! What this crate does not know: tasks, clocks, sockets, query text, other cores. Time and seeds are arguments, long
//! work comes in steps, and the disk is a door with a simulated side.

pub mod cache;
pub mod checksum;
pub mod codec;
pub mod compact;
pub mod disk;
pub mod error;
pub mod index;
pub mod journal;
pub mod limits;
pub mod model;
pub mod pace;
pub mod pool;
pub mod postings;
mod prefetch;
pub mod scan;
pub mod shard;
pub mod stats;
pub mod store;
pub mod tsm;
pub mod wait;
pub mod wal;

pub use error::{Error, Result};
