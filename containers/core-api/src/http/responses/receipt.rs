//! Links to receipts as JSON.

use domain::{CustomerSecret, Timestamp};
use receipts::ReceiptLink;
use serde::Serialize;
use utoipa::ToSchema;

/// A link to a receipt.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Receipt)]
pub struct ReceiptResponse {
    /// The PDF. The link needs no token.
    #[schema(value_type = String, format = "uri")]
    url: CustomerSecret,
    /// The link is valid until then.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<ReceiptLink> for ReceiptResponse {
    fn from(ReceiptLink { url, expires_at }: ReceiptLink) -> Self {
        Self { url, expires_at }
    }
}
