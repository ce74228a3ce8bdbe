//! DOOR 3: tasks, time, chance, and what lies between cores.
//!
//! A [`Runtime`] is one core's handle, cheap to clone. [`glommio`] is the real side (pinned threads on io_uring), `sim`
//! the seeded one (one thread, virtual time, chosen interleaving). Between cores go flume channels: they work on any
//! executor and wake a core that sleeps. The only shared mutable state of the process is here ([`Gauges`]).

pub mod allocator;
pub mod glommio;
pub mod host;
#[cfg(feature = "sim")]
pub mod sim;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

/// A query keeps its core awake so long for what another core is about to send, where nothing else goes on: the other core
/// takes 100 to 150 µs to wake up and to answer something short.
pub const AWAKE_MAX: Duration = Duration::from_micros(150);

/// Which of a core's queues a task stands in; each has its share of the core's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Priority {
    /// Answers others wait for: the catalogue, field types, mailboxes, timers.
    Control,
    /// Connections and writes.
    Ingest,
    /// Connections that ask; and every [`Self::Query`] at first.
    Answer,
    /// Scans and what follows them.
    Query,
    /// Snapshots and compaction.
    Background,
}

impl Priority {
    pub const ALL: [Self; 5] = [Self::Control, Self::Ingest, Self::Answer, Self::Query, Self::Background];

    pub fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Ingest => "ingest",
            Self::Answer => "answer",
            Self::Query => "query",
            Self::Background => "background",
        }
    }
}

pub type LocalFuture<T> = Pin<Box<dyn Future<Output = T>>>;

/// What the two sides implement.
pub trait Door {
    fn spawn(&self, priority: Priority, task: LocalFuture<()>);
    /// Whether the running task is part of a query that has worked for long.
    fn is_long_query(&self) -> bool {
        false
    }
    /// Starts a part of such a query.
    fn spawn_long_query(&self, task: LocalFuture<()>) {
        self.spawn(Priority::Query, task);
    }
    /// Begins a query in the running task; what is left of it when `is_enough` goes on as a task of its own.
    fn begin_query(&self, task: LocalFuture<()>, is_enough: Box<dyn Fn() -> bool>) -> LocalFuture<()> {
        let _ = is_enough;
        self.spawn(Priority::Query, task);
        Box::pin(std::future::ready(()))
    }
    /// Whether nothing but short questions goes on.
    fn is_calm(&self) -> bool {
        false
    }
    fn sleep(&self, time: Duration) -> LocalFuture<()>;
    fn wall_ns(&self) -> i64;
    fn monotonic_ns(&self) -> u64;
    fn random(&self) -> u64;
    /// Runs what would block a core elsewhere.
    fn offload(&self, work: Box<dyn FnOnce() + Send>);
}

/// One core's handle to the door.
#[derive(Clone)]
pub struct Runtime(Rc<dyn Door>);

impl Runtime {
    pub fn new(door: Rc<dyn Door>) -> Self {
        Self(door)
    }

    /// Starts a task on this core. It runs to its end, or to the end of the core.
    pub fn spawn(&self, priority: Priority, task: impl Future<Output = ()> + 'static) {
        self.0.spawn(priority, Box::pin(task));
    }

    /// Whether the running task is part of a query that has worked for long: then its parts on other cores are, too.
    pub fn is_long_query(&self) -> bool {
        self.0.is_long_query()
    }

    /// Starts a query's part: behind all short ones from the beginning, if it is a long query's.
    pub fn spawn_query(&self, is_long: bool, task: impl Future<Output = ()> + 'static) {
        match is_long {
            true => self.0.spawn_long_query(Box::pin(task)),
            false => self.spawn(Priority::Query, task),
        }
    }

    /// Works for a query within the running task, a connection that waits for its answer, until it is done, has worked for
    /// long, or `is_enough`; what is left of it then goes on as a task of its own. Where other work goes on it is one from
    /// the beginning.
    pub async fn begin_query(
        &self,
        task: impl Future<Output = ()> + 'static,
        is_enough: impl Fn() -> bool + 'static,
    ) {
        self.0.begin_query(Box::pin(task), Box::new(is_enough)).await;
    }

    /// Whether nothing but short questions goes on: only then is it worth while to have no task more than needed, and to stay
    /// awake. Beside writes and long queries each part of a query waits for its turn.
    pub fn is_calm(&self) -> bool {
        self.0.is_calm()
    }

    /// What another core is about to send; `None`: it is gone. A core that has nothing else to do looks for it for a while:
    /// to sleep and to be woken takes as long as a short query.
    pub async fn received_soon<T>(&self, receiver: &flume::Receiver<T>) -> Option<T> {
        if self.is_calm() {
            let ends_ns = self.monotonic_ns() + AWAKE_MAX.as_nanos() as u64;
            while receiver.is_empty() && !receiver.is_disconnected() && self.monotonic_ns() < ends_ns {
                futures_lite::future::yield_now().await;
            }
        }
        receiver.recv_async().await.ok()
    }

    /// Starts a task that goes to another queue when `place` says so.
    pub fn spawn_moving(&self, place: Rc<Cell<Priority>>, task: impl Future<Output = ()> + 'static) {
        self.move_to(place, Box::pin(task));
    }

