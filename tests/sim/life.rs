//! The lives of one node: each starts on what the last one left, is loaded, and ends in its own way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::or;
use tidemark::runtime::Priority;
use tidemark::runtime::sim::Simulation;
use tidemark_engine::disk::sim::{SimDisk, SimOptions, Stopped};

use crate::node::Node;
use crate::oracle::{Book, Content, Random, Shape};

const LIVES_MAX: u64 = 5;
const CLIENTS: u64 = 3;
/// Changes of a client in one life.
const CHANGES_MAX: u64 = 30;
/// Changes of the disk in a life that is cut short, at most: about what a whole life makes.
const DISK_CHANGES_MAX: u64 = 400;
/// Room a full disk has when it gets room again.
const ROOM_BYTES: u64 = 256 << 20;
/// Until a full disk has been noticed, and until it has been forgotten.
const NOTICED: Duration = Duration::from_secs(30);

const SHAPE: Shape = Shape {
    series: 6,
    lines: 24,
    // A batch is a day: ten batches span shard groups.
    line_ns: 3_600_000_000_000,
    start_ns: 1_704_067_200_000_000_000,
};

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// SIGTERM.
    Clean,
    /// The process is killed; what it wrote stays in the kernel's hands.
    Kill,
    /// The power goes at this change of the disk.
    Power(u64),
    /// The so-manieth write fails.
    WriteFails(u64),
    /// The so-manieth sync fails.
    SyncFails(u64),
    /// The disk has no room for a while.
    Full,
}

/// What happened in all runs.
#[derive(Debug, Default)]
pub struct Tally {
    lives: u64,
    acknowledged: u64,
    powers: u64,
    kills: u64,
    refusals: u64,
    fulls: u64,
}

impl Tally {
    pub fn is_rich(&self) -> bool {
        let each = [self.acknowledged / 100, self.powers, self.kills, self.refusals, self.fulls];
        each.iter().all(|count| *count > 0)
    }
}

/// All lives of one seed.
pub fn run(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut random = Random::new(seed);
    let polls_max = if random.below(3) == 0 { 6 } else { 0 };
    let mut disk = SimDisk::with_options(SimOptions { seed, polls_max, capacity_bytes: None });
    let book = Rc::new(RefCell::new(Book::new(SHAPE)));
    for life in 0..2 + random.below(LIVES_MAX - 1) {
        let end = match random.below(8) {
            0 => End::Clean,
            1 => End::Kill,
            2..=4 => End::Power(random.below(DISK_CHANGES_MAX)),
            5 => End::WriteFails(random.below(DISK_CHANGES_MAX / 4)),
            6 => End::SyncFails(random.below(DISK_CHANGES_MAX / 8)),
            _ => End::Full,
        };
        let cores = 1 + random.below(3) as usize;
        let simulation = Simulation::new(random.next());
        if std::env::var_os("TIDEMARK_SIM_SEED").is_some() {
            println!("seed {seed}, life {life}: {cores} cores, {end:?}");
        }
        let one =
            Life { simulation: simulation.clone(), disk: disk.clone(), cores, end, book: Rc::clone(&book) };
        let result = simulation.block_on(one.live(random.next()));
        let told = result.map_err(|wrong| format!("life {life}, {cores} cores, {end:?}: {wrong}"))?;
        tally.lives += 1;
        tally.refusals += u64::from(told == Told::Refused);
        tally.fulls += u64::from(told == Told::WasFull);
        disk = match end {
            End::Clean => disk,
            End::Kill => {
                tally.kills += 1;
                disk.kill()
            }
            // After a fault either may follow.
            _ if random.below(4) == 0 => disk.kill(),
            _ => {
                tally.powers += 1;
                disk.crash()
            }
        };
    }
    // At last everything must be there, settled or not.
    let simulation = Simulation::new(random.next());
    let one =
        Life { simulation: simulation.clone(), disk, cores: 2, end: End::Clean, book: Rc::clone(&book) };
    simulation.block_on(one.live(random.next())).map_err(|wrong| format!("the last life: {wrong}"))?;
    tally.acknowledged += book.borrow().certain() as u64;
    Ok(())
}

/// What a life came to.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    /// A fault made the node refuse writes.
    Refused,
    /// The disk was full, and has been written again since.
    WasFull,
}

struct Life {
    simulation: Simulation,
    disk: SimDisk,
    cores: usize,
    end: End,
    book: Rc<RefCell<Book>>,
}

impl Life {
    async fn live(self, seed: u64) -> Result<Told, String> {
        match self.end {
            End::Power(change) => {
                self.disk.stop_at_change(self.disk.changes() + change, Stopped::Hangs);
                let stopped = self.disk.clone();
                let gone = async move {
                    stopped.stopped().await;
                    Ok(Told::Nothing)
                };
                or(gone, self.serve(seed)).await
            }
            _ => self.serve(seed).await,
        }
    }

