//! The executable of all `order-saga` steps and of `payment-webhook`: `_HANDLER` selects the function.

use std::process::ExitCode;

use lambda_shared::FunctionRegistry;
use saga::{
    complete_order, create_payment, fail_order, payment_webhook, process_payment, refund_payment,
    release_stock, reserve_stock, send_notification, update_stock,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    FunctionRegistry::new()
        .register("create-payment", create_payment::init)
        .register("reserve-stock", reserve_stock::init)
        .register("process-payment", process_payment::init)
        .register("update-stock", update_stock::init)
        .register("complete-order", complete_order::init)
        .register("send-notification", send_notification::init)
        .register("release-stock", release_stock::init)
        .register("refund-payment", refund_payment::init)
        .register("fail-order", fail_order::init)
        .register("payment-webhook", payment_webhook::init)
        .run()
        .await
}
