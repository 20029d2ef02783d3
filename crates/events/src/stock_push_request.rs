//! Announcements of a product's level for customers who watch the product, in the form in which stock-service
//! sends them to `stock-push-queue`.
//!
//! These announcements are not events: one of them stands for all changes of a short interval, and a later
//! one replaces it. The events of stock state each change.

use domain::ProductId;
use serde::{Deserialize, Serialize};

/// The level of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockPushRequest {
    pub product_id: ProductId,
    /// Units that can be ordered.
    pub available: i64,
    /// Rises with each change of the product's level: the time of the change, in microseconds since 1970.
    pub version: i64,
}
