//! Statistics of measured samples.

use std::fmt;

/// Minimum, median and maximum of samples.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    min: f64,
    pub median: f64,
    max: f64,
}

impl Summary {
    /// # Panics
    /// Panics when `samples` is empty.
    pub fn from_samples(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let middle = samples.len() / 2;
        let median = if samples.len().is_multiple_of(2) {
            f64::midpoint(samples[middle - 1], samples[middle])
        } else {
            samples[middle]
        };
        Self {
            min: samples[0],
            median,
            max: samples[samples.len() - 1],
        }
    }
}

/// Formats as `median (min–max)`, with one decimal below a hundred and none above.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = usize::from(self.median < 100.0);
        let Self { min, median, max } = self;
        write!(f, "{median:.digits$} ({min:.digits$}–{max:.digits$})")
    }
}

/// Returns the nearest-rank percentile: the smallest sample that at least the fraction `share` of all samples
/// does not exceed. Returns NaN when there are no samples.
pub fn percentile(samples: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut samples: Vec<f64> = samples.into_iter().collect();
    samples.sort_by(f64::total_cmp);
    let rank = (samples.len() as f64 * share).ceil() as usize;
    samples.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// Returns the 50th and the 99th percentile.
pub fn p50_and_p99(samples: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    (percentile(samples.clone(), 0.5), percentile(samples, 0.99))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_measured_sample() {
        let samples = || (1..=200).rev().map(f64::from);
        assert_eq!(
            [0.5, 0.99, 1.0].map(|share| percentile(samples(), share)),
            [100.0, 198.0, 200.0]
        );
        assert_eq!(percentile([7.0], 0.5), 7.0);
        assert!(percentile([], 0.5).is_nan());
    }

    #[test]
    fn the_median_of_an_even_count_is_the_mean_of_the_middle_two() {
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
