//! What a process has used, from `/proc`.

use std::time::Duration;

use anyhow::Context;

/// Linux counts CPU time in ticks of 10 ms, on every platform that it runs on today.
const TICKS_PER_SECOND: u64 = 100;

/// CPU time of a process with all of its threads.
///
/// # Errors
/// When the process is gone.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("reading a process's CPU time")?;
    // The second field is the program's name in parentheses and may hold spaces.
    let after_name = stat.rsplit_once(')').context("a process's state has no name")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |index: usize| {
        fields
            .get(index)
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or_default()
    };
    Ok(Duration::from_millis(
        (ticks(11) + ticks(12)) * 1_000 / TICKS_PER_SECOND,
    ))
}

/// CPU time of a process and of the processes that it has started and that still run: Postgres has one per connection.
///
/// # Errors
/// When the process is gone.
pub fn cpu_with_children(pid: u32) -> anyhow::Result<Duration> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|child| child.parse().ok());
    Ok(cpu(pid)? + children.filter_map(|child| cpu(child).ok()).sum::<Duration>())
}

/// Memory of a process in KiB: now, and at most so far.
///
/// # Errors
/// When the process is gone.
pub fn memory_kib(pid: u32) -> anyhow::Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("reading a process's memory")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok())
            .unwrap_or_default()
    };
    Ok((field("VmRSS:"), field("VmHWM:")))
}
