//! The real side of the runtime door: one pinned glommio executor per core.
//!
//! Known defects of this glommio are worked around here. An executor can go to sleep although a task could run (when
//! it is interrupted before its first queue); a timer on every core ends such a sleep after [`HEARTBEAT`]. A panic in a
//! task would leave a core half alive; panics abort the process instead.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use glommio::{Latency, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle};

use super::{Door, LocalFuture, Priority, Runtime};

/// Bounds the sleep described above; ten wake-ups a second cost a core about a tenth of a percent.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// An idle core looks for work this long before it sleeps: a message between busy cores then costs 7 µs, not 25.
/// Longer burns CPU beside other processes.
const SPIN_BEFORE_PARK: Duration = Duration::from_micros(20);

/// Registered memory for reads and writes of one ring; there are three per core. Less is taken where the limit of locked
/// memory asks for it.
const IO_MEMORY_BYTES: usize = 4 << 20;
const IO_MEMORY_BYTES_MIN: usize = 512 << 10;

/// How long a core works for queries before it looks for messages of other cores and finished I/O.
/// A write goes through about eight such looks, so that they make its latency beside queries. Shorter turns cost queries
/// more: 2 % at 250 µs, 4 % at 100 µs, 6 % at 50 µs.
const QUERY_TURN: Duration = Duration::from_micros(150);

/// While queries work a timer rings this often. A turn that ends before it began (the machine let another process run)
/// sends the executor to sleep as above; the shorter the turn, the likelier that is.
const QUERY_TICK: Duration = Duration::from_millis(1);

/// The same for all other work. At 5 ms (and 100 ms in the background) a message between busy cores waited for most of
/// a write's and a query's time.
const TURN: Duration = Duration::from_micros(500);

/// The timer beside all other work. Every sleep has all cores pass a memory barrier: at 1 ms it cost small writes 8 %.
const TICK: Duration = Duration::from_millis(10);

/// Shares of a core's time when all queues are busy.
fn shares(priority: Priority) -> (Shares, Latency) {
    match priority {
        Priority::Control => (Shares::Static(1000), Latency::Matters(Duration::from_millis(2))),
        Priority::Ingest => (Shares::Static(600), Latency::Matters(TURN)),
        Priority::Query => (Shares::Static(400), Latency::Matters(QUERY_TURN)),
        Priority::Background => (Shares::Static(100), Latency::Matters(TURN)),
    }
}

struct Core {
    queues: [TaskQueueHandle; 4],
    started: Instant,
    random: Cell<u64>,
    /// Beside queries, and beside other work.
    tickers: [Rc<Ticker>; 2],
}

/// A timer that rings until nothing worked between two rings.
struct Ticker {
    queue: TaskQueueHandle,
    every: Duration,
    rings: Cell<bool>,
    /// Since the last ring.
    worked: Cell<bool>,
}

impl Ticker {
    fn note(self: &Rc<Self>) {
        self.worked.set(true);
        if self.rings.replace(true) {
            return;
        }
        let ticker = Rc::clone(self);
        spawn_into(self.queue, async move {
            while ticker.worked.replace(false) {
                glommio::timer::sleep(ticker.every).await;
            }
            ticker.rings.set(false);
        });
    }
}

fn spawn_into(queue: TaskQueueHandle, task: impl Future<Output = ()> + 'static) {
    glommio::spawn_local_into(task, queue).expect("a core's queues live as long as the core").detach();
}

impl Core {
    fn new(seed: u64) -> Self {
        let executor = glommio::executor();
        let queues = Priority::ALL.map(|priority| {
            let (shares, latency) = shares(priority);
            executor.create_task_queue(shares, latency, priority.name())
        });
        let queue = queues[Priority::Control as usize];
        let tickers = [QUERY_TICK, TICK]
            .map(|every| Rc::new(Ticker { queue, every, rings: Cell::default(), worked: Cell::default() }));
        Self { queues, started: Instant::now(), random: Cell::new(seed), tickers }
    }

    fn queue(&self, priority: Priority) -> TaskQueueHandle {
        self.queues[priority as usize]
    }
}

impl Door for Core {
    fn spawn(&self, priority: Priority, mut task: LocalFuture<()>) {
        if priority == Priority::Control {
            return spawn_into(self.queue(priority), task);
        }
        let ticker = Rc::clone(&self.tickers[usize::from(priority != Priority::Query)]);
        let ticked = poll_fn(move |cx| {
            ticker.note();
            task.as_mut().poll(cx)
        });
        spawn_into(self.queue(priority), ticked);
    }

    fn sleep(&self, time: Duration) -> LocalFuture<()> {
        Box::pin(glommio::timer::sleep(time))
    }

    fn wall_ns(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i64)
    }

    fn monotonic_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        super::mix(state)
    }

    fn offload(&self, work: Box<dyn FnOnce() + Send>) {
        // When its queue is full the work is dropped, which the asker sees.
        let _ = helper().try_send(work);
    }
}

/// Work waiting for the helper thread; more is a sign of an attack on passwords, and is refused.
const HELPER_QUEUE_MAX: usize = 1024;

type Work = Box<dyn FnOnce() + Send>;

/// The one helper thread, started when it is first needed.
fn helper() -> &'static flume::Sender<Work> {
    static HELPER: std::sync::OnceLock<flume::Sender<Work>> = std::sync::OnceLock::new();
    HELPER.get_or_init(|| {
        let (sender, receiver) = flume::bounded::<Work>(HELPER_QUEUE_MAX);
        std::thread::Builder::new()
            .name("helper".to_owned())
            .spawn(move || {
                for work in receiver {
                    work();
                }
            })
            .expect("a thread can be started");
        sender
    })
}

/// Starts one thread pinned to `cpu`, which runs what `life` makes until it ends.
pub fn start_core<F, T>(
    core: usize,
    cpu: Option<usize>,
    io_memory_bytes_max: usize,
    seed: u64,
    life: impl FnOnce(Runtime) -> F + Send + 'static,
) -> std::io::Result<CoreThread<T>>
where
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
    let io_memory = IO_MEMORY_BYTES.min(io_memory_bytes_max / 3).max(IO_MEMORY_BYTES_MIN);
    let handle = LocalExecutorBuilder::new(placement)
        .name(&format!("core-{core}"))
        .spin_before_park(SPIN_BEFORE_PARK)
        .io_memory(io_memory)
        .spawn(move || async move {
            let runtime = Runtime::new(Rc::new(Core::new(seed)));
            let beating = runtime.clone();
            runtime.spawn(Priority::Control, async move {
                loop {
                    beating.sleep(HEARTBEAT).await;
                }
            });
            life(runtime).await
        })
        .map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(CoreThread(handle))
}

/// A running core.
pub struct CoreThread<T: Send + 'static>(glommio::ExecutorJoinHandle<T>);

impl<T: Send + 'static> CoreThread<T> {
    /// Waits for the core's end.
    pub fn join(self) -> std::io::Result<T> {
        self.0.join().map_err(|error| std::io::Error::other(error.to_string()))
    }
}
