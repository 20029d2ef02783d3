//! Several measurements of one thing.

use std::fmt;

/// The least, the middle and the greatest of what was measured.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    min: f64,
    /// Half of the measurements are no greater.
    pub median: f64,
    max: f64,
}

impl Summary {
    /// # Panics
    /// When nothing was measured.
    pub fn from_samples(mut measured: Vec<f64>) -> Self {
        measured.sort_by(f64::total_cmp);
        let middle = measured.len() / 2;
        let median = if measured.len().is_multiple_of(2) {
            f64::midpoint(measured[middle - 1], measured[middle])
        } else {
            measured[middle]
        };
        Self {
            min: measured[0],
            median,
            max: measured[measured.len() - 1],
        }
    }
}

/// `median (min–max)`, whole from a hundred on, else with a digit.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = usize::from(self.median < 100.0);
        let Self { min, median, max } = self;
        write!(f, "{median:.digits$} ({min:.digits$}–{max:.digits$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_in_the_middle() {
        assert_eq!(
            Summary::from_samples(vec![3.0, 1.0, 2.0]).to_string(),
            "2.0 (1.0–3.0)"
        );
        assert_eq!(
            Summary::from_samples(vec![400.0, 100.0, 200.0, 300.0]).to_string(),
            "250 (100–400)"
        );
    }
}
