//! How long a customer may authenticate a payment, against the times that depend on it.

use crate::template::parameter;

/// The time to live of a reservation, as the saga requests it.
const STOCK_CLIENT: &str = include_str!("../../../lambdas/saga/src/stock_client.rs");

/// order-reconciler runs every minute. It ends an order whose time has passed in the next run, or, when that
/// one fails, in the one after.
const TWO_RUNS_OF_THE_RECONCILER: u64 = 120;

#[test]
fn authentication_ends_before_the_reservation_expires() {
    let time_to_live: u64 = STOCK_CLIENT
        .lines()
        .find_map(|line| line.strip_prefix("const RESERVATION_TTL_SECONDS: u32 = "))
        .and_then(|value| value.strip_suffix(';')?.parse().ok())
        .unwrap();
    let time_limit = parameter("PaymentActionTimeoutSeconds")["Default"]
        .as_u64()
        .unwrap();
    assert!(time_limit + TWO_RUNS_OF_THE_RECONCILER <= time_to_live);
}
