//! Waiting inside one core: a signal that wakes whoever waits for it, and a gate one task passes at a time.
//!
//! Both are plain single-threaded state; they know no executor. A dropped waiter leaves nothing behind but a spare
//! wake-up.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Wakes all who wait. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Signal(Rc<SignalState>);

#[derive(Debug, Default)]
struct SignalState {
    raised: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes everyone who waits now.
    pub fn raise(&self) {
        self.0.raised.set(self.0.raised.get() + 1);
        let waiting = self.0.waiting.take();
        for waker in waiting {
            waker.wake();
        }
    }

    /// How often it was raised: take it before the check that precedes [`Signal::after`], so that no raise is missed.
    pub fn count(&self) -> u64 {
        self.0.raised.get()
    }

    /// Waits until it has been raised more than `seen` times.
    pub async fn after(&self, seen: u64) {
        poll_fn(|context| {
            if self.0.raised.get() > seen {
                return Poll::Ready(());
            }
            let mut waiting = self.0.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Waits until `ready` holds; it is asked again whenever the signal is raised.
    pub async fn until(&self, ready: impl Fn() -> bool) {
        loop {
            let seen = self.count();
            if ready() {
                return;
            }
            self.after(seen).await;
        }
    }
}

/// One task passes at a time; the others wait, woken together when it leaves.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    taken: Rc<Cell<bool>>,
    left: Signal,
}

/// Held while inside a [`Gate`].
#[derive(Debug)]
pub struct Inside(Gate);

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    pub async fn enter(&self) -> Inside {
        self.left.until(|| !self.taken.get()).await;
        self.taken.set(true);
        Inside(self.clone())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.taken.set(false);
        self.0.left.raise();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once, zip};

    #[test]
    fn a_gate_lets_one_in_at_a_time() {
        let gate = Gate::new();
        let inside = block_on(gate.enter());
        let mut second = Box::pin(gate.enter());
        assert!(block_on(poll_once(&mut second)).is_none());
        drop(inside);
        assert!(block_on(poll_once(&mut second)).is_some());
    }

    #[test]
    fn a_signal_raised_before_the_wait_is_not_missed() {
        let signal = Signal::new();
        let seen = signal.count();
        signal.raise();
        block_on(signal.after(seen));
        let ready = Cell::new(false);
        block_on(zip(signal.until(|| ready.get()), async {
            ready.set(true);
            signal.raise();
        }));
    }
}
