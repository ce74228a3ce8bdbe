//! The bytes of request bodies one core may hold at a time.
//!
//! A body reserves before it is read. One that holds nothing may wait its turn, first come first served; one that
//! already holds bytes never waits, or two half-read bodies could wait for each other for ever: it is refused.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::error::{Error, Result};

/// One per core, cheap to clone.
#[derive(Clone)]
pub struct Pool(Rc<Inner>);

struct Inner {
    limit: u64,
    used: Cell<u64>,
    next_ticket: Cell<u64>,
    /// Who waits, in order: ticket and waker.
    waiting: RefCell<VecDeque<(u64, Waker)>>,
}

impl Pool {
    pub fn new(limit_bytes: u64) -> Self {
        Self(Rc::new(Inner {
            limit: limit_bytes,
            used: Cell::new(0),
            next_ticket: Cell::new(0),
            waiting: RefCell::default(),
        }))
    }

    pub fn limit(&self) -> u64 {
        self.0.limit
    }

    pub fn used(&self) -> u64 {
        self.0.used.get()
    }

    /// An empty reservation, to be grown.
    pub fn empty(&self) -> Reservation {
        Reservation { pool: self.clone(), bytes: 0 }
    }

    /// Takes `bytes` at once, or says that the pool is full.
    pub fn try_reserve(&self, bytes: u64) -> Result<Reservation> {
        let mut reservation = self.empty();
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// Takes `bytes`, waiting until they are there. Drop the future to stop waiting. More than the whole pool is
    /// refused at once.
    pub async fn reserve(&self, bytes: u64) -> Result<Reservation> {
        if bytes > self.0.limit {
            return Err(Error::PoolFull { wanted: bytes, limit: self.0.limit });
        }
        if self.0.waiting.borrow().is_empty() && self.take(bytes) {
            return Ok(Reservation { pool: self.clone(), bytes });
        }
        let ticket = Ticket { pool: self, number: self.0.next_ticket.replace(self.0.next_ticket.get() + 1) };
        poll_fn(|cx| {
            let mut waiting = self.0.waiting.borrow_mut();
            let is_first = waiting.front().is_some_and(|(number, _)| *number == ticket.number);
            if (is_first || waiting.is_empty()) && self.take(bytes) {
                return Poll::Ready(());
            }
            match waiting.iter_mut().find(|(number, _)| *number == ticket.number) {
                Some((_, waker)) => waker.clone_from(cx.waker()),
                None => waiting.push_back((ticket.number, cx.waker().clone())),
            }
            Poll::Pending
        })
        .await;
        Ok(Reservation { pool: self.clone(), bytes })
    }

    fn take(&self, bytes: u64) -> bool {
        let used = self.0.used.get();
        if bytes > self.0.limit - used {
            return false;
        }
        self.0.used.set(used + bytes);
        true
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.0.waiting.borrow().front() {
            waker.wake_by_ref();
        }
    }
}

/// A place in the queue; given up when the waiting future is dropped or done.
struct Ticket<'a> {
    pool: &'a Pool,
    number: u64,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.pool.0.waiting.borrow_mut().retain(|(number, _)| *number != self.number);
        self.pool.wake_first();
    }
}

/// Bytes taken from a pool, given back when dropped.
pub struct Reservation {
    pool: Pool,
    bytes: u64,
}

impl Reservation {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes more without waiting.
    pub fn grow(&mut self, bytes: u64) -> Result<()> {
        if !self.pool.take(bytes) {
            return Err(Error::PoolFull { wanted: self.bytes + bytes, limit: self.pool.limit() });
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.pool.0.used.set(self.pool.0.used.get() - self.bytes);
        self.pool.wake_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn a_full_pool_lets_the_first_waiter_in_first() {
        block_on(async {
            let pool = Pool::new(100);
            let held = pool.try_reserve(80).unwrap();
            assert!(pool.try_reserve(21).is_err());
            let mut first = Box::pin(pool.reserve(50));
            let mut second = Box::pin(pool.reserve(10));
            assert!(poll_once(&mut first).await.is_none());
            assert!(poll_once(&mut second).await.is_none(), "a smaller one may not overtake");
            drop(held);
            assert!(poll_once(&mut second).await.is_none());
            let first = poll_once(&mut first).await.unwrap().unwrap();
            let second = poll_once(&mut second).await.unwrap().unwrap();
            assert_eq!(pool.used(), 60);
            drop((first, second));
            assert_eq!(pool.used(), 0);
        });
    }

    #[test]
    fn a_waiter_that_gives_up_does_not_block_the_others() {
        block_on(async {
            let pool = Pool::new(10);
            let held = pool.try_reserve(5).unwrap();
            let mut big = Box::pin(pool.reserve(10));
            assert!(poll_once(&mut big).await.is_none());
            let mut small = Box::pin(pool.reserve(5));
            assert!(poll_once(&mut small).await.is_none());
            drop(big);
            assert!(poll_once(&mut small).await.unwrap().is_ok());
            drop(held);
            assert!(pool.reserve(11).await.is_err());
        });
    }
}
