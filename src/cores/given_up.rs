//! Parts of queries on other cores that were given up before their end: they are told so, and waited for.
//!
//! A query that was ended is answered when its parts are over: who sees the answer and asks again finds their memory free.
//! Each part has a channel for one word. The asker sends the word when it gives the part up; whoever works for it holds the
//! other end for as long as it holds anything else.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;

use futures_lite::future::or;

/// What a core gave up and is not yet over where it runs; cheap to clone.
#[derive(Clone, Default)]
pub struct GivenUp(Rc<RefCell<Vec<flume::Sender<()>>>>);

/// The two ends of a part: the asker's, and that of whoever works for it.
pub fn part() -> (flume::Sender<()>, flume::Receiver<()>) {
    flume::bounded(1)
}

/// Works for a part until it is done or given up.
pub async fn until_given_up(work: impl Future<Output = ()>, cancel: flume::Receiver<()>) {
    let told = async {
        let _ = cancel.recv_async().await;
    };
    or(work, told).await;
    // Last, when the work and all it held are gone: the asker may wait for that.
    drop(cancel);
}

impl GivenUp {
    /// Ends a part. What it has sent goes with the asker: nothing but the way to it is kept.
    pub fn add(&self, end: &flume::Sender<()>) {
        let _ = end.try_send(());
        let mut parts = self.0.borrow_mut();
        // A client that goes away leaves parts that nobody waits for; and a query may give up thousands at once.
        if parts.len() == parts.capacity() {
            parts.retain(|part| !part.is_disconnected());
        }
        parts.push(end.clone());
    }

    /// Waits until all that were given up so far are over.
    pub async fn are_over(&self) {
        let parts = self.0.borrow().clone();
        for part in parts {
            // There is room for one word; the next waits until the other end is gone.
            while part.send_async(()).await.is_ok() {}
        }
        let mut parts = self.0.borrow_mut();
        parts.retain(|part| !part.is_disconnected());
        parts.shrink_to(16);
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_lite::future::{block_on, poll_once, yield_now, zip};

    use super::*;

    /// Memory that work holds.
    struct Held<'a>(&'a Cell<bool>);

    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.set(false);
        }
    }

    #[test]
    fn who_waits_for_the_end_of_a_part_is_woken_by_it() {
        let given_up = GivenUp::default();
        let (end, cancel) = part();
        given_up.add(&end);
        let work = async {
            let _ = cancel.recv_async().await;
            yield_now().await;
            drop(cancel);
        };
        block_on(zip(given_up.are_over(), work));
    }

    #[test]
    fn work_that_is_given_up_ends_where_it_next_gives_way_and_is_over_when_it_holds_nothing() {
        let given_up = GivenUp::default();
        let (end, cancel) = part();
        let is_held = Cell::new(true);
        let held = Held(&is_held);
        let work = async move {
            let _held = held;
            loop {
                yield_now().await;
            }
        };
        let mut working = Box::pin(until_given_up(work, cancel));
        assert!(block_on(poll_once(&mut working)).is_none());
        given_up.add(&end);
        assert!(block_on(poll_once(given_up.are_over())).is_none() && is_held.get());
        let waiting = async {
            given_up.are_over().await;
            assert!(!is_held.get(), "its memory is free");
        };
        block_on(zip(waiting, working));
        assert!(given_up.is_empty());
    }

    #[test]
    fn work_that_is_done_is_over_by_itself() {
        let (end, cancel) = part();
        block_on(until_given_up(async {}, cancel));
        assert!(end.is_disconnected());
    }
}
