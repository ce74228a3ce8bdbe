//! Queries that give way to ingest.
//!
//! A task that wakes itself is put behind the others of its own queue, and its queue runs on: a queue that becomes busy
//! comes behind those that are. Points that came in meanwhile would wait for another turn of the query, and a write has
//! many steps. So a task that woke itself while it ran is woken by a task in a queue of its own: that one's queue becomes
//! idle in between, and stands behind ingest when it comes back.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};

use super::LocalFuture;

/// The task does not run: who wakes it wakes it at once.
const RESTING: u8 = 0;
const RUNNING: u8 = 1;
/// It was woken while it ran, most likely by itself.
const AGAIN: u8 = 2;

/// Between the task and its executor.
#[derive(Default)]
struct Between {
    state: AtomicU8,
    /// The executor's waker of this task; the same for all its life.
    waker: OnceLock<Waker>,
}

impl Wake for Between {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Whoever finds it running leaves a note, which is read before it rests: no wake-up is lost.
        let ran = self.state.compare_exchange(RUNNING, AGAIN, Ordering::AcqRel, Ordering::Acquire);
        if ran == Err(RESTING)
            && let Some(waker) = self.waker.get()
        {
            waker.wake_by_ref();
        }
    }
}

/// Runs `task`; `later` is given its waker when it gave way and is to be woken.
pub fn courteous(task: LocalFuture<()>, later: impl Fn(Waker) + Unpin + 'static) -> LocalFuture<()> {
    let between = Arc::new(Between::default());
    let waker = Waker::from(Arc::clone(&between));
    Box::pin(Courteous { task, between, waker, later })
}

struct Courteous<L> {
    task: LocalFuture<()>,
    between: Arc<Between>,
    waker: Waker,
    later: L,
}

impl<L: Fn(Waker) + Unpin> Future for Courteous<L> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let waker = this.between.waker.get_or_init(|| cx.waker().clone());
        debug_assert!(waker.will_wake(cx.waker()), "a task has one waker");
        this.between.state.store(RUNNING, Ordering::Release);
        let done = this.task.as_mut().poll(&mut Context::from_waker(&this.waker));
        let was = this.between.state.swap(RESTING, Ordering::AcqRel);
        if done.is_pending() && was == AGAIN {
            (this.later)(waker.clone());
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use super::*;

    struct Count(AtomicU8);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_task_that_wakes_itself_is_woken_later_and_one_woken_by_others_at_once() {
        let woken = Arc::new(Count(AtomicU8::new(0)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = Context::from_waker(&waker);
        let (sender, receiver) = flume::bounded::<()>(1);
        let gave_way = Rc::new(Cell::new(0));
        let held = Rc::new(RefCell::new(Vec::new()));
        let (counted, kept) = (Rc::clone(&gave_way), Rc::clone(&held));
        let task = async move {
            futures_lite::future::yield_now().await;
            let _ = receiver.recv_async().await;
        };
        let mut task = courteous(Box::pin(task), move |waker| {
            counted.set(counted.get() + 1);
            kept.borrow_mut().push(waker);
        });

        assert!(task.as_mut().poll(&mut cx).is_pending());
        assert_eq!((gave_way.get(), woken.0.load(Ordering::Relaxed)), (1, 0));
        held.borrow_mut().drain(..).for_each(Waker::wake);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);

        assert!(task.as_mut().poll(&mut cx).is_pending());
        sender.send(()).expect("the task waits");
        assert_eq!((gave_way.get(), woken.0.load(Ordering::Relaxed)), (1, 2));
        assert!(task.as_mut().poll(&mut cx).is_ready());
    }
}
