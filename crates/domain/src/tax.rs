//! Japanese consumption tax (消費税). Prices include it (内税).

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use crate::{Money, money::MoneyError};

/// The rate of consumption tax of a product.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
    VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case", parse_err_ty = InvalidTaxRate, parse_err_fn = invalid_tax_rate)]
pub enum TaxRate {
    /// 10 percent.
    #[default]
    Standard,
    /// 8 percent: food and drink except alcohol (軽減税率).
    Reduced,
}

/// The text names no tax rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected standard or reduced")]
pub struct InvalidTaxRate;

impl TaxRate {
    /// The rate in percent of the price without tax.
    #[must_use]
    pub fn percent(self) -> u8 {
        match self {
            Self::Standard => 10,
            Self::Reduced => 8,
        }
    }

    /// The name in API requests and responses, the catalog and the order store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The tax that `total` includes, rounded down to the minor unit.
    #[must_use]
    pub fn tax_included_in(self, total: Money) -> Money {
        let percent = i64::from(self.percent());
        Money::new(total.amount() * percent / (100 + percent), total.currency())
            .expect("a part of a valid amount is a valid amount")
    }
}

fn invalid_tax_rate(_: &str) -> InvalidTaxRate {
    InvalidTaxRate
}

/// The lines of an order that have the same tax rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaxTotal {
    pub rate: TaxRate,
    /// The sum of the lines, tax included.
    pub total: Money,
    /// The tax that `total` includes.
    pub tax: Money,
}

/// The total and the tax of each rate that occurs in `lines`, the standard rate first. A line is its rate and
/// its price with tax.
///
/// The tax is rounded once per invoice and rate, as the law requires of a qualified invoice (Order for
/// Enforcement of the Consumption Tax Act, article 70-10). It leaves the direction to the issuer: down, the
/// usual choice of retailers.
pub fn tax_totals(lines: impl IntoIterator<Item = (TaxRate, Money)>) -> Result<Vec<TaxTotal>, MoneyError> {
    let mut sums: Vec<(TaxRate, Money)> = Vec::with_capacity(TaxRate::VARIANTS.len());
    for (rate, price) in lines {
        match sums.iter_mut().find(|(summed, _)| *summed == rate) {
            Some((_, sum)) => *sum = sum.checked_add(price)?,
            None => sums.push((rate, price)),
        }
    }
    sums.sort_by_key(|(rate, _)| *rate);
    let total = |(rate, total): (TaxRate, Money)| TaxTotal {
        rate,
        total,
        tax: rate.tax_included_in(total),
    };
    Ok(sums.into_iter().map(total).collect())
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::Currency;

    fn yen(amount: i64) -> Money {
        Money::new(amount, Currency::JPY).unwrap()
    }

    fn amounts(lines: &[(TaxRate, i64)]) -> Vec<(TaxRate, i64, i64)> {
        let lines = lines.iter().map(|(rate, amount)| (*rate, yen(*amount)));
        let amounts = |TaxTotal { rate, total, tax }| (rate, total.amount(), tax.amount());
        tax_totals(lines).unwrap().into_iter().map(amounts).collect()
    }

    #[test]
    fn tax_of_mixed_rates_is_exact_to_the_yen() {
        use TaxRate::{Reduced, Standard};
        assert_eq!(amounts(&[]), []);
        assert_eq!(amounts(&[(Standard, 1_100)]), [(Standard, 1_100, 100)]);
        // 1,620 × 8/108 = 120 and 6,480 × 10/110 = 589.09.
        assert_eq!(
            amounts(&[(Reduced, 1_620), (Standard, 6_480)]),
            [(Standard, 6_480, 589), (Reduced, 1_620, 120)]
        );
        // Rounding each of the three lines would give 3 × 24 = 72 instead of 3 × 24.96 = 74.88.
        assert_eq!(amounts(&[(Reduced, 337); 3]), [(Reduced, 1_011, 74)]);
    }

    #[test]
    fn names_are_parsed() {
        for rate in TaxRate::VARIANTS.iter().copied() {
            assert_eq!(rate.as_str().parse(), Ok(rate));
            assert_eq!(serde_json::to_value(rate).unwrap(), rate.as_str());
        }
        assert_eq!("zero".parse::<TaxRate>(), Err(InvalidTaxRate));
    }

    proptest! {
        #[test]
        fn totals_add_up_and_the_tax_is_rounded_once_per_rate(
            lines in prop::collection::vec((select(TaxRate::VARIANTS), 0..=Money::MAX_CHARGE), 0..100),
        ) {
            let totals = tax_totals(lines.iter().map(|(rate, amount)| (*rate, yen(*amount)))).unwrap();
            let sum: i64 = totals.iter().map(|total| total.total.amount()).sum();
            prop_assert_eq!(sum, lines.iter().map(|(_, amount)| amount).sum::<i64>());
            for TaxTotal { rate, total, tax } in totals {
                // tax ≤ total × p / (100 + p) < tax + 1, in integers.
                let (percent, tax) = (i64::from(rate.percent()), tax.amount());
                prop_assert!(tax * (100 + percent) <= total.amount() * percent);
                prop_assert!(total.amount() * percent < (tax + 1) * (100 + percent));
            }
        }

        #[test]
        fn order_of_lines_changes_nothing(
            lines in prop::collection::vec((select(TaxRate::VARIANTS), 0..=Money::MAX_CHARGE), 0..20),
        ) {
            let reversed: Vec<_> = lines.iter().rev().copied().collect();
            prop_assert_eq!(amounts(&lines), amounts(&reversed));
        }
    }
}
