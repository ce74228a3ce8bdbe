//! Logging: lines are made on the cores and written by one thread, so that a slow terminal or pipe never stops a core.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::Logging;

/// Lines waiting for the writing thread; more are dropped.
const LINES_MAX: usize = 10_000;

/// The thread that writes lines; lives as long as the process.
pub struct LineWriter {
    lines: flume::Sender<String>,
}

impl LineWriter {
    /// Writes lines to a file that is appended to, or to standard error.
    pub fn start(file: Option<&Path>) -> std::io::Result<Self> {
        let mut out: Box<dyn Write + Send> = match file {
            None => Box::new(std::io::stderr()),
            Some(path) => Box::new(std::fs::OpenOptions::new().create(true).append(true).open(path)?),
        };
        let (lines, receiver) = flume::bounded::<String>(LINES_MAX);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            for line in receiver {
                // Nobody is left to tell when the log itself cannot be written.
                let _ = out.write_all(line.as_bytes());
            }
        })?;
        Ok(Self { lines })
    }

    pub fn sender(&self) -> flume::Sender<String> {
        self.lines.clone()
    }

    /// Waits until what was logged is written, but not for ever.
    pub fn drain(&self) {
        for _ in 0..100 {
            if self.lines.is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // The last line may be on its way.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// One event's text on its way to the thread.
pub struct EventWriter {
    lines: flume::Sender<String>,
    text: Vec<u8>,
}

impl Write for EventWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for EventWriter {
    fn drop(&mut self) {
        if !self.text.is_empty() {
            let text = String::from_utf8_lossy(&self.text).into_owned();
            let _ = self.lines.try_send(text);
        }
    }
}

#[derive(Clone)]
struct Events(flume::Sender<String>);

impl MakeWriter<'_> for Events {
    type Writer = EventWriter;

    fn make_writer(&self) -> EventWriter {
        EventWriter { lines: self.0.clone(), text: Vec::with_capacity(256) }
    }
}

/// Sends the process's events to standard error in the form asked for.
pub fn start(config: &Logging) -> std::io::Result<LineWriter> {
    use std::io::IsTerminal;
    let writer = LineWriter::start(None)?;
    let level = match config.level.to_ascii_lowercase().as_str() {
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "debug" => LevelFilter::DEBUG,
        _ => LevelFilter::INFO,
    };
    // What libraries say below a warning is of no use to an operator.
    let targets = tracing_subscriber::filter::Targets::new()
        .with_default(LevelFilter::WARN.min(level))
        .with_target("tidemark", level)
        .with_target("tidemark_engine", level)
        .with_target("tidemark_net", level);
    let events = Events(writer.sender());
    let layer = match config.format.as_str() {
        "json" => tracing_subscriber::fmt::layer().json().with_writer(events).with_filter(targets).boxed(),
        "auto" if std::io::stderr().is_terminal() => tracing_subscriber::fmt::layer()
            .with_writer(events)
            .with_target(false)
            .with_filter(targets)
            .boxed(),
        _ => tracing_logfmt::builder()
            .with_target(false)
            .with_span_name(false)
            .with_span_path(false)
            .layer()
            .with_writer(events)
            .with_filter(targets)
            .boxed(),
    };
    // A second server in one process keeps the first one's log.
    let _ = tracing_subscriber::registry().with(layer).try_init();
    Ok(writer)
}
