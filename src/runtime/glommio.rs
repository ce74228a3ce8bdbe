//! The real side of the runtime door: one pinned glommio executor per core.
//!
//! Known defects of this glommio are worked around here.
//!
//! * An executor goes to sleep although a task could run when a turn is over before it began (the machine let another
//!   process run, and the turn's timer rang meanwhile). Timers end such a sleep: those of [`ticker`] after a turn that was
//!   used up and while there is work now and then, [`HEARTBEAT`] always.
//! * A queue that becomes busy anew is given the least virtual time of all, and every event of a socket ends the turn at
//!   hand. Writes that come in small pieces so leave queries less than their share; a [`short_query`] therefore keeps its turn for
//!   longer.
//! * A panic in a task would leave a core half alive; panics abort the process instead.

mod awake;
mod short_query;
mod ticker;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use glommio::{Latency, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle};
use tidemark_engine::pace::ask_whether_a_turn_is_over;

use self::awake::Awake;
use self::short_query::ShortQuery;
use self::ticker::{Ticker, ticked};
use super::host::step_behind_cores;
use super::{Door, LocalFuture, Priority, Runtime};

/// Bounds the sleep described above: after the last work of a core so often, and so many times, then less often. A wake-up
/// costs an idle core 100 to 250 µs.
const HEARTBEAT: Duration = Duration::from_millis(100);
const HEARTBEATS_AFTER_WORK: u32 = 20;
const HEARTBEAT_IDLE: Duration = Duration::from_millis(250);

/// An idle core looks for work this long before it sleeps: a message between busy cores then costs 7 µs, not 25.
/// Longer burns CPU beside other processes.
const SPIN_BEFORE_PARK: Duration = Duration::from_micros(20);

/// Registered memory for reads of one ring; there are three per core. Less is taken where the limit of locked
/// memory asks for it.
const IO_MEMORY_BYTES: usize = 4 << 20;
const IO_MEMORY_BYTES_MIN: usize = 512 << 10;

/// How long a core works for queries before it looks for messages of other cores and finished I/O.
/// A write goes through about eight such looks, so that they make its latency beside queries. Shorter turns cost queries
/// more: 2 % at 250 µs, 4 % at 100 µs, 6 % at 50 µs.
const ANSWER_LOOKS: Duration = Duration::from_micros(150);
const QUERY_LOOKS: Duration = Duration::from_micros(100);

/// How long a core works for anything else before it looks. At 5 ms (and 100 ms in the background) a message between busy cores waited for most of
/// a write's and a query's time.
const TURN: Duration = Duration::from_micros(500);

/// Shares of a core's time when all queues are busy, and how long a turn of theirs may be.
///
/// glommio takes the shortest of those that wait for their turn when another one joins them; the one that works then
/// is not asked. So none may be much longer than the others: with 2 ms for `Control`, everything had turns of 2 ms
/// whenever a task of `Control` became ready in the midst of one.
///
/// glommio knows no more than 1,000 shares. A query that has become long gets a seventh of a core that has writes to do all
/// the time, and as much as the background: with 400 shares it had two fifths, and writes beside it waited for that.
fn shares(priority: Priority) -> (Shares, Latency) {
    match priority {
        Priority::Control => (Shares::Static(1000), Latency::Matters(TURN)),
        Priority::Ingest => (Shares::Static(600), Latency::Matters(TURN)),
        Priority::Answer => (Shares::Static(1000), Latency::Matters(ANSWER_LOOKS)),
        Priority::Query => (Shares::Static(100), Latency::Matters(QUERY_LOOKS)),
        Priority::Background => (Shares::Static(100), Latency::Matters(TURN)),
    }
}

