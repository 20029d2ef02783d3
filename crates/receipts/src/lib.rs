//! Receipts of completed orders: simplified qualified invoices (適格簡易請求書) as PDF, and their store in S3.
//!
//! A receipt is written once, when its order has completed, and never changes. The function receipt-writer
//! renders and stores it; core-api hands out links. `docs/adr/0025-receipts.md` has the reasons.

#[cfg(feature = "render")]
mod issuer;
#[cfg(feature = "render")]
mod pdf;
#[cfg(feature = "render")]
mod receipt;
mod store;

#[cfg(feature = "render")]
pub use issuer::{InvalidIssuer, Issuer, RegistrationNumber};
#[cfg(feature = "render")]
pub use pdf::RenderError;
#[cfg(feature = "render")]
pub use receipt::{Receipt, ReceiptError};
pub use store::{LINK_VALIDITY, ReceiptLink, ReceiptStore, StoreError, Written};
