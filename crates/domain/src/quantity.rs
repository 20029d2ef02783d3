//! The quantity of one product in an order line.

use serde::{Deserialize, Serialize};

/// A number of units, from 1 to [`Quantity::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Quantity(u32);

/// The number is 0 or exceeds [`Quantity::MAX`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quantity is a whole number from 1 to {}", Quantity::MAX)]
pub struct InvalidQuantity;

impl Quantity {
    /// The largest quantity of one line. It is far above what a retail order needs; wholesale is out of
    /// scope.
    pub const MAX: u32 = 9_999;

    /// A quantity of `units`.
    pub fn new(units: u32) -> Result<Self, InvalidQuantity> {
        if (1..=Self::MAX).contains(&units) {
            Ok(Self(units))
        } else {
            Err(InvalidQuantity)
        }
    }

    /// The number of units.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Quantity {
    type Error = InvalidQuantity;

    fn try_from(units: u32) -> Result<Self, Self::Error> {
        Self::new(units)
    }
}

impl From<Quantity> for u32 {
    fn from(quantity: Quantity) -> Self {
        quantity.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_1_to_max() {
        assert_eq!(Quantity::new(0), Err(InvalidQuantity));
        assert_eq!(Quantity::new(Quantity::MAX + 1), Err(InvalidQuantity));
        assert_eq!(Quantity::new(Quantity::MAX).unwrap().get(), Quantity::MAX);
    }
}