struct Core {
    queues: [TaskQueueHandle; 5],
    started: Instant,
    random: Cell<u64>,
    /// Beside queries, and beside other work.
    tickers: [Rc<Ticker>; 2],
    awake: Rc<Awake>,
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
        let others = Ticker::of_others(queue);
        let awake = Awake::new(queues[Priority::Answer as usize], Rc::clone(&others));
        let tickers = [Ticker::of_queries(queue, &others), others];
        Self { awake, queues, started: Instant::now(), random: Cell::new(seed), tickers }
    }

    /// Starts a query among the answers.
    fn spawn_query(&self, task: LocalFuture<()>, ticker: Rc<Ticker>) {
        let query = ShortQuery::new(task, Rc::clone(&ticker), self.queue(Priority::Query));
        spawn_into(self.queue(Priority::Answer), query.guarded(ticker));
    }

    fn queue(&self, priority: Priority) -> TaskQueueHandle {
        self.queues[priority as usize]
    }

    /// Rings for as long as the core lives.
    async fn beat(self: Rc<Self>) {
        let starts = || self.tickers.iter().map(|ticker| ticker.starts.get()).sum::<u64>();
        let is_quick = || self.tickers.iter().any(|ticker| ticker.is_quick.get());
        let (mut seen, mut beats) = (0, 0);
        loop {
            let is_idle = beats >= HEARTBEATS_AFTER_WORK;
            glommio::timer::sleep(if is_idle { HEARTBEAT_IDLE } else { HEARTBEAT }).await;
            beats = if is_quick() || seen != starts() { 0 } else { beats + 1 };
            seen = starts();
        }
    }
}

impl Door for Core {
    fn spawn(&self, priority: Priority, task: LocalFuture<()>) {
        if priority == Priority::Control {
            return spawn_into(self.queue(priority), task);
        }
        let is_query = matches!(priority, Priority::Query | Priority::Answer);
        let ticker = Rc::clone(&self.tickers[usize::from(!is_query)]);
        if priority == Priority::Query {
            return self.spawn_query(task, ticker);
        }
        let mut task = ticked(task, ticker);
        if priority != Priority::Answer {
            return spawn_into(self.queue(priority), task);
        }
        let awake = Rc::clone(&self.awake);
        let answering = poll_fn(move |cx| {
            let polled = pin!(&mut task).poll(cx);
            awake.stay();
            polled
        });
        spawn_into(self.queue(priority), answering);
    }

    fn is_long_query(&self) -> bool {
        glommio::executor().current_task_queue() == self.queue(Priority::Query)
    }

    fn spawn_long_query(&self, task: LocalFuture<()>) {
        spawn_into(self.queue(Priority::Query), ticked(task, Rc::clone(&self.tickers[0])));
    }

    fn begin_query(&self, task: LocalFuture<()>, is_enough: Box<dyn Fn() -> bool>) -> LocalFuture<()> {
        let (answers, ticker) = (self.queue(Priority::Answer), Rc::clone(&self.tickers[0]));
        if !self.is_calm() || glommio::executor().current_task_queue() != answers {
            // Or a connection on its way there.
            self.spawn_query(task, ticker);
            return Box::pin(std::future::ready(()));
        }
        let mut query = Some(ShortQuery::new(task, Rc::clone(&ticker), self.queue(Priority::Query)));
        Box::pin(poll_fn(move |cx| {
            let Some(running) = &mut query else { return Poll::Ready(()) };
            if running.poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if !is_enough() {
                return Poll::Pending;
            }
            if let Some(query) = query.take() {
                spawn_into(answers, query.guarded(Rc::clone(&ticker)));
            }
            Poll::Ready(())
        }))
    }

