//! For tests that sqlx gives a database of their own.

use std::cell::RefCell;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Limits how many tests run at once. sqlx allows twenty connections per process and five per test: more
/// tests would wait for each other's connections until one times out. A test that waits here holds at most
/// one connection.
static TEST_SLOTS: Semaphore = Semaphore::const_new(3);

thread_local! {
    /// Each test runs on its own thread and keeps its slot until it ends, even if it starts a service twice.
    static TEST_SLOT: RefCell<Option<SemaphorePermit<'static>>> = const { RefCell::new(None) };
}

/// Waits until the current test may use several connections. Repeated calls in one test return at once.
pub async fn acquire_test_slot() {
    if TEST_SLOT.with_borrow(Option::is_none) {
        let permit = TEST_SLOTS.acquire().await;
        TEST_SLOT.set(Some(permit.expect("the semaphore is never closed")));
    }
}
