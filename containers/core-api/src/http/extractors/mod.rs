//! Extractors: they validate a header or a query parameter, or authorise the caller, before a handler runs.

mod audit_context;
mod authorization;
mod cart_token;
mod idempotency_key;
mod if_match;
mod page_size;
mod search_term;

pub use audit_context::AuditContext;
pub use authorization::{Authorized, permission, require_buyer};
pub use cart_token::CartTokenHeader;
pub use idempotency_key::IdempotencyKey;
pub use if_match::{IfMatchHeader, precondition_failed, product_etag, profile_etag};
pub use page_size::PageSize;
pub use search_term::SearchTerm;
