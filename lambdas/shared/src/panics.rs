//! A panic, made an error.

use std::{any::Any, future::Future, panic::AssertUnwindSafe};

use futures::FutureExt;

use crate::FunctionError;

/// Code panicked. What it was doing may or may not have taken effect.
#[derive(Debug, thiserror::Error)]
#[error("the function panicked: {0}")]
pub(crate) struct Panicked(String);

impl FunctionError for Panicked {
    fn name(&self) -> &'static str {
        "Panicked"
    }

    fn is_refusal(&self) -> bool {
        false
    }
}

/// Runs `work` to its end or to its panic. What it shares with others must bear being left in the middle.
pub(crate) async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .map_err(|panic| Panicked(message(panic.as_ref())))
}

fn message(panic: &(dyn Any + Send)) -> String {
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
        let caught = caught(async { panic!("{} is odd", 3) }).await;
        let panicked: Result<(), Panicked> = caught;
        assert_eq!(
            panicked.unwrap_err().to_string(),
            "the function panicked: 3 is odd"
        );
    }
}
