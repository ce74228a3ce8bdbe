//! How the machine is divided: cores, their memory, the folders and WALs they use.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use tidemark_engine::disk::uring::{create_root, sync_folder};

use crate::config::Config;
use crate::runtime::host::Host;

/// Memory a core needs to do its work at all: pools of a few megabytes each, and one large request body.
pub const CORE_BYTES_MIN: u64 = 64 << 20;

/// Memory that asks for one more core.
const CORE_BYTES_WANTED: u64 = 128 << 20;

/// What was decided.
#[derive(Debug, Clone)]
pub struct Resources {
    pub cores: usize,
    /// Memory of one core, all its pools together.
    pub core_bytes: u64,
    /// The CPU each core is pinned to; none: left to the scheduler.
    pub cpus: Vec<Option<usize>>,
}

impl Resources {
    pub fn divide(config: &Config, host: &Host) -> Result<Self, String> {
        // The other half: what the allocator loses, stacks, the kernel's cache of sockets and files.
        let memory = match config.engine.memory.0 {
            0 => host.memory_bytes / 2,
            memory => memory,
        };
        let cores = match config.engine.cores {
            0 => host.cpu_quota.min((host.memory_bytes / CORE_BYTES_WANTED) as usize).max(1),
            cores => cores,
        };
        let core_bytes = memory / cores as u64;
        if core_bytes < CORE_BYTES_MIN {
            return Err(format!(
                "{} MiB of memory for each of {cores} cores are too little, {} MiB are needed: set [engine] cores to \
                 less or memory to more",
                core_bytes >> 20,
                CORE_BYTES_MIN >> 20
            ));
        }
        // More cores than CPUs share them; pinning would only tie pairs together.
        let is_pinned = cores <= host.cpus.len();
        let cpus = (0..cores).map(|core| host.cpus.get(core).copied().filter(|_| is_pinned)).collect();
        Ok(Self { cores, core_bytes, cpus })
    }
}

/// The folders of a node, made and locked. The lock ends with the value.
pub struct Folders {
    pub data: PathBuf,
    pub meta: PathBuf,
    _lock: fs::File,
}

impl Folders {
    pub fn open(config: &Config) -> Result<Self, String> {
        let told = |what: &str, path: &Path, error: io::Error| format!("{what} {}: {error}", path.display());
        let (data, meta) = (config.data.dir.clone(), config.meta.dir.clone());
        for folder in [&data, &meta] {
            create_root(folder).map_err(|error| told("cannot create", folder, error))?;
        }
        let lock = lock(&data)?;
        let wal = &config.data.wal_dir;
        if !wal.as_os_str().is_empty() && *wal != data.join("wal") {
            create_root(wal).map_err(|error| told("cannot create", wal, error))?;
            link_wal(&data.join("wal"), wal)?;
            sync_folder(&data).map_err(|error| told("cannot sync", &data, error))?;
        }
        Ok(Self { data, meta, _lock: lock })
    }

    /// Ids of the WALs there are.
    pub fn wal_ids(&self) -> Vec<u64> {
        let entries = fs::read_dir(self.data.join("wal")).into_iter().flatten().flatten();
        let mut ids: Vec<u64> =
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        ids.sort_unstable();
        ids
    }
}

/// Two processes on one folder would destroy it.
fn lock(folder: &Path) -> Result<fs::File, String> {
    let path = folder.join("lock");
    let told = |error: io::Error| format!("cannot open {}: {error}", path.display());
    let file = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(told)?;
    // SAFETY: the descriptor is open as long as `file`.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        return Err(format!("{} is in use by another process", folder.display()));
    }
    Ok(file)
}

/// The engine keeps WALs below its folder; another place is a link there.
fn link_wal(link: &Path, wal: &Path) -> Result<(), String> {
    let wal = fs::canonicalize(wal).map_err(|error| format!("{}: {error}", wal.display()))?;
    match fs::symlink_metadata(link) {
        Err(_) => {
            std::os::unix::fs::symlink(&wal, link).map_err(|error| format!("{}: {error}", link.display()))
        }
        Ok(_) if fs::canonicalize(link).is_ok_and(|known| known == wal) => Ok(()),
        Ok(_) => Err(format!(
            "data.wal-dir is {}, but the WAL of this data is in {}: move it there, or set the key back",
            wal.display(),
            link.display()
        )),
    }
}

/// The id of a group of users named in the configuration, by name or number; `None` for an empty text.
pub fn group_id(group: &str) -> Result<Option<u32>, String> {
    if group.is_empty() {
        return Ok(None);
    }
    if let Ok(id) = group.parse() {
        return Ok(Some(id));
    }
    let groups = fs::read_to_string("/etc/group").map_err(|error| format!("/etc/group: {error}"))?;
    let ids = groups.lines().filter_map(|line| {
        let mut parts = line.split(':');
        (parts.next()? == group).then(|| parts.nth(1)?.parse().ok())?
    });
    ids.map(Some).next().ok_or_else(|| {
        format!("http.unix-socket-group: there is no group {group} in /etc/group; give its number instead")
    })
}

/// The WALs each core replays: its own, and of those no core writes any more, every n-th.
pub fn wals_replayed(core: usize, cores: usize, found: &[u64]) -> Vec<u64> {
    let own = core as u64;
    let left = found.iter().filter(|&&id| id >= cores as u64 && id as usize % cores == core);
    std::iter::once(own).chain(left.copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Effective;

    fn host(cpus: usize, memory_bytes: u64) -> Host {
        Host { cpus: (0..cpus).collect(), cpu_quota: cpus, memory_bytes, memlock_bytes: 0, files: 0 }
    }

    fn config(text: &str) -> Config {
        let text = format!("[meta]\ndir = \"m\"\n[data]\ndir = \"d\"\n{text}");
        Effective::from_text(&text, |_| None).unwrap().config().unwrap()
    }

    #[test]
    fn cores_follow_cpus_and_memory() {
        let divided = Resources::divide(&config(""), &host(8, 16 << 30)).unwrap();
        assert_eq!((divided.cores, divided.core_bytes), (8, 1 << 30));
        let divided = Resources::divide(&config(""), &host(8, 512 << 20)).unwrap();
        assert_eq!((divided.cores, divided.core_bytes), (4, 64 << 20));
        let refusal =
            Resources::divide(&config("[engine]\ncores = 8\nmemory = \"256m\"\n"), &host(8, 16 << 30));
        assert!(refusal.unwrap_err().contains("[engine] cores"));
    }

    #[test]
    fn every_wal_is_replayed_by_exactly_one_core() {
        let found = [0, 1, 2, 3, 4, 7];
        let mut all: Vec<u64> = (0..2).flat_map(|core| wals_replayed(core, 2, &found)).collect();
        all.sort_unstable();
        assert_eq!(all, found);
    }

    #[test]
    fn groups_are_known_by_name_and_number() {
        assert_eq!(group_id(""), Ok(None));
        assert_eq!(group_id("root"), Ok(Some(0)));
        assert_eq!(group_id("42"), Ok(Some(42)));
        assert!(group_id("no such group").is_err());
    }

    #[test]
    fn a_folder_is_used_by_one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        assert!(lock(folder.path()).unwrap_err().contains("in use by another process"));
        drop(held);
        assert!(lock(folder.path()).is_ok());
    }
}
