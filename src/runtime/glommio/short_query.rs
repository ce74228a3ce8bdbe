//! A query while it is short: it has longer turns than what it waits beside, until it has worked for long.

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use glommio::TaskQueueHandle;

use super::spawn_into;
use super::ticker::{Ticker, ticked};
use crate::runtime::LocalFuture;

/// A query that has worked this long on a core stands behind those that have not.
pub const SHORT_QUERY: Duration = Duration::from_millis(4);

/// A short query that gave way, and could go on, does so until it has worked this long in a row.
const ANSWER_TURN: Duration = Duration::from_micros(750);

/// A query among the answers; when it has worked for [`SHORT_QUERY`] it goes to the queue of queries.
pub struct ShortQuery {
    task: Option<LocalFuture<()>>,
    worked: Duration,
    watch: Option<(Arc<WakeWatch>, Waker)>,
    ticker: Rc<Ticker>,
    long: TaskQueueHandle,
}

impl ShortQuery {
    pub fn new(task: LocalFuture<()>, ticker: Rc<Ticker>, long: TaskQueueHandle) -> Self {
        Self { task: Some(task), worked: Duration::ZERO, watch: None, ticker, long }
    }

    /// Ready when it is done here.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (woken, waker) = self.watch.get_or_insert_with(|| WakeWatch::over(cx.waker()));
        let mut begun = Instant::now();
        self.ticker.note();
        let ends = begun + ANSWER_TURN;
        loop {
            let Some(running) = &mut self.task else { return Poll::Ready(()) };
            woken.is_woken.store(false, Ordering::Relaxed);
            let polled = running.as_mut().poll(&mut Context::from_waker(waker));
            let now = Instant::now();
            self.worked += now - begun;
            begun = now;
            if polled.is_pending() && self.worked > SHORT_QUERY {
                if let Some(task) = self.task.take() {
                    spawn_into(self.long, ticked(task, Rc::clone(&self.ticker)));
                }
                return Poll::Ready(());
            }
            // It gave way to others, but its turn is longer.
            if polled.is_ready() || now > ends || !woken.is_woken.load(Ordering::Relaxed) {
                return polled;
            }
        }
    }

    /// As a task of its own. Whatever woke it before wakes another task, so that it begins by being asked.
    pub fn guarded(mut self, ticker: Rc<Ticker>) -> impl Future<Output = ()> {
        self.watch = None;
        poll_fn(move |cx| {
            let polled = self.poll(cx);
            ticker.guard();
            polled
        })
    }
}

/// Passes wake-ups on, and tells of them.
struct WakeWatch {
    task: Waker,
    is_woken: AtomicBool,
}

impl WakeWatch {
    fn over(task: &Waker) -> (Arc<Self>, Waker) {
        let watch = Arc::new(Self { task: task.clone(), is_woken: AtomicBool::new(false) });
        (Arc::clone(&watch), watch.into())
    }
}

impl Wake for WakeWatch {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Relaxed);
        self.task.wake_by_ref();
    }
}
