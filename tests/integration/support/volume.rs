//! A disk of its own whose power can be cut: an ext4 image on a loop device. Needs root.
//!
//! Two ways to lose what was not made durable:
//! * **shutdown**: the file system is shut down without flushing its journal, so that names, lengths and extents that
//!   were not synced are gone. What reached the device stays.
//! * **cache**: the device is nbdkit with a write-back cache in memory, and nbdkit is killed, so that every byte that was
//!   not flushed is gone too.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const IMAGE_BYTES: u64 = 1 << 30;

/// `FS_IOC_SHUTDOWN`, and its flag to leave the journal unflushed.
const SHUTDOWN: libc::c_ulong = 0x8004_587d;
const WITHOUT_FLUSH: u32 = 2;

/// Longest anything of the kernel's may take.
const WAIT_MAX: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    Shutdown,
    Cache,
}

pub struct Volume {
    folder: tempfile::TempDir,
    loss: Loss,
    device: String,
    /// nbdkit and nbdfuse, where there are such.
    servers: Vec<Child>,
}

impl Volume {
    /// A new, empty file system.
    pub fn new(loss: Loss) -> Self {
        Self::with_bytes(loss, IMAGE_BYTES)
    }

    /// As [`new`](Self::new), of this size.
    pub fn with_bytes(loss: Loss, bytes: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in ["mount", "fuse"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let image = File::create(folder.path().join("image")).expect("an image");
        image.set_len(bytes).expect("a sparse image");
        let mut volume = Self { folder, loss, device: String::new(), servers: Vec::new() };
        volume.connect();
        run("mkfs.ext4", &["-q", "-F", &volume.device]);
        volume.mount();
        volume
    }

    /// Where the file system is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }

    /// The power goes. Nothing written from now on is kept.
    pub fn cut(&mut self) {
        match self.loss {
            Loss::Shutdown => {
                let root = File::open(self.path()).expect("the root of the file system");
                // SAFETY: the call reads one number.
                let done = unsafe { libc::ioctl(root.as_raw_fd(), SHUTDOWN, &WITHOUT_FLUSH) };
                assert_eq!(done, 0, "the file system can be shut down");
            }
            Loss::Cache => {
                let nbdkit = &mut self.servers[0];
                nbdkit.kill().expect("nbdkit runs");
                let _ = nbdkit.wait();
            }
        }
    }

    /// The power is back. Whoever used the file system has ended before.
    pub fn restore(&mut self) {
        self.disconnect();
        self.connect();
        self.mount();
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn connect(&mut self) {
        let mut backing = self.file("image");
        if self.loss == Loss::Cache {
            let socket = self.file("socket");
            let _ = std::fs::remove_file(&socket);
            self.servers = vec![start(
                "nbdkit",
                &["-f", "-U", &socket, "--filter=cache", "file", &backing, "cache=writeback"],
            )];
            wait_until("nbdkit listens", || Path::new(&socket).exists());
            backing = self.file("fuse/nbd");
            self.servers.push(start("nbdfuse", &[&backing, "--unix", &socket]));
            wait_until("the image appears", || File::open(&backing).is_ok_and(|file| length(&file) > 0));
        }
        let direct = format!("--direct-io={}", if self.loss == Loss::Cache { "on" } else { "off" });
        self.device = run("losetup", &[&direct, "--find", "--show", &backing]).trim().to_owned();
    }

    fn mount(&self) {
        run("mount", &[&self.device, &self.file("mount")]);
    }

    fn disconnect(&mut self) {
        let mount = self.file("mount");
        // The rings of a process that was killed hold its files a little longer.
        let lazy: &[&str] = if self.loss == Loss::Cache { &["-l"] } else { &[] };
        wait_until("the file system is unmounted", || {
            let is_mounted =
                std::fs::read_to_string("/proc/self/mounts").is_ok_and(|text| text.contains(&mount));
            !is_mounted || succeeds("umount", &[lazy, &[&mount]].concat())
        });
        if !self.device.is_empty() {
            succeeds("losetup", &["--detach", &self.device]);
        }
        for mut server in self.servers.drain(..) {
            let _ = server.kill();
            let _ = server.wait();
        }
        if self.loss == Loss::Cache {
            succeeds("fusermount3", &["-u", "-z", &self.file("fuse")]);
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        self.disconnect();
    }
}

fn length(file: &File) -> u64 {
    file.metadata().map_or(0, |metadata| metadata.len())
}

fn start(program: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).stderr(Stdio::null()).output();
    output.is_ok_and(|output| output.status.success())
}

/// Runs a program to its end; what it printed.
fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {WAIT_MAX:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
