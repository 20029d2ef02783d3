//! For tests and measurements of functions, and not for functions: behind the feature `testing`.
//!
//! [`Sandbox`] runs a function's program as Lambda does, with `_HANDLER` and the other variables that Lambda
//! sets; [`create_table`] makes a DynamoDB table of a test's own.
//!
//! ```no_run
//! # use lambda_shared::testing::Sandbox;
//! # use serde_json::json;
//! # async fn example() -> Result<(), lambda_shared::testing::Exited> {
//! // In a test of the program's own package: env!("CARGO_BIN_EXE_processors").
//! let sandbox = Sandbox::start("target/debug/processors", "order-processor", &[("LOG_LEVEL", "info")]).await?;
//! let answer = sandbox.invoke(json!({"Records": []})).await;
//! assert_eq!(answer, Ok(json!({"batchItemFailures": []})));
//! # Ok(()) }
//! ```

mod dynamodb_table;
mod runtime_emulator;

pub use dynamodb_table::create_table;
pub use runtime_emulator::{ExitedDuringInit, FunctionProcess, INVOCATION_TIMEOUT};
