//! What the machine gives this process: CPUs, memory, limits, io_uring. Asked once, at start.

use std::fs;

/// What was found.
#[derive(Debug, Clone)]
pub struct Host {
    /// CPUs the process may run on.
    pub cpus: Vec<usize>,
    /// CPU time it may use, in whole CPUs, rounded up.
    pub cpu_quota: usize,
    /// Memory it may use: the smaller of the machine's and the control group's.
    pub memory_bytes: u64,
    /// Memory it may lock.
    pub memlock_bytes: u64,
    /// Files it may have open.
    pub files: u64,
}

/// Raises what can be raised, and looks.
pub fn survey() -> Host {
    refuse_huge_pages();
    let cpus = allowed_cpus();
    let cpu_quota = cgroup_cpu_quota().unwrap_or(cpus.len()).clamp(1, cpus.len().max(1));
    Host {
        cpu_quota,
        memory_bytes: machine_memory().min(cgroup_memory().unwrap_or(u64::MAX)),
        memlock_bytes: raise(libc::RLIMIT_MEMLOCK),
        files: raise(libc::RLIMIT_NOFILE),
        cpus,
    }
}

/// Keeps the kernel from backing memory with huge pages unasked: bodies and batches come and go, and clearing two
/// megabytes for each costs more CPU, and holds more memory, than the larger pages save.
fn refuse_huge_pages() {
    // SAFETY: prctl with these numbers changes a flag of the process and touches no memory. Where it fails all is as before.
    unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) };
}

/// How far behind the cores' threads a thread stands that works beside them: it gets a tenth of a busy processor.
const BEHIND: libc::c_int = 10;

/// Has the calling thread run where there is time left: on all processors of the process's first thread (one that a
/// core starts would have that core's alone), and behind the cores.
pub fn step_behind_cores() {
    // SAFETY: both calls fill or read a set of this size on the stack. What fails leaves all as before.
    unsafe {
        let mut cpus: libc::cpu_set_t = std::mem::zeroed();
        let bytes = size_of_val(&cpus);
        if libc::sched_getaffinity(libc::getpid(), bytes, &mut cpus) == 0 {
            libc::sched_setaffinity(0, bytes, &cpus);
        }
        libc::setpriority(libc::PRIO_PROCESS, libc::gettid() as libc::id_t, BEHIND);
    }
}

/// Locked memory one core's rings need.
pub const MEMLOCK_BYTES_PER_CORE: u64 = 512 << 10;

/// Operations of io_uring the cores cannot do without.
const OPERATIONS: [(u8, &str); 9] = [
    (io_uring::opcode::Nop::CODE, "nop"),
    (io_uring::opcode::Read::CODE, "read"),
    (io_uring::opcode::Write::CODE, "write"),
    (io_uring::opcode::Fsync::CODE, "fsync"),
    (io_uring::opcode::PollAdd::CODE, "poll"),
    (io_uring::opcode::Timeout::CODE, "timeout"),
    (io_uring::opcode::Accept::CODE, "accept"),
    (io_uring::opcode::OpenAt::CODE, "openat"),
    (io_uring::opcode::Statx::CODE, "statx"),
];

/// One clear sentence when something is missing that the server cannot run without.
pub fn check(host: &Host, cores: usize) -> Result<(), String> {
    let ring = io_uring::IoUring::new(8).map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM) | Some(libc::EACCES) => "io_uring is forbidden to this process: set the sysctl \
             kernel.io_uring_disabled to 0, or allow the io_uring system calls in the container's seccomp profile"
            .to_owned(),
        Some(libc::ENOSYS) => {
            "this kernel has no io_uring: Linux 5.11 or newer is needed (and a seccomp profile that does not hide it)"
                .to_owned()
        }
        Some(libc::ENOMEM) => format!(
            "the limit of locked memory is too small for io_uring: {} bytes; raise it with ulimit -l or \
             LimitMEMLOCK=infinity",
            host.memlock_bytes
        ),
        _ => format!("io_uring does not work here: {error}"),
    })?;
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| {
        format!("io_uring does not tell what it can do: {error}; Linux 5.11 or newer is needed")
    })?;
    if let Some((_, name)) = OPERATIONS.iter().find(|(code, _)| !probe.is_supported(*code)) {
        return Err(format!("io_uring lacks the operation {name:?}: Linux 5.11 or newer is needed"));
    }
    let needed = MEMLOCK_BYTES_PER_CORE * cores as u64;
    if host.memlock_bytes < needed {
        return Err(format!(
            "the limit of locked memory is {} bytes, {cores} cores need {needed}: raise it with ulimit -l {} or \
             LimitMEMLOCK=infinity",
            host.memlock_bytes,
            needed / 1024
        ));
    }
    Ok(())
}

