//! `cargo xtask bench` runs this program beside a system that is up: it measures the figures that are asked for and
//! writes them to docs/benchmarks.md. A figure says how something of ours compares with a reference that is measured in
//! the same run, on the same machine, in turns with it; a number on its own would say more about the machine.

mod api_client;
mod aws_stub;
mod baseline_saga;
mod benchmarks;
mod cloudtrail;
mod context;
mod databases;
mod dynamodb_units;
mod express_state_machine;
mod host_info;
mod load_generator;
mod process;
mod report;
mod spread;
mod stats;
mod stock_service;

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use anyhow::{Context as _, bail};
use clap::Parser;
use domain::Clock;
use tokio::signal::unix::{SignalKind, signal};

use benchmarks::Benchmark;
use context::{Context, SystemAddresses};
use report::{Measurement, Report};

/// Measures figures of the running system.
#[derive(Debug, Parser)]
struct CommandLine {
    /// Which [default: all]
    #[arg(value_enum)]
    figures: Vec<Benchmark>,
    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Print what was measured, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    addresses: SystemAddresses,
}

/// One thread drives all load: what it measures needs the other cores.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        measured = run_benchmarks(CommandLine::parse()) => measured,
        // What the figure has started stops with it.
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    }
}

async fn run_benchmarks(arguments: CommandLine) -> anyhow::Result<()> {
    let command = arguments.command_line();
    let chosen: BTreeSet<Benchmark> = if arguments.figures.is_empty() {
        Benchmark::ALL.into()
    } else {
        arguments.figures.into_iter().collect()
    };
    let clock = Clock::system();
    let machine = host_info::describe_hardware()?;
    let context = Context::new(arguments.addresses, arguments.quick, clock.clone())?;
    let versions = host_info::software_versions(&context).await?;

    let mut report = Report::read()?;
    let mut measured = Vec::new();
    for figure in chosen {
        eprintln!("  {figure}");
        let section = figure
            .run(&context)
            .await
            .with_context(|| format!("the figure {figure} was not measured"))?;
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
        report.insert(figure, measurement.clone());
        // Each at once: a later figure that fails does not take this one along.
        report.write()?;
        measured.push(measurement);
    }
    if arguments.json {
        writeln!(io::stdout(), "{}", serde_json::to_string_pretty(&measured)?)?;
    }
    Ok(())
}

impl CommandLine {
    /// What a person types to measure this again.
    fn command_line(&self) -> String {
        let mut words = vec!["cargo xtask bench".to_owned()];
        words.extend(self.figures.iter().map(Benchmark::to_string));
        words.extend(self.quick.then(|| "--quick".to_owned()));
        words.join(" ")
    }
}
