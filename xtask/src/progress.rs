//! Steps as a person watches them: what is being done, for how long, and what came of it. On standard error, so
//! that standard output holds results only.

use std::cell::RefCell;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// Columns of a step's name.
const NAME_WIDTH: usize = 20;

/// Columns of what came of a step.
const OUTCOME_WIDTH: usize = 58;

/// Good news.
pub const GREEN: Style = AnsiColor::Green.on_default();
/// Bad news.
pub const RED: Style = AnsiColor::Red.on_default();
/// What deserves a look.
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
/// Names and addresses.
pub const BOLD: Style = Style::new().bold();
/// What may be skipped.
pub const DIM: Style = Style::new().dimmed();

/// One step under way.
#[derive(Debug)]
pub struct Step {
    bar: ProgressBar,
    outcome: RefCell<String>,
}

impl Step {
    /// Says what is being done at this moment; seen only where a person watches.
    pub fn set_message(&self, what: impl Into<String>) {
        self.bar.set_message(what.into());
    }

    /// Says something that everybody should know, such as a long download.
    pub fn print_note(&self, what: &str) {
        self.bar.suspend(|| anstream::eprintln!("  {DIM}…{DIM:#} {what}"));
    }

    /// Says what came of the step, for its last line.
    pub fn set_outcome(&self, what: impl Into<String>) {
        self.outcome.replace(what.into());
    }

    /// Leaves the terminal to a program that shows its own progress.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }
}

/// Does one step and shows it.
///
/// # Errors
/// That of the work.
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

/// A span of time in a few characters: `0.4 s`, `12.0 s`, `3 min 20 s`, `2 h 5 min`.
pub fn format_duration(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", span.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short_at_every_size() {
        assert_eq!(format_duration(Duration::from_millis(440)), "0.4 s");
        assert_eq!(format_duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(format_duration(Duration::from_secs(7500)), "2 h 5 min");
    }
}
