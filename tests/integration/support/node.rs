//! A real server on a folder and ports of its own.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Client;

/// Longest a start may take before a test gives up.
const START_MAX: Duration = Duration::from_secs(60);

pub struct Node {
    child: Option<Child>,
    folder: PathBuf,
    /// Keeps the folder until the node is dropped.
    _temporary: Option<tempfile::TempDir>,
    /// Further lines of configuration.
    pub configuration: String,
    port: u16,
}

impl Node {
    /// Starts a node with these further lines of configuration.
    pub fn start(configuration: &str) -> Self {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let mut node = Self {
            child: None,
            folder: temporary.path().to_owned(),
            _temporary: Some(temporary),
            configuration: configuration.to_owned(),
            port: free_port(),
        };
        node.start_again();
        node
    }

    pub fn client(&self) -> Client {
        Client { address: format!("127.0.0.1:{}", self.port) }
    }

    /// Starts the stopped node on the same folder.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "the node runs");
        let folder = self.folder.display();
        let text = format!(
            "bind-address = \"127.0.0.1:0\"\n[meta]\ndir = \"{folder}/meta\"\n[data]\ndir = \"{folder}/data\"\nwal-dir = \
             \"{folder}/wal\"\n[http]\nbind-address = \"127.0.0.1:{}\"\nlog-enabled = false\n{}\n",
            self.port, self.configuration
        );
        let config = self.folder.join("config");
        std::fs::write(&config, text).expect("the configuration can be written");
        let log =
            File::options().create(true).append(true).open(self.folder.join("log")).expect("a log file");
        let child = Command::new(env!("CARGO_BIN_EXE_tidemarkd"))
            .args(["run", "-config"])
            .arg(&config)
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
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
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

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("a local address").port()
}
