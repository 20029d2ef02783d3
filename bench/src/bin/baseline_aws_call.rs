//! A function that makes one AWS call during init, with our AWS client. It shows the cold start cost of that
//! call.

use std::convert::Infallible;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "one variable needs no typed configuration"
)]
async fn main() -> Result<(), Error> {
    let endpoint_url = std::env::var("AWS_ENDPOINT_URL").ok();
    let step_functions = aws_sdk_sfn::Client::new(&aws_client::lambda_sdk_config(None, endpoint_url));
    step_functions
        .describe_state_machine()
        .state_machine_arn("arn:aws:states:ap-northeast-1:000000000000:stateMachine:order-saga")
        .send()
        .await?;
    lambda_runtime::run(service_fn(async |_: LambdaEvent<Value>| {
        Ok::<_, Infallible>(Value::Null)
    }))
    .await
}
