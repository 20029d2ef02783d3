//! The baseline of the benchmark `realtime`: sends each message of a topic to the connection that it names,
//! and logs one line (see `baseline_step` for the reason).

use std::io::{self, Write as _};

use aws_sdk_apigatewaymanagement::{Client, config::Builder, primitives::Blob};
use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    #[expect(clippy::disallowed_methods, reason = "the whole configuration, read once")]
    let url = std::env::var("CONNECTIONS_API_URL")?;
    let aws = aws_client::sdk_config().await;
    let connections = Client::from_conf(Builder::from(&aws).endpoint_url(url).build());
    // Like our functions, make the first call, which is far slower than later ones, before the first event.
    let first = connections.post_to_connection().connection_id("none");
    let _ = first.data(Blob::new("{}")).send().await;
    run(service_fn(async |event: LambdaEvent<Value>| {
        for record in event.payload["Records"].as_array().into_iter().flatten() {
            let message = record["Sns"]["Message"]
                .as_str()
                .ok_or("a record has no message")?;
            let message: Value = serde_json::from_str(message)?;
            let connection_id = message["connection_id"].as_str().ok_or("no connection_id")?;
            connections
                .post_to_connection()
                .connection_id(connection_id)
                .data(Blob::new(message["data"].to_string()))
                .send()
                .await?;
        }
        writeln!(
            io::stdout(),
            r#"{{"level":"INFO","message":"the invocation succeeded"}}"#
        )?;
        Ok::<_, Error>(Value::Null)
    }))
    .await
}
