//! Prints what a developer needs when a test fails, before the stack trace: the case, the violated invariants
//! and the folder of the services' logs.

use std::{any::Any, future::Future, panic, sync::Once};

use e2e::{consistency::ConsistencyReport, system::logs_hint};

tokio::task_local! {
    static CASE: String;
}

/// Runs one case of a test. When it panics, prints the case, the message and the logs' folder before the
/// stack trace.
pub async fn run_named_case<T>(name: String, case: impl Future<Output = T>) -> T {
    static INSTALL_HOOK: Once = Once::new();
    INSTALL_HOOK.call_once(|| {
        let default_hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if let Ok(name) = CASE.try_with(Clone::clone) {
                eprintln!(
                    "\nFAILED {name}: {}\n{}\n",
                    panic_message(info.payload()),
                    logs_hint()
                );
            }
            default_hook(info);
        }));
    });
    CASE.scope(name, case).await
}

/// Asserts that all invariants hold; the panic message contains the violated ones only.
#[track_caller]
pub fn assert_consistent(report: &ConsistencyReport) {
    assert!(
        report.is_consistent(),
        "invariants are violated (columns: expected, found):\n{}{}",
        violations(report),
        logs_hint()
    );
}

/// The lines of the violated invariants, with their findings.
pub fn violations(report: &ConsistencyReport) -> String {
    report.violations().map(ToString::to_string).collect()
}

pub fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("panicked without a message")
}
