//! CPU time and memory of watched process trees: CPU clocks, and what /proc says.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fs;

/// A process tree to account for, under a name.
#[derive(Clone)]
pub struct Watch {
    pub name: String,
    pid: u32,
}

impl std::str::FromStr for Watch {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, pid) = text.split_once('=').context("expected NAME=PID")?;
        Ok(Self { name: name.to_owned(), pid: pid.parse()? })
    }
}

/// Lets this process open as many descriptors as the system allows.
pub fn raise_open_files_limit() {
    let ceiling = fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok()).unwrap_or(1 << 20);
    for limit in [ceiling, current_hard_limit()] {
        let wanted = libc::rlimit { rlim_cur: limit, rlim_max: limit.max(current_hard_limit()) };
        // SAFETY: `wanted` is a valid rlimit; a refusal leaves the old limit in place.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) } == 0 {
            return;
        }
    }
}

fn current_hard_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for writing.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_max
}

/// CPU seconds used so far: each watched tree, this process as `client`, and all of the system as
/// `system` (which also sees kernel threads).
pub fn cpu_seconds(watches: &[Watch]) -> BTreeMap<String, f64> {
    let parents = parents();
    let mut used: BTreeMap<_, _> = watches
        .iter()
        .map(|watch| {
            let pids = tree(watch.pid, &parents);
            let seconds = pids.into_iter().map(process_cpu_seconds).sum();
            (watch.name.clone(), seconds)
        })
        .collect();
    used.insert("client".to_owned(), process_cpu_seconds(std::process::id()));
    used.insert("system".to_owned(), system_cpu_seconds());
    used
}

/// Memory in bytes: each watched tree, and the kernel's sockets and slabs.
pub fn memory(watches: &[Watch]) -> Value {
    let parents = parents();
    let trees: serde_json::Map<_, _> = watches
        .iter()
        .map(|watch| {
            let mut sums = BTreeMap::from([("rss", 0), ("pss", 0), ("anonymous", 0)]);
            for pid in tree(watch.pid, &parents) {
                let path = format!("/proc/{pid}/smaps_rollup");
                let rollup = fs::read_to_string(path).unwrap_or_default();
                for (label, key) in [("Rss:", "rss"), ("Pss:", "pss"), ("Anonymous:", "anonymous")] {
                    *sums.entry(key).or_default() += kilobytes(&rollup, label) * 1024;
                }
            }
            (watch.name.clone(), json!(sums))
        })
        .collect();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    json!({
        "processes": trees,
        "kernel_sockets": socket_pages() * page_size(),
        "kernel_slab": kilobytes(&meminfo, "Slab:") * 1024,
    })
}

/// Value of a line such as `Rss:   123 kB`.
fn kilobytes(text: &str, label: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(label))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn socket_pages() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
    text.lines()
        .filter(|line| line.starts_with("TCP:"))
        .flat_map(|line| line.split_whitespace())
        .skip_while(|word| *word != "mem")
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn page_size() -> u64 {
    // SAFETY: sysconf has no preconditions.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

fn ticks_per_second() -> f64 {
    // SAFETY: sysconf has no preconditions.
    unsafe { libc::sysconf(libc::_SC_CLK_TCK) as f64 }
}

/// Fields of /proc/PID/stat from the third on (the second, a name, may contain spaces).
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(") ")?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// What the process has used, its ended threads too. Its CPU clock counts nanoseconds, where /proc/PID/stat counts
/// hundredths of a second: one part in two hundred of a window of two seconds.
fn process_cpu_seconds(pid: u32) -> f64 {
    let mut clock = 0;
    let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both pointers are valid for writing; a process that is gone is an error that is looked at.
    let found = unsafe {
        libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) == 0 && libc::clock_gettime(clock, &raw mut used) == 0
    };
    if found { used.tv_sec as f64 + used.tv_nsec as f64 / 1e9 } else { 0.0 }
}

fn system_cpu_seconds() -> f64 {
    const IDLE: [usize; 2] = [3, 4];
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().next().unwrap_or_default();
    // user nice system idle iowait irq softirq steal; the rest is contained in these.
    let busy: f64 = line
        .split_whitespace()
        .skip(1)
        .take(7)
        .enumerate()
        .filter(|(at, _)| !IDLE.contains(at))
        .map(|(_, ticks)| ticks.parse().unwrap_or(0.0))
        .sum();
    busy / ticks_per_second()
}

/// Parent of every process.
fn parents() -> HashMap<u32, u32> {
    const PARENT: usize = 1;
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat_fields(pid)?[PARENT].parse().ok()?)))
        .collect()
}

/// The process and its descendants.
fn tree(root: u32, parents: &HashMap<u32, u32>) -> Vec<u32> {
    let mut members = vec![root];
    let mut at = 0;
    while let Some(&parent) = members.get(at) {
        members.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    members
}
