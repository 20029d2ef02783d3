//! A panic, made an error.

use std::{any::Any, future::Future, panic::AssertUnwindSafe};

use futures::FutureExt;

use crate::FunctionError;

/// Code panicked. What it was doing may or may not have taken effect.
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

/// Runs `work` to its end or to its panic. What it shares with others must bear being left in the middle.
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
    async fn keeps_the_message() {
        let caught = catch_panic(async { panic!("{} is odd", 3) }).await;
        let panicked: Result<(), PanicError> = caught;
        assert_eq!(
            panicked.unwrap_err().to_string(),
            "the function panicked: 3 is odd"
        );
    }
}