    fn move_to(&self, place: Rc<Cell<Priority>>, task: LocalFuture<()>) {
        let (runtime, priority) = (self.clone(), place.get());
        let mut task = Some(task);
        self.0.spawn(
            priority,
            Box::pin(poll_fn(move |cx| {
                let Some(running) = &mut task else { return Poll::Ready(()) };
                if running.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                if place.get() == priority {
                    return Poll::Pending;
                }
                if let Some(task) = task.take() {
                    runtime.move_to(place.clone(), task);
                }
                Poll::Ready(())
            })),
        );
    }

    /// Runs a future in another queue and gives its result. Dropping the returned future ends the task at its next
    /// turn.
    pub fn run<T, F>(&self, priority: Priority, task: F) -> impl Future<Output = Option<T>> + use<T, F>
    where
        T: 'static,
        F: Future<Output = T> + 'static,
    {
        let (sender, receiver) = flume::bounded(1);
        self.spawn(priority, async move {
            let mut task = std::pin::pin!(task);
            // The asker gone, the work is ended when it is next woken.
            let done = poll_fn(|cx| match sender.is_disconnected() {
                true => Poll::Ready(None),
                false => task.as_mut().poll(cx).map(Some),
            });
            if let Some(value) = done.await {
                let _ = sender.try_send(value);
            }
        });
        async move { receiver.into_recv_async().await.ok() }
    }

    pub async fn sleep(&self, time: Duration) {
        self.0.sleep(time).await;
    }

    /// The future's value, or `None` once `time` has passed.
    pub async fn timeout<T>(&self, time: Duration, future: impl Future<Output = T>) -> Option<T> {
        futures_lite::future::or(async { Some(future.await) }, async {
            self.sleep(time).await;
            None
        })
        .await
    }

    /// Nanoseconds since 1970, UTC; may jump.
    pub fn wall_ns(&self) -> i64 {
        self.0.wall_ns()
    }

    /// Nanoseconds since some moment; never goes back.
    pub fn monotonic_ns(&self) -> u64 {
        self.0.monotonic_ns()
    }

    pub fn monotonic_ms(&self) -> u64 {
        self.monotonic_ns() / 1_000_000
    }

    /// Runs slow work (password hashes, name resolution) on the helper thread of the process; `None` when that is
    /// gone.
    pub async fn offload<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = flume::bounded(1);
        self.0.offload(Box::new(move || {
            let _ = sender.send(work());
        }));
        receiver.recv_async().await.ok()
    }

    /// Not for secrets that outlive a request.
    pub fn random(&self) -> u64 {
        self.0.random()
    }
}

/// The mixing step of splitmix64.
fn mix(state: u64) -> u64 {
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// One number per core that every core may read, seen at the latest with the next message from its core.
#[derive(Clone)]
pub struct Gauges(Arc<[AtomicU64]>);

impl Gauges {
    pub fn new(cores: usize) -> Self {
        Self((0..cores).map(|_| AtomicU64::new(0)).collect())
    }

    /// How many cores there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&self, core: usize, amount: i64) {
        self.0[core].fetch_add(amount as u64, Ordering::Relaxed);
    }

    pub fn set(&self, core: usize, value: u64) {
        self.0[core].store(value, Ordering::Relaxed);
    }

    pub fn get(&self, core: usize) -> u64 {
        self.0[core].load(Ordering::Relaxed)
    }

    pub fn sum(&self) -> u64 {
        self.0.iter().map(|gauge| gauge.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::task::{Context, Waker};

    /// Keeps what is started, with its queue.
    #[derive(Default)]
    struct Queues(RefCell<Vec<(Priority, LocalFuture<()>)>>);

    impl Door for Queues {
        fn spawn(&self, priority: Priority, task: LocalFuture<()>) {
            self.0.borrow_mut().push((priority, task));
        }
        fn sleep(&self, _: Duration) -> LocalFuture<()> {
            Box::pin(std::future::pending())
        }
        fn wall_ns(&self) -> i64 {
            0
        }
        fn monotonic_ns(&self) -> u64 {
            0
        }
        fn random(&self) -> u64 {
            0
        }
        fn offload(&self, _: Box<dyn FnOnce() + Send>) {}
    }

    #[test]
    fn a_moving_task_goes_on_in_the_queue_its_place_names() {
        let queues = Rc::new(Queues::default());
        let runtime = Runtime::new(queues.clone());
        let (place, steps) = (Rc::new(Cell::new(Priority::Ingest)), Rc::new(Cell::new(0)));
        let (own_place, own_steps) = (place.clone(), steps.clone());
        runtime.spawn_moving(place, async move {
            for next in [Priority::Ingest, Priority::Answer, Priority::Ingest] {
                own_place.set(next);
                own_steps.set(own_steps.get() + 1);
                futures_lite::future::yield_now().await;
            }
        });
        let mut seen = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        while let Some((priority, mut task)) = { queues.0.borrow_mut().pop() } {
            seen.push(priority);
            if task.as_mut().poll(&mut context).is_pending() {
                queues.0.borrow_mut().push((priority, task));
            }
        }
        let [ingest, answer] = [Priority::Ingest, Priority::Answer];
        assert_eq!(seen, [ingest, ingest, answer, ingest]);
        assert_eq!(steps.get(), 3);
    }
}
