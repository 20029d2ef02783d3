//! A DynamoDB table: typed items, conditional writes, one error type.
//!
//! [`Table`] reads and writes items by key, and starts the SDK's requests for everything else. A read of an
//! item is strongly consistent. DynamoDB deletes an item some time after its `ttl`, so a read of items that
//! expire checks the `ttl` as well. [`write`] applies writes together, and reports which conditions failed.

mod error;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod write;

pub use error::{DynamoDbError, applied};
pub use table::{Attributes, Table, all_items, number, text};
pub use write::write;
