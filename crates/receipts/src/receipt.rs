//! What a receipt says: the fields of a simplified qualified invoice, taken from a completed order.

use domain::{Money, OrderId, OrderStatus, TaxRate, TaxTotal, Timestamp, money::MoneyError};
use orders::{Order, OrderItem};

use crate::Issuer;

/// A receipt of a completed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub(crate) issuer: Issuer,
    /// The receipt's number: that of its order.
    pub(crate) order_id: OrderId,
    /// When the order was completed and paid.
    pub(crate) completed_at: Timestamp,
    pub(crate) lines: Vec<Line>,
    pub(crate) tax_totals: Vec<TaxTotal>,
    pub(crate) total: Money,
    /// The tax that `total` includes.
    pub(crate) tax: Money,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The product's name, which is untrusted text.
    pub(crate) name: String,
    pub(crate) quantity: u32,
    /// Tax included.
    pub(crate) unit_price: Money,
    /// Tax included.
    pub(crate) price: Money,
    pub(crate) tax_rate: TaxRate,
}

/// Why an order has no receipt.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error("the order is {0}, not completed")]
    NotCompleted(OrderStatus),
    #[error("the sum of the lines is not the total that was paid")]
    WrongTotal,
    #[error("an amount of the order is out of range")]
    Amount(#[from] MoneyError),
}

impl Receipt {
    /// The receipt of a completed order. A repetition returns the same receipt: it depends on nothing else.
    pub fn new(issuer: &Issuer, order: &Order) -> Result<Self, ReceiptError> {
        let completed_at = order
            .completed_at()
            .filter(|_| order.status == OrderStatus::Completed)
            .ok_or(ReceiptError::NotCompleted(order.status))?;
        let line = |item: &OrderItem| {
            Ok(Line {
                name: item.product_name.clone(),
                quantity: item.quantity.get(),
                unit_price: Money::new(item.price, order.currency)?,
                price: item.total(order.currency)?,
                tax_rate: item.tax_rate,
            })
        };
        let tax_totals = order.tax_totals()?;
        let sum = |amount: fn(&TaxTotal) -> Money| {
            let zero = Money::zero(order.currency);
            tax_totals.iter().map(amount).try_fold(zero, Money::checked_add)
        };
        let (sum, tax) = (sum(|part| part.total)?, sum(|part| part.tax)?);
        let total = order.total()?;
        if sum != total {
            return Err(ReceiptError::WrongTotal);
        }
        Ok(Self {
            issuer: issuer.clone(),
            order_id: order.order_id,
            completed_at,
            lines: order.items.iter().map(line).collect::<Result<_, MoneyError>>()?,
            tax_totals,
            total,
            tax,
        })
    }
}