    fn is_calm(&self) -> bool {
        !self.tickers[1].is_quick.get() && !self.is_long_query()
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
                step_behind_cores();
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
            ask_whether_a_turn_is_over(|| glommio::executor().need_preempt());
            let core = Rc::new(Core::new(seed));
            spawn_into(core.queue(Priority::Control), Rc::clone(&core).beat());
            life(Runtime::new(core)).await
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

#[cfg(test)]
mod tests {
    use super::short_query::SHORT_QUERY;
    use super::*;
    use crate::runtime::AWAKE_MAX;

    /// Works for some time in small pieces.
    async fn work(time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            let piece = Instant::now();
            while piece.elapsed() < Duration::from_micros(100) {
                std::hint::spin_loop();
            }
            futures_lite::future::yield_now().await;
        }
    }

    #[test]
    fn a_query_that_works_for_long_goes_on_in_another_queue_and_hears_of_other_cores() {
        let (ask, asked) = flume::bounded::<u32>(1);
        let (answer, answered) = flume::bounded::<u32>(1);
        let core = start_core(0, None, IO_MEMORY_BYTES, 1, move |runtime| async move {
            let found = runtime.run(Priority::Query, async move {
                let queue = || glommio::executor().current_task_queue();
                let first = queue();
                work(SHORT_QUERY / 4).await;
                let still = queue();
                work(SHORT_QUERY * 2).await;
                ask.send_async(20).await.expect("there is another thread");
                let heard = answered.recv_async().await.expect("it answers");
                (first == still, first == queue(), heard)
            });
            found.await
        });
        let other = std::thread::spawn(move || answer.send(asked.recv().expect("asked") + 1));
        let found = core.expect("started").join().expect("ended");
        assert_eq!(found, Some((true, false, 21)));
        assert!(other.join().expect("no panic").is_ok());
    }

    #[test]
    fn a_query_begins_in_its_connection_and_goes_on_by_itself_when_there_is_enough_of_its_answer() {
        let core = start_core(0, None, IO_MEMORY_BYTES, 1, move |runtime| async move {
            let core = runtime.clone();
            let (answer, found) = flume::unbounded();
            let connection = Rc::new(Cell::new(Priority::Answer));
            runtime.spawn_moving(connection, async move {
                let queue = || glommio::executor().current_task_queue();
                let own = queue();
                let done = Rc::new(Cell::new(false));
                let is_done = Rc::clone(&done);
                core.begin_query(async move { is_done.set(true) }, || false).await;
                assert!(done.get(), "it needs no task of its own");
                let (pieces, received) = flume::unbounded();
                let first = received.clone();
                let query = async move {
                    work(SHORT_QUERY / 4).await;
                    let _ = pieces.send(queue() == own);
                    work(SHORT_QUERY * 2).await;
                    let _ = pieces.send(queue() == own);
                };
                core.begin_query(query, move || !first.is_empty()).await;
                let pieces =
                    [received.try_recv().ok(), received.try_recv().ok(), received.recv_async().await.ok()];
                let _ = answer.send(pieces);
            });
            found.recv_async().await.ok()
        });
        let found = core.expect("started").join().expect("ended");
        assert_eq!(found, Some([Some(true), None, Some(false)]));
    }

    #[test]
    fn what_another_core_sends_is_received_also_when_it_takes_longer_than_the_core_stays_awake() {
        let (ask, asked) = flume::bounded(1);
        let (answer, answered) = flume::bounded(1);
        let core = start_core(0, None, IO_MEMORY_BYTES, 1, move |runtime| async move {
            let mut heard = Vec::new();
            for wait in [Duration::ZERO, AWAKE_MAX / 2, AWAKE_MAX * 20] {
                let _ = ask.send(wait);
                heard.push(runtime.received_soon(&answered).await);
            }
            drop(ask);
            heard.push(runtime.received_soon(&answered).await);
            heard
        });
        let other = std::thread::spawn(move || {
            for wait in asked {
                std::thread::sleep(wait);
                let _ = answer.send(wait);
            }
        });
        let found = core.expect("started").join().expect("ended");
        assert_eq!(found, [Some(Duration::ZERO), Some(AWAKE_MAX / 2), Some(AWAKE_MAX * 20), None]);
        other.join().expect("no panic");
    }

    #[test]
    fn a_long_query_has_short_turns_also_after_turns_that_were_used_up() {
        let core = start_core(0, None, IO_MEMORY_BYTES, 1, move |runtime| async move {
            let found = runtime.run(Priority::Query, async move {
                work(SHORT_QUERY * 2).await;
                let mut turns = Vec::new();
                while turns.len() < 200 {
                    let begun = Instant::now();
                    while !glommio::executor().need_preempt() {
                        std::hint::spin_loop();
                    }
                    turns.push(begun.elapsed());
                    futures_lite::future::yield_now().await;
                }
                turns.sort_unstable();
                // Of every two turns one was long.
                turns[turns.len() * 3 / 4]
            });
            found.await
        });
        let turn = core.expect("started").join().expect("ended").expect("it ran");
        assert!(turn < TURN * 2, "a quarter of the turns is longer than {turn:?}");
    }
}
