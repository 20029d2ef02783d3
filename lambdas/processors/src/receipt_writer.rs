//! `receipt-writer`: writes the receipt of each completed order to S3.
//!
//! The content comes from the stored order; the event contains only its id. The same order gives the same
//! receipt, and S3 refuses a second object under the order's key, so duplicate events and replays change
//! nothing: the first receipt stays, also if the issuer has moved since.

use std::sync::Arc;

use aws_sdk_dynamodb::Client as DynamoDb;
use domain::OrderId;
use dynamodb_table::DynamoDbError;
use events::{EventBridgeEvent, eventbridge::EventParseError, order::OrderCompleted};
use lambda_shared::{FunctionContext, Handler, InitError, sqs, sqs::Message, trace_context};
use orders::Orders;
use receipts::{Issuer, Receipt, ReceiptError, ReceiptStore, RegistrationNumber, RenderError, Written};

/// The number of receipts that one invocation writes concurrently: the whole batch.
const CONCURRENCY: usize = 10;

struct ReceiptWriter {
    orders: Orders,
    receipts: ReceiptStore,
    issuer: Issuer,
}

/// Why no receipt was written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Event(#[from] EventParseError),
    #[error("the order {0} does not exist")]
    OrderNotFound(OrderId),
    #[error(transparent)]
    Orders(#[from] DynamoDbError),
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    #[error(transparent)]
    Render(#[from] RenderError),
    #[error(transparent)]
    Store(#[from] receipts::StoreError),
}

/// Initialises the function for the bucket `RECEIPTS_BUCKET` and the orders in `ORDERS_TABLE`. The issuer is
/// `RECEIPT_ISSUER_NAME`, `RECEIPT_ISSUER_ADDRESS` and `RECEIPT_ISSUER_REGISTRATION_NUMBER`.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let bucket = context.environment.required("RECEIPTS_BUCKET")?;
    let name: String = context.environment.required("RECEIPT_ISSUER_NAME")?;
    let address: String = context.environment.required("RECEIPT_ISSUER_ADDRESS")?;
    let number: RegistrationNumber = context
        .environment
        .required("RECEIPT_ISSUER_REGISTRATION_NUMBER")?;
    let issuer = Issuer::new(&name, &address, number)?;
    let orders_table: String = context.environment.required("ORDERS_TABLE")?;
    let orders = Orders::new(DynamoDb::new(&context.aws), orders_table, context.clock.clone());
    let writer = Arc::new(ReceiptWriter {
        orders,
        receipts: ReceiptStore::new(&context.aws, bucket, None),
        issuer,
    });
    Ok(sqs::handler(context.clock, CONCURRENCY, move |message| {
        let writer = Arc::clone(&writer);
        async move { writer.process(message).await }
    }))
}

impl ReceiptWriter {
    async fn process(&self, Message { body, .. }: Message) -> Result<(), WriteError> {
        let event = EventBridgeEvent::<OrderCompleted>::parse(&body)?.detail;
        trace_context::attach(&event.follow_up_context());
        let order_id = event.data.order_id;
        let order = self
            .orders
            .find(event.data.user_id, order_id)
            .await?
            .ok_or(WriteError::OrderNotFound(order_id))?;
        let pdf = Receipt::new(&self.issuer, &order)?.to_pdf()?;
        match self.receipts.write(order_id, pdf).await? {
            Written::New => tracing::info!("the receipt was written"),
            Written::Before => tracing::info!("the receipt had been written before"),
        }
        Ok(())
    }
}
