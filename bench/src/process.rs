//! What the kernel knows of a process.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::harness::ms;

/// The kernel's clock for this, the same on all platforms that Linux runs on.
const TICKS_PER_S: f64 = 100.0;
/// Places in /proc/PID/stat, counted after the name: time of the process itself, and of its children that have ended.
const OWN_TIME: [usize; 2] = [11, 12];
const TIME_OF_CHILDREN: [usize; 2] = [13, 14];

/// The time of a core that a process has used, in seconds.
pub(crate) fn core_s(id: u32) -> anyhow::Result<f64> {
    ticks(&id.to_string(), OWN_TIME)
}

/// What a program took that has run to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) took_ms: f64,
    /// The time of a core that it used, in seconds.
    pub(crate) core_s: f64,
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<Run> {
    let (start, core_s) = (Instant::now(), ticks("self", TIME_OF_CHILDREN)?);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    let took_ms = ms(start.elapsed());
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(Run { took_ms, core_s: ticks("self", TIME_OF_CHILDREN)? - core_s })
}

/// The most memory that a process has had resident, in MB.
pub(crate) fn peak_memory_mb(id: u32) -> anyhow::Result<f64> {
    memory_mb(id, "VmHWM:")
}

/// The memory that a process has resident now, in MB.
pub(crate) fn memory_now_mb(id: u32) -> anyhow::Result<f64> {
    memory_mb(id, "VmRSS:")
}

fn memory_mb(id: u32, line: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let kib =
        status.lines().find_map(|text| text.strip_prefix(line)?.trim().trim_end_matches(" kB").parse::<f64>().ok());
    Ok(kib.context("the kernel knows it")? * 1024.0 / 1e6)
}

fn ticks(id: &str, places: [usize; 2]) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    // The name may have anything in it but ends with the last parenthesis.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = places.map(|place| fields.get(place).and_then(|field| field.parse::<f64>().ok()));
    Ok(ticks.into_iter().sum::<Option<f64>>().context("the kernel counts ticks")? / TICKS_PER_S)
}
