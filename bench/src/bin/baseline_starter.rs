//! The baseline of `order-processor`: starts an execution for each message of a batch and logs one line (see
//! `baseline_step` for the reason).

use std::io::{self, Write as _};

use aws_sdk_sfn::Client;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    #[expect(clippy::disallowed_methods, reason = "the whole configuration, read once")]
    let state_machine = std::env::var("STATE_MACHINE_ARN")?;
    let step_functions = Client::new(&aws_client::sdk_config().await);
    // Like order-processor, make the first call, which is far slower than later ones, before the first event.
    step_functions
        .describe_state_machine()
        .state_machine_arn(&state_machine)
        .send()
        .await?;
    run(service_fn(async |event: LambdaEvent<Value>| {
        for record in event.payload["Records"].as_array().into_iter().flatten() {
            let body = record["body"].as_str().ok_or("a record has no body")?;
            let event: Value = serde_json::from_str(body)?;
            let order = &event["detail"]["data"];
            let order_id = order["order_id"].as_str().ok_or("an order has no order_id")?;
            step_functions
                .start_execution()
                .state_machine_arn(&state_machine)
                .name(order_id)
                .input(order.to_string())
                .send()
                .await?;
        }
        writeln!(
            io::stdout(),
            r#"{{"level":"INFO","message":"the invocation succeeded"}}"#
        )?;
        Ok::<_, Error>(json!({"batchItemFailures": []}))
    }))
    .await
}
