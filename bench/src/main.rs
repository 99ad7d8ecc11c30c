//! Side-by-side measurements: ours and what a user would pick instead, in one run, by turns, on one machine.
//!
//! Nothing here is a test: a slow machine makes slow figures and no failure. `docs/performance.md` shows what came of it.
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

mod cold_start;
mod cost;
mod growth;
mod harness;
mod idle;
mod lab;
mod lambda;
mod latency;
mod memory;
mod meter;
mod mirror;
mod plot;
mod process;
mod python;
mod report;
mod stack;
mod status_json;
mod system;
mod warm;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

use harness::Scale;
use report::Report;

/// Measure bcrlapi beside what would be used instead.
#[derive(Debug, Parser)]
#[command(
    after_help = "Example:\n  bench/install && cargo run --release -p bcrlapi-bench -- status-json --json figures"
)]
struct Args {
    /// Which benchmark; `all` for each of them.
    #[arg(value_parser = names())]
    name: String,
    /// Once, and at a small size: shows that it works, and no figures to rely on.
    #[arg(long)]
    quick: bool,
    /// Append the lines of JSON to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a plot of each benchmark into this directory.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
}

type Benchmark = fn(Scale) -> anyhow::Result<Report>;

const BENCHMARKS: [(&str, Benchmark); 9] = [
    ("status-json", status_json::run),
    ("mirror", mirror::run),
    ("latency", latency::run),
    ("idle", idle::run),
    ("growth", growth::run),
    ("cold-start", cold_start::run),
    ("warm", warm::run),
    ("memory", memory::run),
    ("cost", cost::run),
];

fn names() -> Vec<&'static str> {
    BENCHMARKS.iter().map(|(name, _)| *name).chain(["all"]).collect()
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let scale = if args.quick { Scale::Quick } else { Scale::Full };
    for (name, run) in BENCHMARKS.into_iter().filter(|(name, _)| args.name == "all" || args.name == *name) {
        let busy = harness::load_average()?;
        let report = run(scale).with_context(|| format!("the benchmark {name}"))?;
        let line = report.to_line(name, scale, busy)?;
        writeln!(io::stdout(), "\n## {name}\n\n{report}\n{line}")?;
        if let Some(file) = &args.json {
            writeln!(File::options().append(true).create(true).open(file)?, "{line}")?;
        }
        if let Some(directory) = &args.plots {
            fs::create_dir_all(directory)?;
            fs::write(directory.join(format!("{name}.svg")), plot::draw(&report.plot))?;
        }
    }
    Ok(())
}
