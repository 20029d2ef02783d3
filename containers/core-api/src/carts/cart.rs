//! What a cart holds, and the arithmetic of it. No I/O.

use domain::{ProductId, Quantity, Timestamp};
use serde::{Deserialize, Serialize};

/// How many products a cart holds at most.
pub const MAX_LINES: usize = 50;

/// So many pieces of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CartLine {
    /// Which product. No two lines name the same.
    pub product_id: ProductId,
    /// How many pieces of it.
    pub quantity: Quantity,
}

/// An attempt to order what a cart holds, from when it is decided until the order stands and the cart is emptied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckoutClaim {
    /// The digest of the attempt's Idempotency-Key.
    pub key: String,
    /// What pays.
    pub payment_method: String,
    /// What is ordered: the lines as they were then.
    pub lines: Vec<CartLine>,
    /// When that was.
    pub at: Timestamp,
}

/// What somebody means to buy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cart {
    /// The lines, in the order in which they came.
    pub lines: Vec<CartLine>,
    /// The attempt to order it that is under way.
    pub claim: Option<CheckoutClaim>,
    /// Which write left it so; none when it is not stored.
    pub(super) version: Option<u64>,
}

/// A cart that has no room for another product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cart holds at most {MAX_LINES} products")]
pub struct CartFull;

impl Cart {
    /// Puts so many pieces of a product into it, however many there were.
    pub fn set_quantity(&mut self, product_id: ProductId, quantity: Quantity) -> Result<(), CartFull> {
        let full = self.lines.len() >= MAX_LINES;
        match self.line_mut(product_id) {
            Some(line) => line.quantity = quantity,
            None if full => return Err(CartFull),
            None => self.lines.push(CartLine { product_id, quantity }),
        }
        Ok(())
    }

    /// Takes a product out of it.
    pub fn remove(&mut self, product_id: ProductId) {
        self.lines.retain(|line| line.product_id != product_id);
    }

    /// Adds what another cart holds, as far as there is room for it.
    pub fn merge_lines(&mut self, others: &[CartLine]) {
        for other in others {
            let full = self.lines.len() >= MAX_LINES;
            match self.line_mut(other.product_id) {
                Some(line) => {
                    let sum = line.quantity.get().saturating_add(other.quantity.get());
                    line.quantity = Quantity::new(sum.min(Quantity::MAX)).unwrap_or(line.quantity);
                }
                None if full => {}
                None => self.lines.push(*other),
            }
        }
    }

    /// Takes out what was ordered. What was put in since stays.
    pub fn subtract(&mut self, ordered: &[CartLine]) {
        self.lines.retain_mut(|line| {
            let taken = ordered
                .iter()
                .find(|ordered| ordered.product_id == line.product_id)
                .map_or(0, |ordered| ordered.quantity.get());
            match Quantity::new(line.quantity.get().saturating_sub(taken)) {
                Ok(left) => {
                    line.quantity = left;
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

    fn lines(wanted: &[(u128, u32)]) -> Vec<CartLine> {
        wanted
            .iter()
            .map(|&(id, quantity)| CartLine {
                product_id: ProductId(uuid::Uuid::from_u128(id)),
                quantity: Quantity::new(quantity).unwrap(),
            })
            .collect()
    }

    fn cart(wanted: &[(u128, u32)]) -> Cart {
        Cart {
            lines: lines(wanted),
            ..Cart::default()
        }
    }

    #[test]
    fn carts_add_up_as_far_as_there_is_room() {
        let mut ours = cart(&[(1, 2), (2, 9_000)]);
        ours.merge_lines(&lines(&[(2, 1_000), (3, 4)]));
        assert_eq!(ours.lines, lines(&[(1, 2), (2, 9_999), (3, 4)]));

        let many: Vec<(u128, u32)> = (0..50).map(|id| (id, 1)).collect();
        let mut full = cart(&many);
        full.merge_lines(&lines(&[(99, 1), (7, 1)]));
        assert_eq!(full.lines.len(), MAX_LINES);
        assert_eq!(full.lines[7].quantity.get(), 2);
        assert_eq!(
            full.set_quantity(ProductId(uuid::Uuid::from_u128(99)), Quantity::new(1).unwrap()),
            Err(CartFull)
        );
    }

    #[test]
    fn only_what_was_ordered_is_taken_out() {
        let mut cart = cart(&[(1, 5), (2, 1), (3, 2)]);
        cart.subtract(&lines(&[(1, 2), (2, 1), (4, 9)]));
        assert_eq!(cart.lines, lines(&[(1, 3), (3, 2)]));
    }
}
