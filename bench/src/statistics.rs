//! Medians and quartiles.

use std::time::Duration;

/// What is said about one series: times in milliseconds, numbers as they are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    /// Lower quartile.
    pub(crate) low: f64,
    /// Median.
    pub(crate) median: f64,
    /// Upper quartile.
    pub(crate) high: f64,
}

impl Summary {
    /// Of a series; zeros for an empty one.
    pub(crate) fn of(series: &[Duration]) -> Self {
        Self::of_numbers(series.iter().map(|time| time.as_secs_f64() * 1000.0))
    }

    /// Of a series of numbers; zeros for an empty one.
    pub(crate) fn of_numbers(series: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = series.collect();
        sorted.sort_by(f64::total_cmp);
        Self { low: quantile(&sorted, 1), median: quantile(&sorted, 2), high: quantile(&sorted, 3) }
    }
}

/// The smallest time that so many of a hundred do not exceed, milliseconds; zero for an empty series.
pub(crate) fn percentile(series: &[Duration], of_hundred: usize) -> f64 {
    let mut sorted = series.to_vec();
    sorted.sort();
    let rank = (sorted.len() * of_hundred).div_ceil(100).saturating_sub(1);
    sorted.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

/// A count as a number to reckon with.
pub(crate) fn f64_of(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

/// The `quarter`-th quarter of a sorted series, interpolated between neighbours.
fn quantile(sorted: &[f64], quarter: usize) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let (whole, part) = (last * quarter / 4, last * quarter % 4);
    let (here, next) = (sorted[whole], sorted[(whole + 1).min(last)]);
    match part {
        0 => here,
        1 => here + (next - here) * 0.25,
        2 => here + (next - here) * 0.5,
        _ => here + (next - here) * 0.75,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_of_an_odd_series_are_members_of_it() {
        let series: Vec<Duration> = [5, 1, 4, 2, 3].map(Duration::from_millis).to_vec();
        let summary = Summary::of(&series);
        assert!(
            (summary.low - 2.0).abs() < 1e-9
                && (summary.median - 3.0).abs() < 1e-9
                && (summary.high - 4.0).abs() < 1e-9
        );
    }

    #[test]
    fn an_even_series_is_interpolated() {
        let series: Vec<Duration> = [1, 2].map(Duration::from_millis).to_vec();
        assert!((Summary::of(&series).median - 1.5).abs() < 1e-9);
    }

    #[test]
    fn the_nineteenth_of_twenty_is_the_95th_percentile() {
        let series: Vec<Duration> = (1..=20).rev().map(Duration::from_millis).collect();
        assert!((percentile(&series, 95) - 19.0).abs() < 1e-9 && percentile(&[], 95).abs() < 1e-9);
    }

    #[test]
    fn an_empty_series_is_zero() {
        assert!(Summary::of(&[]).median.abs() < 1e-9);
    }
}
