//! How many pieces of one product an order's line names.

use serde::{Deserialize, Serialize};

/// A count of pieces, from 1 to [`Quantity::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Quantity(u32);

/// A count that no line may have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a quantity is a whole number from 1 to {}", Quantity::MAX)]
pub struct InvalidQuantity;

impl Quantity {
    /// More than any one line of a shop's order needs; wholesale goes another way.
    pub const MAX: u32 = 9_999;

    /// A count of `pieces`.
    pub fn new(pieces: u32) -> Result<Self, InvalidQuantity> {
        if (1..=Self::MAX).contains(&pieces) {
            Ok(Self(pieces))
        } else {
            Err(InvalidQuantity)
        }
    }

    /// The count.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Quantity {
    type Error = InvalidQuantity;

    fn try_from(pieces: u32) -> Result<Self, Self::Error> {
        Self::new(pieces)
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
    fn holds_only_sensible_counts() {
        assert_eq!(Quantity::new(0), Err(InvalidQuantity));
        assert_eq!(Quantity::new(Quantity::MAX + 1), Err(InvalidQuantity));
        assert_eq!(Quantity::new(Quantity::MAX).unwrap().get(), Quantity::MAX);
    }
}
