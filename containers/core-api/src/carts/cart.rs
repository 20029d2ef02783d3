//! The content of a cart and its operations, without I/O.

use domain::{OrderId, ProductId, Quantity};
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

/// A cart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cart {
    /// The lines, in the order in which they were added.
    pub lines: Vec<CartLine>,
    /// The orders that were placed from this cart and had not ended when the cart was last written. The lines
    /// of such an order return to the cart if it fails.
    pub placed_orders: Vec<OrderId>,
    /// The version of the stored item; `None` when the cart is not stored yet.
    pub(super) version: Option<i64>,
}

/// The lines do not fit into the cart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a cart holds at most {MAX_LINES} products and {} units of each",
    Quantity::MAX
)]
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

    /// Adds lines to the cart. Changes nothing if they do not all fit.
    pub fn merge_lines(&mut self, others: &[CartLine]) -> Result<(), CartFull> {
        let mut merged = self.clone();
        for other in others {
            let quantity = match merged.line_mut(other.product_id) {
                Some(line) => {
                    Quantity::new(line.quantity.get() + other.quantity.get()).map_err(|_| CartFull)?
                }
                None => other.quantity,
            };
            merged.set_quantity(other.product_id, quantity)?;
        }
        *self = merged;
        Ok(())
    }

    /// Empties the cart into an order.
    pub(super) fn move_to_order(&mut self, order_id: OrderId) {
        self.lines.clear();
        self.placed_orders.push(order_id);
    }

    /// Records that an order from this cart has ended. `returned` are its lines if it failed. While they do
    /// not fit into the cart, the order stays recorded. A second call changes nothing.
    pub(super) fn finish_order(&mut self, order_id: OrderId, returned: &[CartLine]) {
        if self.placed_orders.contains(&order_id) && self.merge_lines(returned).is_ok() {
            self.placed_orders.retain(|placed| *placed != order_id);
        }
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
    fn merge_adds_all_lines_or_none() {
        let mut merged = cart(&[(1, 2), (2, 9_000)]);
        assert_eq!(merged.merge_lines(&lines(&[(2, 999), (3, 4)])), Ok(()));
        assert_eq!(merged.lines, lines(&[(1, 2), (2, 9_999), (3, 4)]));
        let before = merged.clone();
        assert_eq!(merged.merge_lines(&lines(&[(4, 1), (2, 1)])), Err(CartFull));
        assert_eq!(merged, before);

        let fifty: Vec<(u128, u32)> = (0..50).map(|id| (id, 1)).collect();
        let mut full = cart(&fifty);
        assert_eq!(full.merge_lines(&lines(&[(7, 1)])), Ok(()));
        assert_eq!((full.lines.len(), full.lines[7].quantity.get()), (MAX_LINES, 2));
        let before = full.clone();
        assert_eq!(full.merge_lines(&lines(&[(7, 1), (99, 1)])), Err(CartFull));
        assert_eq!(full, before);
        assert_eq!(
            full.set_quantity(ProductId(uuid::Uuid::from_u128(99)), Quantity::new(1).unwrap()),
            Err(CartFull)
        );
    }

    #[test]
    fn lines_of_a_failed_order_return_once_and_only_when_they_fit() {
        let order_id = OrderId(uuid::Uuid::from_u128(1));
        let mut cart = cart(&[(1, 2)]);
        cart.move_to_order(order_id);
        assert_eq!(cart.lines, []);
        cart.set_quantity(ProductId(uuid::Uuid::from_u128(1)), Quantity::new(9_998).unwrap())
            .unwrap();
        cart.finish_order(order_id, &lines(&[(1, 2)]));
        assert_eq!(
            (&cart.lines, &cart.placed_orders),
            (&lines(&[(1, 9_998)]), &vec![order_id])
        );
        cart.set_quantity(ProductId(uuid::Uuid::from_u128(1)), Quantity::new(3).unwrap())
            .unwrap();
        for _ in 0..2 {
            cart.finish_order(order_id, &lines(&[(1, 2)]));
            assert_eq!((&cart.lines, &cart.placed_orders), (&lines(&[(1, 5)]), &vec![]));
        }
    }
}