    async fn serve(&self, seed: u64) -> Result<Told, String> {
        let mut random = Random::new(seed);
        let node = Rc::new(Node::start(&self.simulation, &self.disk, self.cores).await?);
        self.judge(&node, "at the start").await?;
        // A database that was never acknowledged may be missing.
        node.query(0, "CREATE DATABASE db").await?;
        match self.end {
            End::WriteFails(after) => self.disk.fail_write(after),
            End::SyncFails(after) => self.disk.fail_sync(after),
            _ => {}
        }
        let failing = matches!(self.end, End::WriteFails(_) | End::SyncFails(_));
        let failures = self.load(&node, &mut random).await;
        if !failing && let Some(failure) = failures.first() {
            return Err(format!("nothing was wrong with the disk, and yet: {failure}"));
        }
        self.simulation.runtime().sleep(Duration::from_millis(random.below(5000))).await;
        self.judge(&node, "after the load").await?;
        let told = match self.end {
            End::Full => self.fill_up(&node, &mut random).await?,
            _ if failing && self.disk.has_failed() => self.check_refusal(&node).await?,
            _ => Told::Nothing,
        };
        if self.end == End::Kill {
            return Ok(told);
        }
        let node = Rc::try_unwrap(node).map_err(|_| "a client is left".to_owned())?;
        match node.close().await {
            // A disk may fail as late as now: the end says so, and nothing it did not write was acknowledged.
            Err(error) if told == Told::Nothing && !self.disk.has_failed() => {
                Err(format!("the end: {error}"))
            }
            _ => Ok(told),
        }
    }

    /// Lets the clients change and ask; what failed.
    async fn load(&self, node: &Rc<Node>, random: &mut Random) -> Vec<String> {
        let (done, ended) = flume::unbounded();
        let asking = Rc::new(Cell::new(true));
        for writer in 0..CLIENTS {
            let (node, book, done) = (Rc::clone(node), Rc::clone(&self.book), done.clone());
            let (runtime, mut random) = (self.simulation.runtime(), Random::new(random.next()));
            self.simulation.runtime().spawn(Priority::Ingest, async move {
                for _ in 0..random.below(CHANGES_MAX) {
                    let change = book.borrow_mut().begin(writer, true, &mut random);
                    let core = random.below(node.count() as u64) as usize;
                    let shape = book.borrow().shape;
                    let result = match change.content {
                        Content::Version(version) => {
                            let lines = shape.lines(writer, change.number, version);
                            node.write(core, &lines).await.map_err(|error| error.to_string())
                        }
                        Content::Absent => {
                            node.query(core, &shape.delete(writer, change.number)).await.map(|_| ())
                        }
                    };
                    match result {
                        Ok(()) => book.borrow_mut().acknowledge(change),
                        Err(error) => {
                            let _ = done.send(Some(error));
                        }
                    }
                    if random.below(4) == 0 {
                        runtime.sleep(Duration::from_millis(random.below(800))).await;
                    }
                }
                let _ = done.send(None);
            });
        }
        let (node, still, runtime) = (Rc::clone(node), Rc::clone(&asking), self.simulation.runtime());
        self.simulation.runtime().spawn(Priority::Query, async move {
            while still.get() {
                let _ = node.query(0, "SELECT mean(v), count(s) FROM m GROUP BY sid").await;
                runtime.sleep(Duration::from_millis(70)).await;
            }
        });
        let (mut failures, mut left) = (Vec::new(), CLIENTS);
        while left > 0 {
            match ended.recv_async().await {
                Ok(None) | Err(_) => left -= 1,
                Ok(Some(error)) => failures.push(error),
            }
        }
        asking.set(false);
        // The one who asks sees it at its next turn.
        self.simulation.runtime().sleep(Duration::from_secs(1)).await;
        failures
    }

    async fn judge(&self, node: &Node, when: &str) -> Result<(), String> {
        let stored = match node.read_all(node.count() - 1).await {
            Err(error) if error.contains("database not found") => Default::default(),
            stored => stored.map_err(|error| format!("{when}: {error}"))?,
        };
        self.book.borrow().judge(stored).map_err(|wrong| format!("{when}: {wrong}"))
    }

    /// A write or a sync has failed: every core says so, nothing is acknowledged, everything can be read.
    async fn check_refusal(&self, node: &Node) -> Result<Told, String> {
        let troubles = node.troubles().await;
        if troubles.len() != node.count()
            || !troubles.iter().all(|trouble| trouble.starts_with("read-only: "))
        {
            return Err(format!("a write failed, and the cores say {troubles:?}"));
        }
        for core in 0..node.count() {
            let error = match node.write(core, "other v=1 1").await {
                Ok(()) => return Err("a write failed, and later ones were acknowledged".to_owned()),
                Err(error) => error,
            };
            if error.status() != 503 || error.retry_after().is_none() {
                return Err(format!("a read-only node answers {}: {error}", error.status()));
            }
        }
        self.judge(node, "read-only").await?;
        Ok(Told::Refused)
    }

    /// The disk fills up while clients write, and gets room again: no restart is needed.
    async fn fill_up(&self, node: &Rc<Node>, random: &mut Random) -> Result<Told, String> {
        let runtime = self.simulation.runtime();
        self.disk.set_capacity(Some(self.disk.used_bytes() + (random.below(4) << 17)));
        for _ in 0..3 {
            for failure in self.load(node, random).await {
                if !failure.contains("disk full: ") || !failure.contains(" bytes free") {
                    return Err(format!("a full disk is told as: {failure}"));
                }
            }
            runtime.sleep(NOTICED).await;
        }
        self.judge(node, "on a full disk").await?;
        self.disk.set_capacity(Some(self.disk.used_bytes() + ROOM_BYTES));
        runtime.sleep(NOTICED).await;
        if let Some(failure) = self.load(node, random).await.first() {
            return Err(format!("there is room again, and yet: {failure}"));
        }
        let troubles = node.troubles().await;
        if !troubles.is_empty() {
            return Err(format!("there is room again, and yet the cores say {troubles:?}"));
        }
        self.judge(node, "with room again").await?;
        self.disk.set_capacity(None);
        Ok(Told::WasFull)
    }
}
