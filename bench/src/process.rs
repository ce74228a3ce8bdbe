//! What the server costs: CPU seconds, memory, bytes on disk. Read from /proc and the file system.

use std::path::Path;

/// The measured process.
pub struct Process {
    pub pid: u32,
}

/// Gives the calling thread another niceness than its process has; negative ones are for root.
pub fn set_thread_nice(nice: i32) -> std::io::Result<()> {
    // SAFETY: setpriority takes no pointers; 0 is the thread that calls.
    match unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

impl Process {
    /// The process that listens on `address` ("host:port"), when this user may see it.
    pub fn listening_on(address: &str) -> Option<Self> {
        let port: u16 = address.rsplit(':').next()?.parse().ok()?;
        let wanted = format!(":{port:04X}");
        let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|file| std::fs::read_to_string(file).ok())
            .flat_map(|text| {
                text.lines()
                    .skip(1)
                    .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
                    .filter(|fields| fields.len() > 9 && fields[1].ends_with(&wanted) && fields[3] == "0A")
                    .map(|fields| format!("socket:[{}]", fields[9]))
                    .collect::<Vec<_>>()
            })
            .collect();
        std::fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let holds = std::fs::read_dir(entry.path().join("fd")).ok()?.flatten().any(|fd| {
                std::fs::read_link(fd.path())
                    .is_ok_and(|link| inodes.iter().any(|inode| link.to_str() == Some(inode)))
            });
            holds.then_some(Self { pid })
        })
    }

    /// User and system time so far, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        let after_name = text.rsplit(')').next().unwrap_or("");
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks: f64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum();
        // SAFETY: sysconf reads a constant of the system.
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
        ticks / per_second
    }

    /// CPU seconds of each thread, with its name, largest first.
    pub fn cpu_seconds_by_thread(&self) -> Vec<(String, f64)> {
        let mut threads: Vec<(String, f64)> = std::fs::read_dir(format!("/proc/{}/task", self.pid))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| {
                let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
                let nanoseconds: f64 = text.split_whitespace().next()?.parse().ok()?;
                let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
                Some((name.trim().to_owned(), nanoseconds / 1e9))
            })
            .collect();
        threads.sort_by(|a, b| b.1.total_cmp(&a.1));
        threads
    }

    /// Memory now and at its peak, in bytes.
    pub fn memory(&self) -> (u64, u64) {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let field = |name: &str| {
            text.lines()
                .find(|line| line.starts_with(name))
                .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .unwrap_or(0)
                * 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

/// What a hypervisor took from this machine's CPUs so far, in hundredths of a second.
pub fn stolen_ticks() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let all = text.lines().next().unwrap_or("");
    all.split_whitespace().nth(8).and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

/// Bytes of all files below `folder`: per file the lesser of its length and what is allocated for it.
pub fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => disk_bytes(&entry.path()),
            Ok(meta) => meta.len().min(meta.blocks() * 512),
            Err(_) => 0,
        })
        .sum()
}
