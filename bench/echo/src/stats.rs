//! Medians, their spread, and ratios.

use serde::Serialize;

/// The middle of some values and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Median {
    pub(crate) value: f64,
    /// Distance from the least to the greatest, as a part of the median.
    pub(crate) spread: f64,
}

/// The median of `values`; of an even number, the middle between the two in the middle. `None` of
/// none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<Median> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let (least, greatest) = (*values.first()?, *values.last()?);
    let half = values.len() / 2;
    let value = if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
    Some(Median { value, spread: if value == 0.0 { 0.0 } else { (greatest - least) / value } })
}

/// `a` over `b`, if both are there and there is something to divide by.
pub(crate) fn ratio(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    a.zip(b).filter(|(_, b)| *b != 0.0).map(|(a, b)| a / b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_in_any_order() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(Median { value: 2.0, spread: 1.0 }));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(Median { value: 2.5, spread: 1.2 }));
        assert_eq!(median([5.0]), Some(Median { value: 5.0, spread: 0.0 }));
        assert_eq!(median([]), None);
    }

    #[test]
    fn one_wild_value_does_not_move_the_median() {
        assert_eq!(median([10.0, 11.0, 9.0, 1e9, 10.0]).map(|m| m.value), Some(10.0));
    }

    #[test]
    fn a_ratio_needs_both_values_and_no_zero_below() {
        assert_eq!(ratio(Some(3.0), Some(2.0)), Some(1.5));
        assert_eq!(ratio(Some(3.0), Some(0.0)), None);
        assert_eq!(ratio(None, Some(1.0)), None);
        assert_eq!(ratio(Some(1.0), None), None);
    }
}
