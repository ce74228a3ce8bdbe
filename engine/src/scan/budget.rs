//! What a scan may hold in memory.

use std::cell::{Cell, RefCell};

use crate::error::{Error, Result};
use crate::pool::Reservation;

/// Counts the bytes a scan holds against its own limit and, where it has a reservation, against the core's query pool.
/// One per scan; everything is given back when it ends.
pub struct Budget {
    held: Cell<u64>,
    peak: Cell<u64>,
    max: u64,
    reservation: Option<RefCell<Reservation>>,
}

impl Budget {
    pub fn new(max: u64, reservation: Option<Reservation>) -> Self {
        Self { held: Cell::new(0), peak: Cell::new(0), max, reservation: reservation.map(RefCell::new) }
    }

    /// `Error::Budget` beyond the limit, or when the core's pool has no more.
    pub fn take(&self, bytes: u64) -> Result<()> {
        let wanted = self.held.get() + bytes;
        if wanted > self.max {
            return Err(Error::Budget { wanted, max: self.max });
        }
        if let Some(reservation) = &self.reservation {
            let mut reservation = reservation.borrow_mut();
            reservation
                .grow(bytes)
                .map_err(|_| Error::Budget { wanted, max: self.held.get() + reservation.free() })?;
        }
        self.held.set(wanted);
        self.peak.set(self.peak.get().max(wanted));
        Ok(())
    }

    pub fn give_back(&self, bytes: u64) {
        let bytes = bytes.min(self.held.get());
        self.held.set(self.held.get() - bytes);
        if let Some(reservation) = &self.reservation {
            reservation.borrow_mut().shrink(bytes);
        }
    }

    /// Changes what one thing holds from `held` to `now` bytes.
    pub fn change(&self, held: &mut u64, now: u64) -> Result<()> {
        if now > *held {
            self.take(now - *held)?;
        } else {
            self.give_back(*held - now);
        }
        *held = now;
        Ok(())
    }

    pub fn held(&self) -> u64 {
        self.held.get()
    }

    /// The most that was held at once.
    pub fn peak(&self) -> u64 {
        self.peak.get()
    }

    pub fn free(&self) -> u64 {
        self.max - self.held.get()
    }
}
