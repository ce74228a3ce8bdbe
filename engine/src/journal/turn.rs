//! One at a time: what asks for the turn waits until the one before has given it back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A lock for the tasks of one core. First come, first served, but for tasks that are polled of their own accord.
#[derive(Default)]
pub(crate) struct Turn {
    is_taken: Cell<bool>,
    waiting: RefCell<VecDeque<Waker>>,
}

/// Gives the turn back when dropped.
pub(crate) struct Taken<'a> {
    turn: &'a Turn,
}

impl Turn {
    pub(crate) async fn take(&self) -> Taken<'_> {
        poll_fn(|context| {
            if !self.is_taken.get() {
                self.is_taken.set(true);
                return Poll::Ready(Taken { turn: self });
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
                waiting.push_back(context.waker().clone());
            }
            Poll::Pending
        })
        .await
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.turn.is_taken.set(false);
        // All of them: one whose future was dropped meanwhile would swallow the only call.
        let waiting = std::mem::take(&mut *self.turn.waiting.borrow_mut());
        for waker in waiting {
            waker.wake();
        }
    }
}