/// Raises a soft limit to the hard one; the limit after that.
fn raise(resource: libc::__rlimit_resource_t) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain system calls on a struct of our own.
    unsafe {
        if libc::getrlimit(resource, &mut limit) != 0 {
            return 0;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        if libc::setrlimit(resource, &raised) == 0 { raised.rlim_cur } else { limit.rlim_cur }
    }
}

fn allowed_cpus() -> Vec<usize> {
    // SAFETY: the set is plain bits of our own, as large as the call is told.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) != 0 {
            return vec![0];
        }
        set
    };
    // SAFETY: the position is below CPU_SETSIZE.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

fn machine_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.map_or(1 << 30, |kib| kib * 1024)
}

/// The folders of this process's control group and its parents, outermost first. `hierarchy`: what its line in
/// /proc/self/cgroup begins with behind the number.
fn cgroup_folders(hierarchy: &str, root: &str) -> Vec<String> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.split_once(':')?.1.strip_prefix(hierarchy));
    let Some(path) = path else { return Vec::new() };
    let mut folders = vec![root.to_owned()];
    for part in path.split('/').filter(|part| !part.is_empty()) {
        let parent = folders.last().map(String::as_str).unwrap_or_default();
        folders.push(format!("{parent}/{part}"));
    }
    folders
}

/// The least limit of version 2 and version 1. In a container the path may be that of the machine: then its root alone
/// is there to be read.
fn cgroup_memory() -> Option<u64> {
    let second =
        cgroup_folders(":", "/sys/fs/cgroup").into_iter().map(|folder| format!("{folder}/memory.max"));
    let first = cgroup_folders("memory:", "/sys/fs/cgroup/memory").into_iter();
    let first = first.map(|folder| format!("{folder}/memory.limit_in_bytes"));
    second.chain(first).filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min()
}

fn cgroup_cpu_quota() -> Option<usize> {
    let files = cgroup_folders(":", "/sys/fs/cgroup").into_iter().map(|folder| format!("{folder}/cpu.max"));
    let quotas = files.filter_map(|file| {
        let text = fs::read_to_string(file).ok()?;
        let (quota, period) = text.trim().split_once(' ')?;
        let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
        Some(quota.div_ceil(period.max(1)) as usize)
    });
    quotas.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_cpu_and_memory() {
        let host = survey();
        assert!(!host.cpus.is_empty() && host.cpu_quota >= 1);
        assert!(host.memory_bytes > 1 << 20);
        assert!(host.files > 0);
    }

    #[test]
    fn a_thread_behind_the_cores_has_all_processors_wherever_it_was_started() {
        let all = allowed_cpus();
        let first = all[0];
        let thread = std::thread::spawn(move || {
            // SAFETY: the set is plain bits of our own, as large as the call is told; 0 is this thread.
            let nice = || unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
            // SAFETY: as above; the processor is below CPU_SETSIZE.
            unsafe {
                let mut one: libc::cpu_set_t = std::mem::zeroed();
                libc::CPU_SET(first, &mut one);
                libc::sched_setaffinity(0, size_of_val(&one), &one);
            }
            let before = (allowed_cpus(), nice());
            step_behind_cores();
            (before, (allowed_cpus(), nice()))
        });
        let ((cpus, nice), after) = thread.join().expect("it ended");
        assert_eq!(cpus, [first]);
        assert_eq!(after, (all, nice.max(BEHIND)));
    }

    #[test]
    fn too_little_locked_memory_is_told_with_its_remedy() {
        let host = Host { memlock_bytes: 64 << 10, ..survey() };
        let told = check(&host, 4).unwrap_err();
        assert!(told.contains("ulimit -l") || told.contains("io_uring"), "{told}");
    }
}
