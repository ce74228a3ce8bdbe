//! Memory pools of one core: reserve, give back, refuse.
//!
//! A pool is a counter with a limit. Pools do not borrow from each other, and a full one is an ordinary answer
//! (`Error::Full`, or `Error::Budget` for queries). What cannot be known before (the cache's arenas) is charged after
//! it was taken and checked before the next step, so that a pool is exceeded by one step at most.

use std::cell::Cell;
use std::rc::Rc;

use crate::error::{Error, Result};

/// One pool of one core; cheap to clone.
#[derive(Debug, Clone)]
pub struct Pool(Rc<State>);

#[derive(Debug)]
struct State {
    name: &'static str,
    max: u64,
    used: Cell<u64>,
    peak: Cell<u64>,
    refused: Cell<u64>,
}

/// Bytes taken from a pool; given back when dropped.
#[derive(Debug)]
pub struct Reservation {
    pool: Pool,
    bytes: u64,
}

impl Pool {
    /// `name` stands in the error of a full pool; `max` in bytes.
    pub fn new(name: &'static str, max: u64) -> Self {
        Self(Rc::new(State { name, max, used: Cell::new(0), peak: Cell::new(0), refused: Cell::new(0) }))
    }

    /// Takes `bytes`, or `Error::Full`.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation> {
        if self.0.used.get().saturating_add(bytes) > self.0.max {
            self.0.refused.set(self.0.refused.get() + 1);
            return Err(Error::Full { what: self.0.name });
        }
        self.charge(bytes);
        Ok(Reservation { pool: self.clone(), bytes })
    }

    /// Counts bytes that are already taken; may exceed the limit.
    pub fn charge(&self, bytes: u64) {
        let used = self.0.used.get().saturating_add(bytes);
        self.0.used.set(used);
        self.0.peak.set(self.0.peak.get().max(used));
    }

    /// Gives charged bytes back.
    pub fn give_back(&self, bytes: u64) {
        let used = self.0.used.get();
        debug_assert!(bytes <= used, "BUG: pool {} gets back {bytes} of {used}", self.0.name);
        self.0.used.set(used.saturating_sub(bytes));
    }

    pub fn used(&self) -> u64 {
        self.0.used.get()
    }

    pub fn max(&self) -> u64 {
        self.0.max
    }

    pub fn free(&self) -> u64 {
        self.0.max.saturating_sub(self.0.used.get())
    }

    pub fn is_full(&self) -> bool {
        self.0.used.get() >= self.0.max
    }

    /// (greatest use so far, reservations refused).
    pub fn history(&self) -> (u64, u64) {
        (self.0.peak.get(), self.0.refused.get())
    }

    /// The error of a pool without room; counts nothing.
    pub fn full(&self) -> Error {
        Error::Full { what: self.0.name }
    }

    /// Counts a refusal decided by the owner of the pool, and makes its error.
    pub fn refuse(&self) -> Error {
        self.0.refused.set(self.0.refused.get() + 1);
        self.full()
    }
}

impl Reservation {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What its pool has left.
    pub fn free(&self) -> u64 {
        self.pool.free()
    }

    /// Takes more; on `Error::Full` the reservation stays as it was.
    pub fn grow(&mut self, bytes: u64) -> Result<()> {
        let more = self.pool.reserve(bytes)?;
        self.bytes += more.bytes;
        std::mem::forget(more);
        Ok(())
    }

    /// Gives some back.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.pool.give_back(bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes);
    }
}

/// Limits of a core's pools, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Batches waiting for the WAL, and the cache's rows.
    pub write_bytes: u64,
    /// Active series: keys, hash table, shapes, field types.
    pub index_bytes: u64,
    /// Blocks and key pages kept of TSM files.
    pub block_cache_bytes: u64,
    /// Running scans.
    pub query_bytes: u64,
    /// Buffers of snapshots and merges.
    pub compaction_bytes: u64,
}

impl PoolLimits {
    /// A core's share split: of `bytes`, three eighths for writes, a quarter for the index, an eighth for each of the
    /// rest.
    pub fn split(bytes: u64) -> Self {
        let eighth = bytes / 8;
        Self {
            write_bytes: 3 * eighth,
            index_bytes: 2 * eighth,
            block_cache_bytes: eighth,
            query_bytes: eighth,
            compaction_bytes: eighth,
        }
    }
}

/// A core's pools.
#[derive(Debug, Clone)]
pub struct Pools {
    pub write: Pool,
    pub index: Pool,
    pub block_cache: Pool,
    pub query: Pool,
    pub compaction: Pool,
}

impl Pools {
    pub fn new(limits: PoolLimits) -> Self {
        Self {
            write: Pool::new("write pool", limits.write_bytes),
            index: Pool::new("index pool", limits.index_bytes),
            block_cache: Pool::new("block cache", limits.block_cache_bytes),
            query: Pool::new("query pool", limits.query_bytes),
            compaction: Pool::new("compaction pool", limits.compaction_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_pool_refuses_and_takes_again_what_was_given_back() {
        let pool = Pool::new("write pool", 100);
        let mut held = pool.reserve(60).expect("room");
        assert_eq!(pool.reserve(41).expect_err("full"), Error::Full { what: "write pool" });
        held.grow(40).expect("room");
        assert!(pool.is_full() && held.grow(1).is_err());
        held.shrink(10);
        assert_eq!(pool.free(), 10);
        drop(held);
        assert_eq!((pool.used(), pool.history()), (0, (100, 2)));
    }
}
