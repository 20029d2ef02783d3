//! `cargo xtask bench` runs this program beside a system that is up: it measures the figures that are asked for and
//! writes them to docs/benchmarks.md. A figure says how something of ours compares with a reference that is measured in
//! the same run, on the same machine, in turns with it; a number on its own would say more about the machine.

mod aws;
mod context;
mod databases;
mod empty_saga;
mod express;
mod figures;
mod load;
mod machine;
mod percentile;
mod process;
mod report;
mod shop;
mod spread;
mod stock;
mod trail;
mod units;

use std::collections::BTreeSet;
use std::io::{self, Write as _};

use anyhow::{Context as _, bail};
use clap::Parser;
use domain::Clock;
use tokio::signal::unix::{SignalKind, signal};

use context::{Addresses, Context};
use figures::Figure;
use report::{Measurement, Report};

/// Measures figures of the running system.
#[derive(Debug, Parser)]
struct CommandLine {
    /// Which [default: all]
    #[arg(value_enum)]
    figures: Vec<Figure>,
    /// Fewer and shorter rounds
    #[arg(long)]
    quick: bool,
    /// Print what was measured, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    addresses: Addresses,
}

/// One thread drives all load: what it measures needs the other cores.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        measured = measure(CommandLine::parse()) => measured,
        // What the figure has started stops with it.
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    }
}

async fn measure(arguments: CommandLine) -> anyhow::Result<()> {
    let command = arguments.command();
    let chosen: BTreeSet<Figure> = if arguments.figures.is_empty() {
        Figure::ALL.into()
    } else {
        arguments.figures.into_iter().collect()
    };
    let clock = Clock::system();
    let machine = machine::describe()?;
    let context = Context::new(arguments.addresses, arguments.quick, clock.clone())?;
    let versions = machine::versions(&context).await?;

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
        report.put(figure, measurement.clone());
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
    fn command(&self) -> String {
        let mut words = vec!["cargo xtask bench".to_owned()];
        words.extend(self.figures.iter().map(Figure::to_string));
        words.extend(self.quick.then(|| "--quick".to_owned()));
        words.join(" ")
    }
}
