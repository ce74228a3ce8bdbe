//! Shows how far the reading of the WALs is: a bar where the server runs on a terminal, lines in the log elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cores::main_loop::ReplayGauges;

/// Before this a start is not worth a word.
const QUIET: Duration = Duration::from_millis(300);
const DRAWN_EVERY: Duration = Duration::from_millis(100);
const LOGGED_EVERY: Duration = Duration::from_secs(2);
const BAR_WIDTH: usize = 40;

/// Watches until it is dropped.
pub struct Progress {
    end: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    pub fn watch(gauges: ReplayGauges) -> Self {
        let (end, ended) = mpsc::channel();
        let thread = std::thread::Builder::new().name("progress".to_owned()).spawn(move || {
            if ended.recv_timeout(QUIET) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            match std::io::stderr().is_terminal() {
                true => draw(&gauges, &ended),
                false => log(&gauges, &ended),
            }
        });
        // Without a thread for it, nothing is shown.
        Self { end: Some(end), thread: thread.ok() }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn draw(gauges: &ReplayGauges, ended: &mpsc::Receiver<()>) {
    let mut is_drawn = false;
    loop {
        let (read, total) = (gauges.read.sum(), gauges.total.sum());
        if total > 0 {
            is_drawn = true;
            eprint!("\r{}", bar(read, total));
            let _ = std::io::stderr().flush();
        }
        if ended.recv_timeout(DRAWN_EVERY) != Err(RecvTimeoutError::Timeout) {
            break;
        }
    }
    if is_drawn {
        eprintln!("\r{}", bar(gauges.read.sum(), gauges.total.sum()));
    }
}

fn bar(read: u64, total: u64) -> String {
    let done = (read.min(total) * BAR_WIDTH as u64 / total.max(1)) as usize;
    let percent = read.min(total) * 100 / total.max(1);
    format!(
        "reading the WAL [{}{}] {percent:3} % of {} MiB",
        "#".repeat(done),
        "-".repeat(BAR_WIDTH - done),
        total >> 20
    )
}

fn log(gauges: &ReplayGauges, ended: &mpsc::Receiver<()>) {
    let started = Instant::now();
    while ended.recv_timeout(LOGGED_EVERY) == Err(RecvTimeoutError::Timeout) {
        let (bytes_read, bytes_total) = (gauges.read.sum(), gauges.total.sum());
        let (percent, seconds) = (bytes_read * 100 / bytes_total.max(1), started.elapsed().as_secs());
        tracing::info!(percent, bytes_read, bytes_total, seconds, "reading the WAL");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_always_as_wide_and_full_at_the_end() {
        let at = |read| bar(read, 8 << 20);
        assert_eq!(at(0).len(), at(8 << 20).len());
        assert!(at(4 << 20).contains("#-") && at(4 << 20).contains(" 50 %"));
        assert!(!at(9 << 20).contains('-') && at(9 << 20).contains("100 % of 8 MiB"));
        assert!(bar(0, 0).contains("  0 %"));
    }
}
