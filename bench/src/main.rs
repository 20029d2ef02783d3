//! The benchmark runner. `cargo xtask bench` starts it beside a running system. It runs the selected
//! benchmarks and writes docs/benchmarks.md. Each benchmark compares our code with a baseline that is
//! measured in the same run, on the same machine, in alternating rounds: an absolute number would describe
//! the machine more than the code.

mod api_client;
mod aws_prices;
mod aws_stub;
mod baseline_push;
mod baseline_saga;
mod baseline_stack;
mod benchmarks;
mod cloudtrail;
mod context;
mod databases;
mod dynamodb_units;
mod express_state_machine;
mod function_usage;
mod host_info;
mod load_generator;
mod process;
mod report;
mod stats;
mod stock_service;
mod websocket_client;

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use anyhow::{Context as _, bail};
use clap::Parser;
use domain::Clock;
use tokio::signal::unix::{SignalKind, signal};

use benchmarks::Benchmark;
use context::{Context, SystemAddresses};
use report::{Measurement, Report};
use strum::VariantArray as _;

/// Runs benchmarks against the running system and writes docs/benchmarks.md.
#[derive(Debug, Parser)]
struct CommandLine {
    /// Benchmarks to run [default: all]
    #[arg(value_enum)]
    benchmarks: Vec<Benchmark>,
    /// Run fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    addresses: SystemAddresses,
}

// One thread generates all load, so that the measured processes get the other cores.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = run_benchmarks(CommandLine::parse()) => result,
        // Dropping the benchmark stops the processes that it has started.
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    }
}

async fn run_benchmarks(arguments: CommandLine) -> anyhow::Result<()> {
    let command = arguments.command_line();
    let selected: BTreeSet<Benchmark> = if arguments.benchmarks.is_empty() {
        Benchmark::VARIANTS.iter().copied().collect()
    } else {
        arguments.benchmarks.into_iter().collect()
    };
    let clock = Clock::system();
    let machine = host_info::describe_hardware()?;
    let context = Context::new(arguments.addresses, arguments.quick, clock.clone())?;
    let versions = host_info::software_versions(&context).await?;

    let mut report = Report::read()?;
    let mut measurements = Vec::new();
    for benchmark in selected {
        eprintln!("  {benchmark}");
        let section = benchmark
            .run(&context)
            .await
            .with_context(|| format!("benchmark {benchmark} failed"))?;
        for target in &section.targets {
            eprintln!("    {target}");
        }
        let measurement = Measurement {
            date: clock.now().format("%Y-%m-%d %H:%M UTC").to_string(),
            command: command.clone(),
            machine: machine.clone(),
            versions: versions.clone(),
            section,
        };
        report.insert(benchmark, measurement.clone());
        // Write after each benchmark, so that a later failure loses no results.
        report.write()?;
        measurements.push(measurement);
    }
    if arguments.json {
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&measurements)?)?;
    }
    Ok(())
}

impl CommandLine {
    /// Returns the command that repeats this run.
    fn command_line(&self) -> String {
        let mut words = vec!["cargo xtask bench".to_owned()];
        words.extend(self.benchmarks.iter().map(Benchmark::to_string));
        words.extend(self.quick.then(|| "--quick".to_owned()));
        words.join(" ")
    }
}
