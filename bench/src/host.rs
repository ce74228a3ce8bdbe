//! `host`: samples this machine's own load into line protocol, so that there is real input everywhere.
//!
//! Reads /proc/stat, /proc/meminfo, /proc/loadavg, /proc/net/dev and /proc/diskstats; measurements `cpu`, `mem`,
//! `load`, `net` and `disk` with the tag `host` and, where it applies, `cpu`, `interface` or `device`.

use std::fmt::Write;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use indicatif::ProgressBar;

use crate::Target;
use crate::client::{Client, encode};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Seconds to sample for.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Milliseconds between samples.
    #[arg(long, default_value_t = 1_000)]
    interval: u64,
}

pub fn run(options: &Options) -> Result<(), String> {
    let mut client = Client::new(&options.target.address);
    client.query("", &format!("CREATE DATABASE \"{}\"", options.target.database))?;
    let host = read("/proc/sys/kernel/hostname").trim().replace([' ', ',', '='], "_");
    let path = format!("/write?db={}", encode(&options.target.database));
    let samples = (options.seconds * 1_000 / options.interval.max(1)).max(1);
    let bar = ProgressBar::new(samples);
    let (started, mut lines) = (Instant::now(), 0);
    for sample in 0..samples {
        std::thread::sleep(
            Duration::from_millis(sample * options.interval).saturating_sub(started.elapsed()),
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let text = sample_host(&host, now);
        lines += text.lines().count();
        let answer = client.post(&path, "", text.as_bytes())?;
        if answer.status != 204 {
            return Err(format!("{}: {}", answer.status, String::from_utf8_lossy(&answer.body)));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    println!("{lines} points of {host} written to {}", options.target.database);
    Ok(())
}

/// One sample of everything, in line protocol.
fn sample_host(host: &str, now: u128) -> String {
    let mut out = String::new();
    for line in read("/proc/stat").lines().filter(|line| line.starts_with("cpu")) {
        let mut words = line.split_whitespace();
        let Some(cpu) = words.next() else { continue };
        let names = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
        let fields =
            names.iter().zip(words).map(|(name, value)| format!("{name}={value}i")).collect::<Vec<_>>();
        let cpu = if cpu == "cpu" { "total" } else { cpu };
        let _ = writeln!(out, "cpu,cpu={cpu},host={host} {} {now}", fields.join(","));
    }
    let memory: Vec<String> = read("/proc/meminfo")
        .lines()
        .filter_map(|line| {
            let (name, rest) = line.split_once(':')?;
            let kib: u64 = rest.split_whitespace().next()?.parse().ok()?;
            ["MemTotal", "MemFree", "MemAvailable", "Buffers", "Cached", "Dirty", "SwapFree"]
                .contains(&name)
                .then(|| format!("{}={}i", name.to_lowercase(), kib * 1_024))
        })
        .collect();
    let _ = writeln!(out, "mem,host={host} {} {now}", memory.join(","));
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    if let [one, five, fifteen] = load[..] {
        let _ = writeln!(out, "load,host={host} load1={one},load5={five},load15={fifteen} {now}");
    }
    for line in read("/proc/net/dev").lines().skip(2) {
        let Some((interface, rest)) = line.split_once(':') else { continue };
        let numbers: Vec<&str> = rest.split_whitespace().collect();
        if let (Some(received), Some(sent)) = (numbers.first(), numbers.get(8)) {
            let _ = writeln!(
                out,
                "net,host={host},interface={} bytes_recv={received}i,bytes_sent={sent}i {now}",
                interface.trim()
            );
        }
    }
    for line in read("/proc/diskstats").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.len() > 9 && !words[2].starts_with("loop") && !words[2].starts_with("ram") {
            let _ = writeln!(
                out,
                "disk,device={},host={host} reads={}i,sectors_read={}i,writes={}i,sectors_written={}i {now}",
                words[2], words[3], words[5], words[7], words[9]
            );
        }
    }
    out
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_sample_holds_this_machine_s_cpu_and_memory() {
        let text = super::sample_host("h", 1);
        assert!(text.contains("cpu,cpu=total,host=h user="), "{text}");
        assert!(text.contains("memtotal="), "{text}");
    }
}
