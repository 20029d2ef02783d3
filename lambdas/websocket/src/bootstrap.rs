//! Builds the parts of the functions from the environment, once per process.

use aws_sdk_dynamodb::Client as DynamoDb;
use connections::ConnectionsTable;
use domain::{ProductId, UserId};
use lambda_shared::{EnvironmentError, FunctionContext, InitError};
use orders::Orders;

use crate::{management_api::ManagementApi, stock_subscriptions::StockSubscriptions};

/// The ids of a user and a product that do not exist, with which functions open their connections
/// to DynamoDB.
pub const NIL_USER: UserId = UserId(uuid::Uuid::nil());
pub const NIL_PRODUCT: ProductId = ProductId(uuid::Uuid::nil());

/// The table in `CONNECTIONS_TABLE`.
pub fn connections_table(context: &FunctionContext) -> Result<ConnectionsTable, EnvironmentError> {
    let name: String = context.environment.required("CONNECTIONS_TABLE")?;
    let client = DynamoDb::new(&context.aws);
    Ok(ConnectionsTable::new(client, name, context.clock.clone()))
}

/// The table in `STOCK_SUBSCRIPTIONS_TABLE`.
pub fn stock_subscriptions(context: &FunctionContext) -> Result<StockSubscriptions, EnvironmentError> {
    let table: String = context.environment.required("STOCK_SUBSCRIPTIONS_TABLE")?;
    let client = DynamoDb::new(&context.aws);
    Ok(StockSubscriptions::new(client, table, context.clock.clone()))
}

/// The orders in `ORDERS_TABLE`.
pub async fn orders(context: &FunctionContext) -> Result<Orders, InitError> {
    let table: String = context.environment.required("ORDERS_TABLE")?;
    let orders = Orders::new(DynamoDb::new(&context.aws), table, context.clock.clone());
    orders.warm_up().await?;
    Ok(orders)
}

/// The management API of the connections at `CONNECTIONS_API_URL`: a URL, or a path below the endpoint of an
/// emulator.
pub fn management_api(context: &FunctionContext) -> Result<ManagementApi, EnvironmentError> {
    let url: String = context.environment.required("CONNECTIONS_API_URL")?;
    let url = match (url.strip_prefix('/'), context.aws.endpoint_url()) {
        (Some(path), Some(endpoint)) => format!("{}/{path}", endpoint.trim_end_matches('/')),
        _ => url,
    };
    Ok(ManagementApi::new(&context.aws, url))
}
