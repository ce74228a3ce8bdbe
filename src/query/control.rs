//! What holds a running query within its bounds: cancellation, memory, points. One per query, on one core.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use tidemark_engine::pace::Pace;

use super::error::{QueryError, Result};
use super::rewrite::Limits;

/// Shared by the stages of a query and whoever may end it. Checked between chunks.
#[derive(Debug, Clone)]
pub struct Control {
    inner: Rc<Inner>,
}

#[derive(Debug)]
struct Inner {
    ended: Cell<Option<End>>,
    limits: Limits,
    points: Cell<u64>,
    held: Cell<u64>,
    peak: Cell<u64>,
    /// The most memory its scans held, those of all cores together.
    scans_peak: Cell<u64>,
    pace: Pace,
    /// Woken by an end: who waits for data learns of it at once.
    waiting: RefCell<Option<Waker>>,
    /// Who lets go of what the query holds, in steps.
    leaving: Cell<usize>,
}

/// While it lives, something lets go of what the query holds; see [`Control::leaving`].
pub struct Leaving(Control);

impl Drop for Leaving {
    fn drop(&mut self) {
        let leaving = &self.0.inner.leaving;
        leaving.set(leaving.get() - 1);
    }
}

/// Why a query was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Killed,
    Timeout,
    Aborted,
    Shutdown,
}

impl Control {
    pub fn new(limits: Limits) -> Self {
        Self {
            inner: Rc::new(Inner {
                ended: Cell::new(None),
                limits,
                points: Cell::new(0),
                held: Cell::new(0),
                peak: Cell::new(0),
                scans_peak: Cell::new(0),
                pace: Pace::new(),
                waiting: RefCell::default(),
                leaving: Cell::new(0),
            }),
        }
    }

    pub fn limits(&self) -> Limits {
        self.inner.limits
    }

    /// Ends the query at its next step; the first reason stays.
    pub fn end(&self, reason: End) {
        if self.inner.ended.get().is_none() {
            self.inner.ended.set(Some(reason));
            let waiting = self.inner.waiting.take();
            if let Some(waker) = waiting {
                waker.wake();
            }
        }
    }

