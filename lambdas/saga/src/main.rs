//! The saga family: `_HANDLER` says which step of `order-saga` this process is.

use std::process::ExitCode;

use lambda_shared::Family;
use saga::{
    complete_order, fail_order, process_payment, refund_payment, release_stock, reserve_stock,
    send_notification, update_stock,
};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    Family::new()
        .function("reserve-stock", reserve_stock::start)
        .function("process-payment", process_payment::start)
        .function("update-stock", update_stock::start)
        .function("complete-order", complete_order::start)
        .function("send-notification", send_notification::start)
        .function("release-stock", release_stock::start)
        .function("refund-payment", refund_payment::start)
        .function("fail-order", fail_order::start)
        .run()
        .await
}
