//! A line that shows that something is going on, on standard error and only at a terminal.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Quicker than this nobody wants to be told.
const QUIET: Duration = Duration::from_millis(500);

/// A query under way. Cheap to clone.
#[derive(Clone)]
pub struct QueryProgress(Arc<Mutex<State>>);

struct State {
    started: Instant,
    rows: u64,
    bar: Option<ProgressBar>,
}

impl QueryProgress {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State { started: Instant::now(), rows: 0, bar: None })))
    }

    /// Rows that have arrived.
    pub fn add_rows(&self, rows: u64) {
        if let Ok(mut state) = self.0.lock() {
            state.rows += rows;
        }
    }

    /// Draws the line anew, once it is time.
    pub fn turn(&self) {
        let Ok(mut state) = self.0.lock() else { return };
        if state.started.elapsed() < QUIET {
            return;
        }
        let (rows, seconds) = (state.rows, state.started.elapsed().as_secs_f64());
        let bar = state.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.set_style(style("{spinner} {msg}"));
            bar
        });
        let so_far = if rows > 0 { format!(", {} rows", HumanCount(rows)) } else { String::new() };
        bar.set_message(format!("{seconds:.1} s{so_far}  (Ctrl-C ends the query)"));
        bar.tick();
    }

    /// Takes the line away.
    pub fn clear(&self) {
        if let Ok(mut state) = self.0.lock()
            && let Some(bar) = state.bar.take()
        {
            bar.finish_and_clear();
        }
    }
}

/// An import of `total` bytes, if that is known.
pub fn import_bar(total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    bar.set_style(match total {
        Some(_) => style("{bar:30} {percent:>3} % of {total_bytes}  {msg}  {eta} left"),
        None => style("{spinner} {bytes}  {msg}"),
    });
    bar
}

/// What an import bar says beside the bar.
pub fn import_message(points: u64, elapsed: Duration) -> String {
    let rate = points as f64 / elapsed.as_secs_f64().max(0.001);
    format!("{} points, {} a second", HumanCount(points), HumanCount(rate as u64))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
