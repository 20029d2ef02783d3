//! What a cold start costs with nothing of ours but how we talk to AWS: one client, and an answer to one call.

use std::convert::Infallible;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, reason = "it has no configuration")]
async fn main() -> Result<(), Error> {
    let endpoint_url = std::env::var("AWS_ENDPOINT_URL").ok();
    let sagas = aws_sdk_sfn::Client::new(&aws_client::lambda_sdk_config(None, endpoint_url));
    sagas
        .describe_state_machine()
        .state_machine_arn("arn:aws:states:ap-northeast-1:000000000000:stateMachine:order-saga")
        .send()
        .await?;
    lambda_runtime::run(service_fn(async |_: LambdaEvent<Value>| {
        Ok::<_, Infallible>(Value::Null)
    }))
    .await
}
