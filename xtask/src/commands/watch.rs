//! `cargo xtask watch`: follows an order over the WebSocket API, with the client library in Node.js.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::commands::token;
use crate::environment::Addresses;
use crate::instance::{self, Instance, InstanceKind};
use crate::{WatchArgs, aws};

/// The example of the client library that prints the changes of an order.
const SCRIPT: &str = "clients/realtime-js/examples/watch.js";

/// # Errors
/// When the order does not exist, or Node.js is not installed.
pub fn run(arguments: &WatchArgs) -> Result<ExitCode> {
    let instance = Instance::new(InstanceKind::Development);
    let addresses = Addresses::from_last_run(&instance);
    let order_id = arguments.order.to_string();
    let customer = customer_of(&addresses, &order_id)?;
    let mut command = Command::new("node");
    command
        .arg("--experimental-websocket") // which Node.js 22 has by default
        .arg("--no-warnings")
        .arg(instance::repository_root().join(SCRIPT))
        .args(arguments.json.then_some("--json"))
        .arg(&order_id)
        .env("HTTP_API_URL", addresses.gateway_url())
        .env(
            "ACCESS_TOKEN",
            token::for_existing_user(&instance, &addresses, &customer)?,
        );
    let status = command
        .status()
        .context("cannot run node: install Node.js 20.10 or later")?;
    Ok(ExitCode::from(u8::from(!status.success())))
}

/// The id of the customer who placed the order.
fn customer_of(addresses: &Addresses, order_id: &str) -> Result<String> {
    let query = json!({
        "TableName": "ecommerce-orders",
        "IndexName": "order_id-index",
        "KeyConditionExpression": "order_id = :order",
        "ExpressionAttributeValues": {":order": {"S": order_id}},
    });
    let found = aws::call_local(addresses, "dynamodb", "DynamoDB_20120810.Query", &query)?;
    match found.pointer("/Items/0/user_id/S").and_then(Value::as_str) {
        Some(customer) => Ok(customer.to_owned()),
        None => bail!("the order {order_id} does not exist in the local system"),
    }
}
