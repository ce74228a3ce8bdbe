//! The simulated side of the runtime door: one thread, virtual time, and an order of tasks the seed chooses.
//!
//! Time stands still while a task can run, then jumps to the next timer. All simulated cores share one [`Simulation`],
//! so that messages between them are interleaved by the same seed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::{Door, LocalFuture, Priority, Runtime, mix};

/// Turns of tasks without the clock moving on, after which nothing will ever move it: they wait by asking again.
const TURNS_MAX: u64 = 2_000_000;

/// Where the virtual wall clock starts: 2024-01-01.
const START_WALL_NS: i64 = 1_704_067_200_000_000_000;

/// The executor of all simulated cores; cheap to clone.
#[derive(Clone)]
pub struct Simulation(Rc<Inner>);

struct Inner {
    random: Cell<u64>,
    now_ns: Cell<u64>,
    next: Cell<u64>,
    tasks: RefCell<HashMap<u64, LocalFuture<()>>>,
    /// Tasks that can run. Behind a mutex only because a waker must be able to travel.
    ready: Arc<Mutex<Vec<u64>>>,
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
}

struct TaskWaker {
    number: u64,
    ready: Arc<Mutex<Vec<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().expect("one thread: never poisoned");
        if !ready.contains(&self.number) {
            ready.push(self.number);
        }
    }
}

impl Simulation {
    pub fn new(seed: u64) -> Self {
        Self(Rc::new(Inner {
            random: Cell::new(seed),
            now_ns: Cell::new(0),
            next: Cell::new(0),
            tasks: RefCell::default(),
            ready: Arc::default(),
            timers: RefCell::default(),
        }))
    }

    /// The handle of one simulated core.
    pub fn runtime(&self) -> Runtime {
        Runtime::new(Rc::new(self.clone()))
    }

    pub fn now_ns(&self) -> u64 {
        self.0.now_ns.get()
    }

    /// Runs tasks until `main` has its value. Panics when nothing can ever run again.
    pub fn block_on<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> T {
        let result = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&result);
        self.start(Box::pin(async move {
            *slot.borrow_mut() = Some(main.await);
        }));
        let (mut now_ns, mut turns) = (self.now_ns(), 0);
        loop {
            if let Some(value) = result.borrow_mut().take() {
                return value;
            }
            assert!(self.step(), "BUG: every simulated task waits for another");
            turns = if self.now_ns() == now_ns { turns + 1 } else { 0 };
            now_ns = self.now_ns();
            assert!(turns < TURNS_MAX, "BUG: simulated tasks keep the clock from moving on");
        }
    }

    /// Runs one task, or moves the clock. `false`: there is nothing to do.
    fn step(&self) -> bool {
        let inner = &self.0;
        let chosen = {
            let mut ready = inner.ready.lock().expect("one thread: never poisoned");
            if ready.is_empty() {
                None
            } else {
                let at = self.random() as usize % ready.len();
                Some(ready.swap_remove(at))
            }
        };
        let Some(number) = chosen else {
            let Some(((due_ns, _), waker)) = inner.timers.borrow_mut().pop_first() else { return false };
            inner.now_ns.set(inner.now_ns.get().max(due_ns));
            waker.wake();
            return true;
        };
        let Some(mut task) = inner.tasks.borrow_mut().remove(&number) else { return true };
        let waker = Waker::from(Arc::new(TaskWaker { number, ready: Arc::clone(&inner.ready) }));
        if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            inner.tasks.borrow_mut().insert(number, task);
        }
        true
    }

    fn start(&self, task: LocalFuture<()>) {
        let number = self.number();
        self.0.tasks.borrow_mut().insert(number, task);
        self.0.ready.lock().expect("one thread: never poisoned").push(number);
    }

    fn number(&self) -> u64 {
        self.0.next.replace(self.0.next.get() + 1)
    }
}

impl Door for Simulation {
    fn spawn(&self, _: Priority, task: LocalFuture<()>) {
        self.start(task);
    }

    fn sleep(&self, time: Duration) -> LocalFuture<()> {
        let inner = Rc::clone(&self.0);
        let due_ns = inner.now_ns.get() + time.as_nanos() as u64;
        let number = self.number();
        Box::pin(poll_fn(move |cx| {
            if inner.now_ns.get() >= due_ns {
                return Poll::Ready(());
            }
            inner.timers.borrow_mut().insert((due_ns, number), cx.waker().clone());
            Poll::Pending
        }))
    }

    fn wall_ns(&self) -> i64 {
        START_WALL_NS + self.now_ns() as i64
    }

    fn monotonic_ns(&self) -> u64 {
        self.now_ns()
    }

    fn random(&self) -> u64 {
        let state = self.0.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.random.set(state);
        mix(state)
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Several sleepers that report; the report of one seed.
    fn trace(seed: u64) -> Vec<(u64, u64)> {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let (sender, receiver) = flume::unbounded();
            for task in 0..5u64 {
                let (sender, runtime) = (sender.clone(), runtime.clone());
                let sleeper = runtime.clone();
                runtime.spawn(Priority::Query, async move {
                    for turn in 0..4 {
                        sleeper.sleep(Duration::from_millis(turn * 10)).await;
                        let _ = sender.send_async((task, sleeper.monotonic_ms())).await;
                    }
                });
            }
            drop(sender);
            let mut seen = Vec::new();
            while let Ok(one) = receiver.recv_async().await {
                seen.push(one);
            }
            seen
        })
    }

    #[test]
    fn one_seed_gives_one_order_and_time_is_virtual() {
        assert_eq!(trace(7), trace(7));
        assert!((0..20).any(|seed| trace(seed) != trace(7)), "the seed chooses the order");
        let last = trace(3).last().copied().unwrap();
        assert_eq!(last.1, 60, "time jumps to the timers");
    }

    #[test]
    fn a_timeout_ends_what_takes_too_long() {
        let simulation = Simulation::new(1);
        let runtime = simulation.runtime();
        simulation.block_on(async move {
            let never = std::future::pending::<()>();
            assert_eq!(runtime.timeout(Duration::from_secs(5), never).await, None);
            assert_eq!(runtime.monotonic_ms(), 5000);
            let other = runtime.clone();
            let ran = runtime.run(Priority::Background, async move {
                other.sleep(Duration::from_secs(1)).await;
                42
            });
            assert_eq!(ran.await, Some(42));
        });
    }
}
