//! Converts panics to errors.

use std::{any::Any, future::Future, panic::AssertUnwindSafe};

use futures::FutureExt;

use crate::FunctionError;

/// The function panicked. Its effects may or may not have happened.
#[derive(Debug, thiserror::Error)]
#[error("the function panicked: {0}")]
pub(crate) struct PanicError(String);

impl FunctionError for PanicError {
    fn name(&self) -> &'static str {
        "Panicked"
    }

    fn is_business_error(&self) -> bool {
        false
    }
}

/// Runs `work` and returns its panic as an error. State that `work` shares with other tasks must stay
/// consistent when `work` stops at any await point.
pub(crate) async fn catch_panic<T>(work: impl Future<Output = T>) -> Result<T, PanicError> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(|panic| PanicError(panic_message(panic.as_ref())))
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_panic_message() {
        let result: Result<(), PanicError> = catch_panic(async { panic!("{} is odd", 3) }).await;
        assert_eq!(result.unwrap_err().to_string(), "the function panicked: 3 is odd");
    }
}
