//! Prints the progress of a command as steps with their current action, duration and outcome. All of it goes
//! to standard error, so that standard output holds results only.

use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Width of a step's name, in columns.
const NAME_WIDTH: usize = 20;

/// Width of a step's outcome, in columns.
const OUTCOME_WIDTH: usize = 58;

/// Success.
pub const GREEN: Style = AnsiColor::Green.on_default();
/// Failure.
pub const RED: Style = AnsiColor::Red.on_default();
/// Warnings.
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
/// Names and addresses.
pub const BOLD: Style = Style::new().bold();
/// Secondary information.
pub const DIM: Style = Style::new().dimmed();

/// A step in progress.
#[derive(Debug)]
pub struct Step {
    bar: ProgressBar,
    outcome: RefCell<String>,
}

impl Step {
    /// Shows the current action beside the spinner; appears on terminals only.
    pub fn set_message(&self, message: impl Into<String>) {
        self.bar.set_message(message.into());
    }

    /// Prints a line of its own, for example before a long download.
    pub fn print_note(&self, note: &str) {
        self.bar.suspend(|| anstream::eprintln!("  {DIM}…{DIM:#} {note}"));
    }

    /// Sets the text for the step's last line.
    pub fn set_outcome(&self, outcome: impl Into<String>) {
        self.outcome.replace(outcome.into());
    }

    /// Hides the spinner while a child process shows its own progress.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }
}

/// Runs `work` as a step: shows a spinner while it runs, and prints its outcome and duration when it ends.
///
/// # Errors
/// The error of `work`.
pub fn run_step<T>(name: &str, work: impl FnOnce(&Step) -> Result<T>) -> Result<T> {
    let started = Instant::now();
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("  {spinner:.cyan} {prefix:20} {msg:.dim} {elapsed:.dim}")
    {
        bar.set_style(style.tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ "));
    }
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(80));
    let step = Step {
        bar,
        outcome: RefCell::default(),
    };
    let result = work(&step);
    step.bar.finish_and_clear();
    let (mark, style) = if result.is_ok() {
        ("✓", GREEN)
    } else {
        ("✗", RED)
    };
    let outcome = step.outcome.into_inner();
    let time = format_duration(started.elapsed());
    anstream::eprintln!(
        "  {style}{mark}{style:#} {name:NAME_WIDTH$} {outcome:OUTCOME_WIDTH$} {DIM}{time:>7}{DIM:#}"
    );
    result
}

/// Formats a duration with the units that fit its size: `0.4 s`, `12.0 s`, `3 min 20 s`, `2 h 5 min`.
pub fn format_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn format_duration_selects_units_by_size() {
        assert_eq!(format_duration(Duration::from_millis(440)), "0.4 s");
        assert_eq!(format_duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(format_duration(Duration::from_secs(7500)), "2 h 5 min");
    }
}
