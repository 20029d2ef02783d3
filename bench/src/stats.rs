//! What most of many measurements do not exceed.

/// The smallest of the values that the given share of them does not exceed; not a number where there are none.
pub fn percentile(values: impl IntoIterator<Item = f64>, share: f64) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values = || (1..=200).rev().map(f64::from);
        assert_eq!(
            [0.5, 0.99, 1.0].map(|share| percentile(values(), share)),
            [100.0, 198.0, 200.0]
        );
        assert_eq!(percentile([7.0], 0.5), 7.0);
        assert!(percentile([], 0.5).is_nan());
    }
}
