//! `order-processor` with nothing in it: starts an execution for each message of a batch, logs a line (`baseline_step`
//! tells why) and does nothing else.

use std::io::{self, Write as _};

use aws_sdk_sfn::Client;
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    #[expect(clippy::disallowed_methods, reason = "the whole configuration, read once")]
    let state_machine = std::env::var("STATE_MACHINE_ARN")?;
    let sagas = Client::new(&aws_client::sdk_config().await);
    // As order-processor does: the first call, which costs far more than the others, before the first event.
    sagas
        .describe_state_machine()
        .state_machine_arn(&state_machine)
        .send()
        .await?;
    run(service_fn(async |event: LambdaEvent<Value>| {
        for record in event.payload["Records"].as_array().into_iter().flatten() {
            let event: Value = serde_json::from_str(record["body"].as_str().unwrap_or_default())?;
            let order = &event["detail"]["data"];
            sagas
                .start_execution()
                .state_machine_arn(&state_machine)
                .name(order["order_id"].as_str().unwrap_or_default())
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
