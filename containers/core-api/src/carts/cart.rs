//! The content of a cart and its operations, without I/O.

use domain::{ProductId, Quantity, Timestamp};
use serde::{Deserialize, Serialize};

/// The maximum number of products in a cart.
pub const MAX_LINES: usize = 50;

/// A quantity of one product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartLine {
    /// The product. It is unique within a cart.
    pub product_id: ProductId,
    pub quantity: Quantity,
}

/// A checkout in progress. It is stored in the cart from before the order is placed until the ordered lines
/// have been removed from the cart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckoutClaim {
    /// The digest of the checkout's Idempotency-Key.
    pub key: String,
    pub payment_method: String,
    /// The ordered lines: a copy of the cart at the start of the checkout.
    pub lines: Vec<CartLine>,
    /// The time at which the checkout started or was last renewed.
    pub at: Timestamp,
}

/// A cart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cart {
    /// The lines, in the order in which they were added.
    pub lines: Vec<CartLine>,
    /// The checkout that is in progress.
    pub claim: Option<CheckoutClaim>,
    /// The version of the stored item; `None` when the cart is not stored yet.
    pub(super) version: Option<u64>,
}

/// The cart contains [`MAX_LINES`] products already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cart holds at most {MAX_LINES} products")]
pub struct CartFull;

impl Cart {
    /// Sets the quantity of a product, adding the product if necessary.
    pub fn set_quantity(&mut self, product_id: ProductId, quantity: Quantity) -> Result<(), CartFull> {
        let full = self.lines.len() >= MAX_LINES;
        match self.line_mut(product_id) {
            Some(line) => line.quantity = quantity,
            None if full => return Err(CartFull),
            None => self.lines.push(CartLine { product_id, quantity }),
        }
        Ok(())
    }

    pub fn remove(&mut self, product_id: ProductId) {
        self.lines.retain(|line| line.product_id != product_id);
    }

    /// Adds the lines of another cart. Quantities are capped at [`Quantity::MAX`], and products beyond
    /// [`MAX_LINES`] are dropped.
    pub fn merge_lines(&mut self, others: &[CartLine]) {
        for other in others {
            let full = self.lines.len() >= MAX_LINES;
            match self.line_mut(other.product_id) {
                Some(line) => {
                    let sum = line.quantity.get().saturating_add(other.quantity.get());
                    line.quantity =
                        Quantity::new(sum.min(Quantity::MAX)).expect("a sum of two quantities is at least 2");
                }
                None if full => {}
                None => self.lines.push(*other),
            }
        }
    }

    /// Removes ordered quantities. Units that were added after the checkout started stay in the cart.
    pub fn subtract(&mut self, ordered: &[CartLine]) {
        self.lines.retain_mut(|line| {
            let ordered_quantity = ordered
                .iter()
                .find(|ordered| ordered.product_id == line.product_id)
                .map_or(0, |ordered| ordered.quantity.get());
            match Quantity::new(line.quantity.get().saturating_sub(ordered_quantity)) {
                Ok(remaining) => {
                    line.quantity = remaining;
                    true
                }
                Err(_) => false,
            }
        });
    }

    fn line_mut(&mut self, product_id: ProductId) -> Option<&mut CartLine> {
        self.lines.iter_mut().find(|line| line.product_id == product_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(quantities: &[(u128, u32)]) -> Vec<CartLine> {
        quantities
            .iter()
            .map(|&(id, quantity)| CartLine {
                product_id: ProductId(uuid::Uuid::from_u128(id)),
                quantity: Quantity::new(quantity).unwrap(),
            })
            .collect()
    }

    fn cart(quantities: &[(u128, u32)]) -> Cart {
        Cart {
            lines: lines(quantities),
            ..Cart::default()
        }
    }

    #[test]
    fn merge_caps_quantities_and_drops_lines_beyond_the_limit() {
        let mut merged = cart(&[(1, 2), (2, 9_000)]);
        merged.merge_lines(&lines(&[(2, 1_000), (3, 4)]));
        assert_eq!(merged.lines, lines(&[(1, 2), (2, 9_999), (3, 4)]));

        let fifty: Vec<(u128, u32)> = (0..50).map(|id| (id, 1)).collect();
        let mut full = cart(&fifty);
        full.merge_lines(&lines(&[(99, 1), (7, 1)]));
        assert_eq!(full.lines.len(), MAX_LINES);
        assert_eq!(full.lines[7].quantity.get(), 2);
        assert_eq!(
            full.set_quantity(ProductId(uuid::Uuid::from_u128(99)), Quantity::new(1).unwrap()),
            Err(CartFull)
        );
    }

    #[test]
    fn subtract_removes_only_ordered_quantities() {
        let mut cart = cart(&[(1, 5), (2, 1), (3, 2)]);
        cart.subtract(&lines(&[(1, 2), (2, 1), (4, 9)]));
        assert_eq!(cart.lines, lines(&[(1, 3), (3, 2)]));
    }
}
