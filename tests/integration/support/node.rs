//! A real server on a folder and ports of its own.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Client;

/// Longest a start may take before a test gives up.
const START_MAX: Duration = Duration::from_secs(60);

pub struct Node {
    child: Option<Child>,
    /// Configuration and log.
    folder: tempfile::TempDir,
    /// Everything the node keeps.
    data: PathBuf,
    /// Further keys of `[http]`, then further sections.
    pub configuration: String,
    port: u16,
}

impl Node {
    /// Starts a node with these further keys of `[http]`, and further sections.
    pub fn start(configuration: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().to_owned();
        Self::start_with(folder, data, configuration)
    }

    /// As [`start`](Self::start), with its data in a folder of the caller's.
    pub fn start_in(data: &Path, configuration: &str) -> Self {
        Self::start_with(tempfile::tempdir().expect("a temporary folder"), data.to_owned(), configuration)
    }

    fn start_with(folder: tempfile::TempDir, data: PathBuf, configuration: &str) -> Self {
        let configuration = configuration.to_owned();
        let mut node = Self { child: None, folder, data, configuration, port: free_port() };
        node.start_again();
        node
    }

    pub fn client(&self) -> Client {
        Client { address: format!("127.0.0.1:{}", self.port) }
    }

    /// Starts the stopped node on the same folder.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "the node runs");
        let log_requests =
            if self.configuration.contains("log-enabled") { "" } else { "log-enabled = false\n" };
        let config = self.folder.path().join("config");
        std::fs::write(&config, format!("[http]\n{log_requests}{}\n", self.configuration))
            .expect("the configuration can be written");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))
            .expect("a log file");
        // Figures are taken of a release build, named by the environment.
        let built = env!("CARGO_BIN_EXE_tidemarkd").into();
        let child = Command::new(std::env::var_os("TIDEMARK_BINARY").unwrap_or(built))
            .args(["run", "-config"])
            .arg(&config)
            .env("TIDEMARK_META_DIR", self.data.join("meta"))
            .env("TIDEMARK_DATA_DIR", self.data.join("data"))
            .env("TIDEMARK_DATA_WAL_DIR", self.data.join("wal"))
            .env("TIDEMARK_BIND_ADDRESS", "127.0.0.1:0")
            .env("TIDEMARK_HTTP_BIND_ADDRESS", format!("127.0.0.1:{}", self.port))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the server starts");
        self.child = Some(child);
        let started = Instant::now();
        while self.client().try_request("GET", "/ready", &[], b"").is_none_or(|reply| reply.status >= 300) {
            let exited = self
                .child
                .as_mut()
                .is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()));
            assert!(!exited && started.elapsed() < START_MAX, "the node does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Memory of the node's process that is in RAM.
    pub fn resident_bytes(&self) -> u64 {
        let id = self.child.as_ref().map_or(0, Child::id);
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).unwrap_or(0) << 10
    }

    /// CPU time the node's process has taken.
    pub fn cpu_time(&self) -> Duration {
        let id = self.child.as_ref().map_or(0, Child::id);
        let text = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // Behind the name, which may hold anything: user and system time, in hundredths of a second.
        let rest = text.rsplit(')').next().unwrap_or_default();
        let ticks = rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok());
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the node runs");
        child.kill().expect("the node can be killed");
        let _ = child.wait();
    }

    /// SIGTERM, and waits for the end; how long it took.
    pub fn stop(&mut self) -> Duration {
        let mut child = self.child.take().expect("the node runs");
        let started = Instant::now();
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
        let status = child.wait().expect("the node ends");
        assert!(status.success(), "SIGTERM is a clean end, not {status}:\n{}", self.log());
        started.elapsed()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("log of the node:\n{}", self.log());
        }
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a local address").port()
}
