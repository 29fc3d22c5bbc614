//! Numbers out of samples. Pure.
//!
//! Invariant: what is compared is compared pair by pair: A and B of one pair ran one after the other
//! on the same machine, so that what slows both falls out of their ratio. What it is not: it knows
//! nothing of what was measured.

use serde::Serialize;

/// The middle of the samples; of an even number of them the mean of the two in the middle. None of
/// none.
pub fn median(samples: &[f64]) -> Option<f64> {
    let sorted = sorted(samples);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}

/// The smallest sample that is not exceeded by this share of them (nearest rank). None of none.
pub fn percentile(samples: &[f64], share: f64) -> Option<f64> {
    let sorted = sorted(samples);
    let rank = (share * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted.get(rank.min(sorted.len()).checked_sub(1)?).copied()
}

/// From the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub min: f64,
    pub max: f64,
}

/// None of none.
pub fn spread(samples: &[f64]) -> Option<Spread> {
    let sorted = sorted(samples);
    Some(Spread { min: *sorted.first()?, max: *sorted.last()? })
}

/// The value below which `rank` observations of a histogram lie, from its cumulative buckets (upper
/// bound, count), in a straight line within the bucket. None when there are not so many.
pub fn of_rank(buckets: &[(f64, f64)], rank: f64) -> Option<f64> {
    let (mut low, mut below) = (0.0, 0.0);
    for (high, count) in buckets {
        if *count >= rank && *count > below {
            return Some(low + (high - low) * (rank - below) / (count - below));
        }
        (low, below) = (*high, *count);
    }
    None
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_and_no_outlier_moves_it() {
        let rows: &[(&str, &[f64], Option<f64>)] = &[
            ("none", &[], None),
            ("one", &[3.0], Some(3.0)),
            ("odd", &[9.0, 1.0, 5.0], Some(5.0)),
            ("even", &[4.0, 1.0, 3.0, 2.0], Some(2.5)),
            ("an outlier", &[1.0, 1.1, 1.2, 1.3, 900.0], Some(1.2)),
        ];
        for (name, samples, want) in rows {
            assert_eq!(median(samples), *want, "{name}");
        }
    }

    #[test]
    fn a_percentile_is_a_sample_and_the_last_one_is_the_largest() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        for (share, want) in [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.995, 100.0), (1.0, 100.0)] {
            assert_eq!(percentile(&hundred, share), Some(want), "{share}");
        }
        assert_eq!(percentile(&[7.0], 0.99), Some(7.0));
        assert_eq!(percentile(&[], 0.99), None);
    }

    #[test]
    fn a_rank_is_found_within_its_bucket() {
        let buckets = [(1.0, 50.0), (2.0, 50.0), (4.0, 100.0)];
        for (rank, want) in [(25.0, Some(0.5)), (50.0, Some(1.0)), (75.0, Some(3.0)), (101.0, None)]
        {
            assert_eq!(of_rank(&buckets, rank), want, "{rank}");
        }
    }

    #[test]
    fn the_spread_goes_from_the_least_to_the_most() {
        assert_eq!(spread(&[2.0, 0.5, 1.0]), Some(Spread { min: 0.5, max: 2.0 }));
        assert_eq!(spread(&[]), None);
    }
}
