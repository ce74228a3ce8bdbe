//! Timers beside a core's work, which end the sleeps an executor should not have begun, and what it offers to other threads.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::time::{Duration, Instant};

use glommio::TaskQueueHandle;
use tidemark_engine::disk::uring::is_writing;

use super::spawn_into;
use crate::runtime::LocalFuture;

/// While queries work a timer rings this often, and for so long afterwards (they wait for other cores): beside other work
/// at the same pace, on a core that is idle otherwise ever less often.
const QUERY_TICK: Duration = Duration::from_micros(250);
const QUERY_TICK_IDLE_MAX: Duration = Duration::from_millis(10);

/// After a turn that was used up a timer rings once.
const GUARD: Duration = Duration::from_micros(200);

/// What an offer of the processor took, so many times as long there is no other: beside queries offers cost a quarter of
/// the time at most, beside other work a tenth.
const QUERY_OFFER_PAUSE: u32 = 3;
const OFFER_PAUSE: u32 = 10;

/// The timer beside all other work. Every sleep has all cores pass a memory barrier: at 1 ms it cost small writes 8 %.
const TICK: Duration = Duration::from_millis(10);
const TICK_IDLE_MAX: Duration = Duration::from_millis(20);

/// A timer that rings until no work was noted for some time.
pub struct Ticker {
    queue: TaskQueueHandle,
    every: Duration,
    /// How long it rings without work.
    idle_max: Duration,
    idle: Cell<Duration>,
    /// Whether it rings at its pace.
    pub is_quick: Cell<bool>,
    /// While this one rings at its pace, so does it.
    beside: Option<Rc<Self>>,
    /// How often it was started; what was started before the last time ends.
    pub starts: Cell<u64>,
    /// Whether another ring is due: the turn is over, and not all of it may have been done.
    is_guarded: Cell<bool>,
    courtesy: Courtesy,
    /// Also when no write of this core is under way.
    always_offers: bool,
}

/// Offers this core's processor to other threads, within bounds.
///
/// A thread of the kernel has little to do and gives it back at once. Another program that wants all it can get would
/// keep it for a whole slice of the kernel's scheduler each time: after an offer that took long there is none for
/// `pause` times as long.
struct Courtesy {
    pause: u32,
    next: Cell<Option<Instant>>,
}

impl Courtesy {
    fn offer(&self) {
        let begun = Instant::now();
        if self.next.get().is_none_or(|next| next <= begun) {
            std::thread::yield_now();
            let ended = Instant::now();
            self.next.set(Some(ended + (ended - begun) * self.pause));
        }
    }
}

impl Ticker {
    /// Of queries, beside that of all other work.
    pub fn of_queries(queue: TaskQueueHandle, others: &Rc<Self>) -> Rc<Self> {
        let beside = Some(Rc::clone(others));
        let ticker = Self::new(queue, QUERY_TICK, QUERY_TICK_IDLE_MAX, QUERY_OFFER_PAUSE);
        Rc::new(Self { beside, always_offers: true, ..ticker })
    }

    /// Of all other work.
    pub fn of_others(queue: TaskQueueHandle) -> Rc<Self> {
        Rc::new(Self::new(queue, TICK, TICK_IDLE_MAX, OFFER_PAUSE))
    }

    fn new(queue: TaskQueueHandle, every: Duration, idle_max: Duration, pause: u32) -> Self {
        let (idle, is_quick, starts, is_guarded, next) = Default::default();
        let courtesy = Courtesy { pause, next };
        let (beside, always_offers) = (None, false);
        Self { queue, every, idle_max, idle, is_quick, beside, starts, is_guarded, courtesy, always_offers }
    }

    /// Before a task is polled: so often that it asks no clock.
    pub fn note(self: &Rc<Self>) {
        self.idle.set(Duration::ZERO);
        if self.is_quick.replace(true) {
            return;
        }
        let start = self.starts.get() + 1;
        self.starts.set(start);
        let ticker = Rc::clone(self);
        spawn_into(self.queue, async move {
            while ticker.starts.get() == start
                && let Some(pause) = ticker.pause()
            {
                glommio::timer::sleep(pause).await;
            }
        });
    }

    /// Until it rings next, if it does.
    fn pause(&self) -> Option<Duration> {
        let idle = self.idle.get();
        let keeps_pace = self.beside.as_ref().is_some_and(|beside| beside.is_quick.get());
        let pause = if keeps_pace { self.every } else { self.every.max(idle / 2) };
        self.is_quick.set(idle < self.idle_max && pause == self.every);
        self.idle.set(idle + pause);
        (idle < self.idle_max).then_some(pause)
    }

    /// After a task was polled.
    pub fn guard(self: &Rc<Self>) {
        if !glommio::executor().need_preempt() {
            return;
        }
        // The kernel's thread that makes a write durable waits for this processor, for up to 4 ms otherwise; so does,
        // beside a long query, a client on this machine that has a batch to send.
        if self.always_offers || is_writing() {
            self.courtesy.offer();
        }
        if self.is_guarded.replace(true) {
            return;
        }
        let ticker = Rc::clone(self);
        // In the queue that works: another one that becomes ready now would make its next turn longer.
        spawn_into(glommio::executor().current_task_queue(), async move {
            glommio::timer::sleep(GUARD).await;
            ticker.is_guarded.set(false);
        });
    }
}

/// The task, with a timer that rings while it works.
pub fn ticked(mut task: LocalFuture<()>, ticker: Rc<Ticker>) -> impl Future<Output = ()> {
    poll_fn(move |cx| {
        ticker.note();
        let polled = task.as_mut().poll(cx);
        ticker.guard();
        polled
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_work_a_timer_rings_ever_less_often_unless_other_work_goes_on_beside() {
        let others = Ticker::of_others(TaskQueueHandle::default());
        let queries = Ticker::of_queries(TaskQueueHandle::default(), &others);
        let pauses = || {
            queries.idle.set(Duration::ZERO);
            std::iter::from_fn(|| queries.pause()).collect::<Vec<_>>()
        };
        let alone = pauses();
        assert!(alone.is_sorted() && alone.starts_with(&[QUERY_TICK; 3]), "{alone:?}");
        assert!(alone.len() < 12 && alone.iter().sum::<Duration>() >= QUERY_TICK_IDLE_MAX, "{alone:?}");
        others.is_quick.set(true);
        assert_eq!(pauses(), vec![QUERY_TICK; 40]);
        assert_eq!(std::iter::from_fn(|| others.pause()).collect::<Vec<_>>(), [TICK; 2]);
        assert!(!others.is_quick.get() && !queries.is_quick.get());
    }
}
