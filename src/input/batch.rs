//! Points gathered from the senders of a listener, written in batches.
//!
//! A batch is written when it is full (`batch-size`) or when `batch-timeout` has passed since its first point, by a task of
//! its own. At most `batch-pending` batches wait for that; beyond, whoever adds waits, which holds a TCP sender back.
//! Nobody hears of what goes wrong, so it is counted.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::line_protocol::Precision;
use crate::runtime::{Priority, Runtime};
use crate::write::{Backend, Consistency, WriteError, WriteRequest, Writer};

/// Bytes after which a batch is written, however few points it has.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// How long a batch waits before it asks a full node again, and how often it asks.
const BUSY_WAIT: Duration = Duration::from_millis(50);
const BUSY_TRIES_MAX: u32 = 100;

/// Where batches go, and when.
#[derive(Debug, Clone)]
pub struct Settings {
    pub database: String,
    /// Empty: the default policy.
    pub retention_policy: String,
    /// Points.
    pub batch_size: usize,
    /// Batches that may wait to be written.
    pub batch_pending: usize,
    pub batch_timeout: Duration,
}

/// Counters of one listener on one core, beside those of its protocol.
#[derive(Debug, Default)]
pub struct BatchCounters {
    pub batches: Cell<u64>,
    pub batches_failed: Cell<u64>,
    pub points: Cell<u64>,
}

#[derive(Default)]
struct Gathered {
    lines: Vec<u8>,
    points: usize,
}

/// One listener's batches on one core.
pub struct Batches {
    settings: Settings,
    gathered: RefCell<Gathered>,
    full: flume::Sender<Gathered>,
    pub counters: Rc<BatchCounters>,
}

pub fn add(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get().wrapping_add(amount));
}

impl Batches {
    /// Starts what writes; it ends when the last handle is gone.
    pub fn start<B: Backend + 'static>(
        settings: Settings,
        writer: Rc<Writer<B>>,
        runtime: &Runtime,
    ) -> Rc<Self> {
        let (full, waiting) = flume::bounded::<Gathered>(settings.batch_pending.max(1));
        let counters = Rc::<BatchCounters>::default();
        let batches =
            Rc::new(Self { settings, gathered: RefCell::default(), full, counters: Rc::clone(&counters) });
        let (own, weak) = (runtime.clone(), Rc::downgrade(&batches));
        let settings = batches.settings.clone();
        runtime.spawn(Priority::Ingest, async move {
            while let Ok(batch) = waiting.recv_async().await {
                write(&settings, &writer, &own, &counters, &batch).await;
            }
        });
        let (own, timeout) = (runtime.clone(), batches.settings.batch_timeout);
        runtime.spawn(Priority::Ingest, async move {
            loop {
                own.sleep(timeout).await;
                let Some(batches) = weak.upgrade() else { return };
                batches.hand_over().await;
            }
        });
        batches
    }

    /// Adds a line with its timestamp in ns, and its newline; waits while too many batches do.
    pub async fn add(&self, line: &[u8]) {
        let is_full = {
            let mut gathered = self.gathered.borrow_mut();
            gathered.lines.extend_from_slice(line);
            gathered.points += 1;
            gathered.points >= self.settings.batch_size || gathered.lines.len() >= BATCH_BYTES_MAX
        };
        if is_full {
            self.hand_over().await;
        }
    }

    /// Has what there is written.
    pub async fn hand_over(&self) {
        let gathered = self.gathered.take();
        if gathered.points > 0 {
            let _ = self.full.send_async(gathered).await;
        }
    }
}

async fn write<B: Backend>(
    settings: &Settings,
    writer: &Writer<B>,
    runtime: &Runtime,
    counters: &BatchCounters,
    batch: &Gathered,
) {
    let request = WriteRequest {
        database: &settings.database,
        retention_policy: &settings.retention_policy,
        precision: Precision::Nanosecond,
        consistency: Consistency::One,
        now: runtime.wall_ns(),
        unsigned: false,
        validate_keys: false,
    };
    for _ in 0..BUSY_TRIES_MAX {
        match writer.write_lines(&request, &batch.lines).await {
            Err(WriteError::Busy(_)) => runtime.sleep(BUSY_WAIT).await,
            Ok(_) | Err(WriteError::Partial { .. }) => {
                add(&counters.batches, 1);
                add(&counters.points, batch.points as u64);
                return;
            }
            Err(error) => {
                tracing::warn!(%error, database = settings.database, "a batch of a listener is lost");
                break;
            }
        }
    }
    add(&counters.batches_failed, 1);
}
