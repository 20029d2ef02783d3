//! For tests that sqlx gives a database of their own.

use std::{cell::RefCell, path::PathBuf};

use sqlx::{
    ConnectOptions as _, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Role;

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

/// How a program connects to the database of `pool`. `cargo xtask test` sets each role's name as its
/// password.
#[must_use]
pub fn connect_options(pool: &PgPool, role: Role) -> PgConnectOptions {
    PgConnectOptions::clone(&pool.connect_options())
        .username(role.name())
        .password(role.name())
}

/// The `DATABASE_URL` with which a process connects in the same way.
#[must_use]
pub fn database_url(options: &PgConnectOptions) -> String {
    let url = options.to_url_lossy().to_string();
    // sqlx writes the path of the CA file as `file: path`, which it does not read.
    url.replace("sslrootcert=file%3A+", "sslrootcert=")
}

/// The folder with the certificates of the local PostgreSQL.
///
/// # Panics
/// When `MATSURI_KEYS` is not set.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the tests' configuration")]
pub fn keys_dir() -> PathBuf {
    let folder = std::env::var("MATSURI_KEYS").expect("`cargo xtask test` sets MATSURI_KEYS");
    folder.into()
}

/// A pool with the rights of a program, for the same database as `pool`, whose connections have all rights.
/// Both close together, so that sqlx can drop the database.
pub fn pool_of_role(pool: &PgPool, role: Role) -> PgPool {
    let role_pool = PgPoolOptions::new()
        .max_connections(5)
        .acquire_timeout(pool.options().get_acquire_timeout())
        .connect_lazy_with(connect_options(pool, role));
    let (closed, closing) = (pool.close_event(), role_pool.clone());
    tokio::spawn(async move {
        closed.await;
        closing.close().await;
    });
    role_pool
}
