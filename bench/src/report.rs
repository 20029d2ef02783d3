//! docs/benchmarks.md. What it is rendered from lies beside it, so that a run of some figures leaves the others alone.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    fs,
    path::PathBuf,
};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::benchmarks::Benchmark;

/// What was found about one figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Section {
    /// Its heading.
    pub title: String,
    /// What was compared with what, and how; Markdown.
    pub text: String,
    /// The table's head.
    pub columns: Vec<String>,
    /// The table; each row has as many cells as there are columns.
    pub rows: Vec<Vec<String>>,
    /// What should have been reached, and what was.
    pub targets: Vec<Target>,
}

/// Something to be reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    /// What is compared.
    pub what: String,
    /// What would do, with its unit.
    pub goal: String,
    /// What was measured, with its unit.
    pub reached: String,
    /// Whether it does.
    pub met: bool,
}

/// A section, and under which circumstances it came about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measurement {
    /// When it was finished.
    pub date: String,
    /// What was typed.
    pub command: String,
    /// On what.
    pub machine: String,
    /// Of which programs.
    pub versions: String,
    /// What was found.
    #[serde(flatten)]
    pub section: Section,
}

/// Everything that was measured and not measured again since.
#[derive(Debug, Default)]
pub struct Report(BTreeMap<Benchmark, Measurement>);

impl Target {
    /// A ratio that should be no smaller than `goal`.
    pub fn at_least(what: impl Into<String>, goal: f64, reached: f64) -> Self {
        Self {
            what: what.into(),
            goal: format!("≥ {}", format_ratio(goal)),
            reached: format_ratio(reached),
            met: reached >= goal,
        }
    }

    /// A ratio that should be no larger than `goal`.
    pub fn at_most(what: impl Into<String>, goal: f64, reached: f64) -> Self {
        Self {
            what: what.into(),
            goal: format!("≤ {}", format_ratio(goal)),
            reached: format_ratio(reached),
            met: reached <= goal,
        }
    }
}

/// A ratio as the page shows it.
pub fn format_ratio(ratio: f64) -> String {
    format!("{ratio:.2} ×")
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            goal,
            reached,
            met,
        } = self;
        let mark = if *met { "met" } else { "MISSED" };
        write!(f, "{mark}: {what}: {reached} ({goal})")
    }
}

impl Report {
    /// What is known from earlier runs; nothing where there was none.
    ///
    /// # Errors
    /// When the file is there and is not ours.
    pub fn read() -> anyhow::Result<Self> {
        let path = docs_dir().join("benchmarks.json");
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text)
            .map(Self)
            .with_context(|| format!("{} was not written by this program", path.display()))
    }

    /// Replaces what is known of a figure.
    pub fn insert(&mut self, figure: Benchmark, measurement: Measurement) {
        self.0.insert(figure, measurement);
    }

    /// Writes the page, and what it is rendered from.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(&self.0)? + "\n";
        for (name, text) in [("benchmarks.json", json), ("benchmarks.md", self.render())] {
            let path = docs_dir().join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn render(&self) -> String {
        let mut page = String::from(
            "# Benchmarks\n\nWritten by `cargo xtask bench`; do not edit. Every figure compares something of ours with a \
             reference that was\nmeasured in the same run on the same machine, in turns with it. The ratios carry over \
             to other machines, the\nabsolute numbers do not.\n",
        );
        page.push_str("\n| Figure | Compared | Goal | Reached | |\n| --- | --- | ---: | ---: | --- |\n");
        for Measurement { section, .. } in self.0.values() {
            for target in &section.targets {
                let mark = if target.met { "met" } else { "**missed**" };
                push_table_row(
                    &mut page,
                    [&section.title, &target.what, &target.goal, &target.reached, mark],
                );
            }
        }
        for measurement in self.0.values() {
            measurement.render_section(&mut page);
        }
        page
    }
}

impl Measurement {
    fn render_section(&self, page: &mut String) {
        let Self {
            date,
            command,
            machine,
            versions,
            section,
        } = self;
        let _ = write!(page, "\n## {}\n\n{}\n\n", section.title, section.text.trim());
        push_table_row(page, section.columns.iter().map(String::as_str));
        // What a row is about stands left, numbers stand right.
        let rules = (0..section.columns.len()).map(|column| if column == 0 { "---" } else { "---:" });
        push_table_row(page, rules);
        for cells in &section.rows {
            push_table_row(page, cells.iter().map(String::as_str));
        }
        let _ = write!(page, "\n{date}, `{command}`, on {machine}, with {versions}.\n");
    }
}

fn push_table_row<'a>(page: &mut String, cells: impl IntoIterator<Item = &'a str>) {
    page.push('|');
    for cell in cells {
        let _ = write!(page, " {cell} |");
    }
    page.push('\n');
}

fn docs_dir() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measurement(title: &str, date: &str) -> Measurement {
        Measurement {
            date: date.to_owned(),
            command: "cargo xtask bench".to_owned(),
            machine: "2 cores".to_owned(),
            versions: "rustc 1".to_owned(),
            section: Section {
                title: title.to_owned(),
                text: "A against B.".to_owned(),
                columns: vec!["Case".to_owned(), "Ours".to_owned()],
                rows: vec![vec!["hot".to_owned(), "12".to_owned()]],
                targets: vec![Target::at_least("hot", 10.0, 9.0)],
            },
        }
    }

    #[test]
    fn a_later_run_replaces_its_own_section_only() {
        let mut report = Report::default();
        report.insert(Benchmark::Reservations, measurement("Reservations", "yesterday"));
        report.insert(Benchmark::Catalog, measurement("Catalogue", "yesterday"));
        report.insert(Benchmark::Catalog, measurement("Catalogue", "today"));
        let page = report.render();
        assert_eq!(
            (page.matches("yesterday").count(), page.matches("today").count()),
            (1, 1),
            "{page}"
        );
        assert!(
            page.contains("| Catalogue | hot | ≥ 10.00 × | 9.00 × | **missed** |"),
            "{page}"
        );
        assert!(
            page.contains("| Case | Ours |\n| --- | ---: |\n| hot | 12 |\n"),
            "{page}"
        );
    }

    #[test]
    fn a_goal_counts_as_met_from_the_goal_on() {
        assert!(Target::at_least("", 10.0, 10.0).met && !Target::at_least("", 10.0, 9.99).met);
        assert!(Target::at_most("", 1.5, 1.5).met && !Target::at_most("", 1.5, 1.51).met);
    }
}