    /// Waits for the end from outside; its error. Of one task: only the last one that asked is woken. Whoever drops the
    /// work then would drop all it holds at once, so while something lets go of that in steps this does not answer; the
    /// work's own error follows.
    pub async fn ended(&self) -> QueryError {
        poll_fn(|cx| match self.check() {
            Err(error) if self.inner.leaving.get() == 0 => Poll::Ready(error),
            _ => {
                *self.inner.waiting.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    /// What the query holds is let go of, in steps, until the result is dropped.
    pub fn leaving(&self) -> Leaving {
        self.inner.leaving.set(self.inner.leaving.get() + 1);
        Leaving(self.clone())
    }

    pub fn is_ended(&self) -> bool {
        self.inner.ended.get().is_some()
    }

    /// Fails when the query was ended.
    pub fn check(&self) -> Result<()> {
        match self.inner.ended.get() {
            None => Ok(()),
            Some(End::Killed) => Err(QueryError::Killed),
            Some(End::Timeout) => Err(QueryError::Timeout),
            Some(End::Aborted) => Err(QueryError::Aborted),
            Some(End::Shutdown) => Err(QueryError::Shutdown),
        }
    }

    /// Counts points read.
    pub fn read(&self, points: u64) -> Result<()> {
        let total = self.inner.points.get() + points;
        self.inner.points.set(total);
        let max = self.inner.limits.points_max;
        if max > 0 && total > max { Err(QueryError::PointsMax { wanted: total, max }) } else { Ok(()) }
    }

    /// Notes that the query holds `bytes` more (or fewer) than before.
    pub fn hold(&self, bytes: i64) -> Result<()> {
        let held = self.inner.held.get().saturating_add_signed(bytes);
        self.inner.held.set(held);
        self.inner.peak.set(self.inner.peak.get().max(held));
        let max = self.inner.limits.budget_bytes;
        if max > 0 && held > max { Err(QueryError::Memory { wanted: held, max }) } else { Ok(()) }
    }

    pub fn points(&self) -> u64 {
        self.inner.points.get()
    }

    /// Notes what a scan held at most on all cores. Scans of one query may run at once: their sum is an upper bound.
    pub fn scanned(&self, peak_bytes: u64) {
        self.inner.scans_peak.set(self.inner.scans_peak.get() + peak_bytes);
    }

    /// The most memory the query held at once, its scans on all cores included, bytes.
    pub fn peak_bytes(&self) -> u64 {
        self.inner.peak.get() + self.inner.scans_peak.get()
    }

    /// Between two steps that take longer the longer the statement is: gives way where the turn is over.
    pub async fn between_steps(&self) -> Result<()> {
        self.inner.pace.spent_at_least(0).await;
        self.check()
    }

    /// Counts about `nanoseconds` of work done in one go, gives way to others when it is time to, and fails when the
    /// query was ended meanwhile. Every loop over rows passes here.
    pub async fn spent(&self, nanoseconds: u64) -> Result<()> {
        self.inner.pace.spent(nanoseconds).await;
        self.check()
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake};

    use futures_lite::future::block_on;

    use super::*;

    fn control(points_max: u64, budget_bytes: u64) -> Control {
        Control::new(Limits { points_max, budget_bytes, ..Limits::default() })
    }

    #[test]
    fn every_end_has_its_error_and_the_first_one_stays() {
        for (end, error) in [
            (End::Killed, QueryError::Killed),
            (End::Timeout, QueryError::Timeout),
            (End::Aborted, QueryError::Aborted),
            (End::Shutdown, QueryError::Shutdown),
        ] {
            let control = control(0, 0);
            assert!(control.check().is_ok() && !control.is_ended());
            control.end(end);
            control.end(if end == End::Killed { End::Timeout } else { End::Killed });
            assert!(control.is_ended());
            assert_eq!(control.check(), Err(error.clone()));
            assert_eq!(block_on(control.spent(1)), Err(error.clone()));
            assert_eq!(block_on(control.ended()), error);
        }
    }

    #[test]
    fn who_waits_for_an_end_is_woken_by_it() {
        struct Woken(AtomicBool);
        impl Wake for Woken {
            fn wake(self: Arc<Self>) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let (control, woken) = (control(0, 0), Arc::new(Woken(AtomicBool::new(false))));
        let waker = Waker::from(woken.clone());
        let mut cx = Context::from_waker(&waker);
        let mut waiting = pin!(control.ended());
        assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Pending);
        assert!(!woken.0.load(Ordering::Relaxed));
        control.end(End::Killed);
        assert!(woken.0.load(Ordering::Relaxed));
        assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Ready(QueryError::Killed));
    }

    #[test]
    fn who_waits_for_an_end_is_not_answered_while_what_the_query_holds_is_let_go_of() {
        let mut cx = Context::from_waker(Waker::noop());
        let control = control(0, 0);
        let mut waiting = pin!(control.ended());
        control.end(End::Timeout);
        let (outer, inner) = (control.leaving(), control.leaving());
        assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Pending);
        drop(inner);
        assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Pending);
        drop(outer);
        assert_eq!(waiting.as_mut().poll(&mut cx), Poll::Ready(QueryError::Timeout));
    }

    #[test]
    fn points_and_bytes_are_counted_up_to_their_limits() {
        let bounded = control(10, 100);
        assert_eq!((bounded.read(4), bounded.read(6)), (Ok(()), Ok(())));
        assert_eq!(bounded.read(1), Err(QueryError::PointsMax { wanted: 11, max: 10 }));
        assert_eq!(bounded.points(), 11);
        assert_eq!(bounded.hold(100), Ok(()));
        assert_eq!(bounded.hold(1), Err(QueryError::Memory { wanted: 101, max: 100 }));
        assert_eq!((bounded.hold(-51), bounded.hold(20)), (Ok(()), Ok(())));
        bounded.scanned(7);
        bounded.scanned(8);
        assert_eq!(bounded.peak_bytes(), 101 + 15, "the most at once, and the scans");
        let unbounded = control(0, 0);
        assert_eq!((unbounded.read(u64::MAX / 2), unbounded.hold(i64::MAX)), (Ok(()), Ok(())));
    }
}
