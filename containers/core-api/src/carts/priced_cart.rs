//! A cart at the current names, prices and stock levels of its products.

use database::DatabaseError;
use domain::{Currency, Money, ProductId, Quantity};
use orders::OrderItem;

use super::Cart;
use crate::catalog::{Catalog, ProductPrice};

/// A cart at current prices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedCart {
    pub lines: Vec<PricedLine>,
    /// The total price of the products that are in the catalog.
    pub total: Money,
}

/// A line of a [`PricedCart`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PricedLine {
    pub product_id: ProductId,
    pub quantity: Quantity,
    /// `None` when the product was removed from the catalog.
    pub product: Option<ProductPrice>,
    /// The number of these units that are in stock, at most `quantity`.
    pub available: u32,
}

impl PricedCart {
    /// Adds the current names, prices and stock levels to a cart.
    pub async fn load(cart: &Cart, catalog: &Catalog) -> Result<Self, DatabaseError> {
        let ids: Vec<ProductId> = cart.lines.iter().map(|line| line.product_id).collect();
        let (mut products, stock) =
            tokio::try_join!(catalog.find_prices(&ids), catalog.available_stock(&ids))?;
        let lines: Vec<PricedLine> = cart
            .lines
            .iter()
            .map(|line| {
                let product = products.remove(&line.product_id);
                // A product without a stock row has no stock yet.
                let in_stock = product
                    .as_ref()
                    .and_then(|_| stock.get(&line.product_id))
                    .copied()
                    .unwrap_or(0);
                PricedLine {
                    product_id: line.product_id,
                    quantity: line.quantity,
                    product,
                    // The cart does not disclose more of the stock level than the requested quantity.
                    available: u32::try_from(in_stock.clamp(0, i64::from(line.quantity.get())))
                        .expect("the value is at most the requested quantity"),
                }
            })
            .collect();
        let total = lines
            .iter()
            .filter_map(|line| Some((line.product.as_ref()?.price, line.quantity)))
            .try_fold(Money::zero(Currency::JPY), |total, (price, quantity)| {
                total.checked_add(price.checked_mul(quantity)?)
            })
            .expect("50 lines of 9,999 units at the largest price are at most Money::MAX");
        Ok(Self { lines, total })
    }

    /// The products that were removed from the catalog.
    #[must_use]
    pub fn withdrawn(&self) -> Vec<ProductId> {
        let withdrawn = self.lines.iter().filter(|line| line.product.is_none());
        withdrawn.map(|line| line.product_id).collect()
    }

    /// The lines of which fewer units are in stock than requested.
    pub fn short_lines(&self) -> impl Iterator<Item = &PricedLine> {
        self.lines
            .iter()
            .filter(|line| line.available < line.quantity.get())
    }

    /// The lines of an order of this cart, without withdrawn products.
    #[must_use]
    pub fn order_lines(&self) -> Vec<OrderItem> {
        self.lines
            .iter()
            .filter_map(|line| {
                let product = line.product.as_ref()?;
                Some(OrderItem {
                    product_id: line.product_id,
                    product_name: product.name.clone(),
                    quantity: line.quantity,
                    price: product.price.amount(),
                    tax_rate: product.tax_rate,
                })
            })
            .collect()
    }
}
