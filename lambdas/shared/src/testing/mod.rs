//! Test support for functions, behind the feature `testing`. Functions must not use it.
//!
//! [`FunctionProcess`] runs a function's executable like Lambda does, with `_HANDLER` and the other variables
//! that Lambda sets. [`start_proxy`] starts a server that answers some requests itself and forwards the
//! others. [`start_table_rights_proxy`] starts one that enforces the rights of a function's role to the keys
//! of a table.
//!
//! ```no_run
//! # use lambda_shared::testing::FunctionProcess;
//! # use serde_json::json;
//! # async fn example() -> Result<(), lambda_shared::testing::ExitedDuringInit> {
//! // Integration tests of the executable's own package use env!("CARGO_BIN_EXE_processors").
//! let executable = "target/debug/processors";
//! let function = FunctionProcess::start(executable, "order-processor", &[("LOG_LEVEL", "info")]).await?;
//! let response = function.invoke(json!({"Records": []})).await;
//! assert_eq!(response, Ok(json!({"batchItemFailures": []})));
//! # Ok(()) }
//! ```

mod http_proxy;
mod runtime_emulator;
mod table_rights;

pub use http_proxy::start_proxy;
pub use runtime_emulator::{ExitedDuringInit, FunctionProcess, INVOCATION_TIMEOUT};
pub use table_rights::{KeyedTable, TableRights, start_table_rights_proxy, unconditional_statements};
