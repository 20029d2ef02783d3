//! Money: an integer number of minor units with its currency. Never a float.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Quantity;

/// The supported currencies, named by their ISO 4217 codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Currency {
    /// Japanese yen, which has no minor unit: one unit is one yen.
    #[default]
    JPY,
}

impl Currency {
    /// The ISO 4217 code in upper case.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::JPY => "JPY",
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount, zero or more, in the minor units of its currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    amount: i64,
    currency: Currency,
}

/// Why an amount is invalid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The amount is below zero.
    #[error("an amount cannot be negative")]
    Negative,
    /// The amount exceeds [`Money::MAX`], or the calculation overflowed.
    #[error("an amount cannot exceed {} minor units", Money::MAX)]
    TooLarge,
    /// The two amounts have different currencies.
    #[error("amounts of different currencies cannot be added")]
    CurrencyMismatch,
}

impl Money {
    /// The largest amount in minor units, 2⁵³ − 1: every integer up to it is exact as a JSON number, also
    /// where a parser reads numbers as doubles, as JavaScript does.
    pub const MAX: i64 = (1 << 53) - 1;

    /// The largest amount of one charge in minor units: Stripe's limit of eight digits. No unit price and no
    /// order total exceeds it, so the total of a hundred lines of any quantity is at most [`Money::MAX`].
    pub const MAX_CHARGE: i64 = 99_999_999;

    /// An amount of `amount` minor units, from 0 to [`Money::MAX`].
    pub fn new(amount: i64, currency: Currency) -> Result<Self, MoneyError> {
        match amount {
            ..0 => Err(MoneyError::Negative),
            0..=Self::MAX => Ok(Self { amount, currency }),
            _ => Err(MoneyError::TooLarge),
        }
    }

    #[must_use]
    pub fn zero(currency: Currency) -> Self {
        Self { amount: 0, currency }
    }

    /// The number of minor units.
    #[must_use]
    pub fn amount(self) -> i64 {
        self.amount
    }

    #[must_use]
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// The amount for people, such as `¥15,000`.
    #[must_use]
    pub fn to_display(self) -> String {
        let digits = self.amount.to_string();
        let mut grouped = String::new();
        for (position, digit) in digits.chars().enumerate() {
            if position > 0 && (digits.len() - position).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        match self.currency {
            Currency::JPY => format!("¥{grouped}"),
        }
    }

    /// The sum of two amounts of the same currency.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch);
        }
        let sum = self
            .amount
            .checked_add(other.amount)
            .ok_or(MoneyError::TooLarge)?;
        Self::new(sum, self.currency)
    }

    /// The price of `quantity` units at this unit price.
    pub fn checked_mul(self, quantity: Quantity) -> Result<Self, MoneyError> {
        let product = self
            .amount
            .checked_mul(i64::from(quantity.get()))
            .ok_or(MoneyError::TooLarge)?;
        Self::new(product, self.currency)
    }
}

const _: () = assert!(100 * Quantity::MAX as i64 * Money::MAX_CHARGE <= Money::MAX);

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.amount, self.currency)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rejects_amounts_out_of_range() {
        assert_eq!(Money::new(-1, Currency::JPY), Err(MoneyError::Negative));
        assert_eq!(
            Money::new(Money::MAX + 1, Currency::JPY),
            Err(MoneyError::TooLarge)
        );
        let max = Money::new(Money::MAX, Currency::JPY).unwrap();
        assert_eq!(
            max.checked_add(Money::new(1, Currency::JPY).unwrap()),
            Err(MoneyError::TooLarge)
        );
        assert_eq!(
            max.checked_mul(Quantity::new(2).unwrap()),
            Err(MoneyError::TooLarge)
        );
    }

    #[test]
    fn displayed_amounts_are_grouped_by_thousands() {
        let yen = |yen| Money::new(yen, Currency::JPY).unwrap().to_display();
        assert_eq!(
            [0, 999, 1_000, 15_000, 1_234_567].map(yen),
            ["¥0", "¥999", "¥1,000", "¥15,000", "¥1,234,567"]
        );
    }

    #[test]
    fn amounts_are_exact_as_json_numbers_in_javascript() {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "the subject of the test"
        )]
        let as_double = |amount: i64| amount as f64 as i64;
        assert_eq!(as_double(Money::MAX), Money::MAX);
        assert_eq!(as_double(Money::MAX + 1), as_double(Money::MAX + 2));
    }

    proptest! {
        #[test]
        fn checked_mul_equals_repeated_addition(price in 0..=10_000_000_i64, units in 1..=50_u32) {
            let price = Money::new(price, Currency::JPY).unwrap();
            let zero = Money::zero(Currency::JPY);
            let sum = (0..units).try_fold(zero, |sum, _| sum.checked_add(price)).unwrap();
            prop_assert_eq!(price.checked_mul(Quantity::new(units).unwrap()).unwrap(), sum);
        }
    }
}
