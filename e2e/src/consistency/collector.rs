//! Collects a [`SystemSnapshot`] from DynamoDB, PostgreSQL, S3, SQS, Step Functions, SES, SNS and the
//! payment provider.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    env,
    sync::Arc,
};

use aws_sdk_dynamodb::{
    error::DisplayErrorContext, operation::scan::builders::ScanFluentBuilder, types::AttributeValue,
};
use domain::{OrderId, ProductId};
use events::TraceParent;
use orders::Order;
use reqwest::Client;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::{PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

use super::{
    NotificationKind, ObservedEvent, OrderNotification, OutboxEntry, Payment, ProductStock, Reservation,
    SagaExecution, SystemSnapshot, receipts::ReceiptReader,
};

/// The queue in which [`TestSystem::capture_events`](crate::system::TestSystem::capture_events) keeps all
/// events of the bus.
pub const EVENT_CAPTURE_QUEUE: &str = "e2e-everything";

const ORDERS_TABLE: &str = "ecommerce-orders";
const OUTBOX_TABLE: &str = "ecommerce-outbox";

/// A store cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error("{0} is not set: `cargo xtask test` and `cargo xtask chaos` set this variable")]
    MissingVariable(&'static str),
    #[error("request to the local AWS failed: {0}")]
    Aws(String),
    #[error("PostgreSQL query failed")]
    Database(#[from] sqlx::Error),
    /// A request to the payment provider or to the local AWS's inspection API failed.
    #[error("HTTP request failed")]
    Http(#[from] reqwest::Error),
    #[error("{what} has an unexpected format")]
    InvalidData {
        what: &'static str,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Reads the stores of the system that the environment variables name.
#[derive(Clone, Debug)]
pub struct Collector {
    http: Client,
    aws_endpoint_url: String,
    payment_api_url: String,
    dynamo: aws_sdk_dynamodb::Client,
    pub(super) sqs: aws_sdk_sqs::Client,
    step_functions: aws_sdk_sfn::Client,
    receipts: Arc<ReceiptReader>,
    pub(super) database: PgPool,
}

/// A page of a list of the payment provider.
#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
    has_more: bool,
}

#[derive(Deserialize)]
struct PaymentIntent {
    id: String,
    amount: i64,
    status: String,
    metadata: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Refund {
    id: String,
    payment_intent: String,
    amount: i64,
    status: String,
}

#[derive(Deserialize)]
struct Dispute {
    id: String,
    payment_intent: String,
}

trait PageItem {
    fn id(&self) -> &str;
}

impl PageItem for PaymentIntent {
    fn id(&self) -> &str {
        &self.id
    }
}

impl PageItem for Refund {
    fn id(&self) -> &str {
        &self.id
    }
}

impl PageItem for Dispute {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Collector {
    /// Creates a collector for the system that `AWS_ENDPOINT_URL`, `DATABASE_URL` and `PAYMENT_API_URL` name.
    /// Opens no connection yet.
    pub async fn from_env() -> Result<Self, CollectError> {
        let config = aws_client::sdk_config().await;
        Ok(Self {
            http: Client::new(),
            aws_endpoint_url: env_var("AWS_ENDPOINT_URL")?,
            payment_api_url: env_var("PAYMENT_API_URL")?,
            dynamo: aws_sdk_dynamodb::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            step_functions: aws_sdk_sfn::Client::new(&config),
            receipts: Arc::new(ReceiptReader::new(aws_sdk_s3::Client::new(&config))),
            database: PgPoolOptions::new()
                .max_connections(2)
                .connect_lazy(&env_var("DATABASE_URL")?)?,
        })
    }

    /// Reads all stores, one after another. Work in progress may appear twice or not at all, so do not judge
    /// the result unless the system was quiescent before: see
    /// [`collect_when_quiescent`](Self::collect_when_quiescent).
    pub async fn collect(&self) -> Result<SystemSnapshot, CollectError> {
        let queues = self.queue_messages().await?;
        let captured = queues.get(EVENT_CAPTURE_QUEUE).map_or(&[][..], Vec::as_slice);
        let orders: Vec<Order> = self.scan(ORDERS_TABLE, "an order").await?;
        Ok(SystemSnapshot {
            products: self.products().await?,
            reservations: self.reservations().await?,
            outbox: self.outbox_entries().await?,
            payments: self.payments().await?,
            mails: self.mails().await?,
            sms: self.sms(&orders).await?,
            orders,
            receipts: self.receipts.read_all().await?,
            executions: self.executions(None).await?,
            observed_events: captured
                .iter()
                .filter_map(|body| ObservedEvent::parse(body))
                .collect(),
            queues,
        })
    }

    /// Reads the orders that have not ended. A run has thousands of others, which the store leaves out.
    pub(super) async fn open_orders(&self) -> Result<Vec<Order>, CollectError> {
        let scan = self.dynamo.scan().table_name(ORDERS_TABLE);
        let scan = scan
            .filter_expression("attribute_exists(#open)")
            .expression_attribute_names("#open", "open");
        read_items(scan, "an order").await
    }

    async fn scan<T: DeserializeOwned>(
        &self,
        table: &str,
        what: &'static str,
    ) -> Result<Vec<T>, CollectError> {
        read_items(self.dynamo.scan().table_name(table), what).await
    }

    /// Counts the unpublished events in all outboxes.
    pub(super) async fn outbox_entry_count(&self) -> Result<usize, CollectError> {
        Ok(self.outbox_entries().await?.len())
    }

    async fn outbox_entries(&self) -> Result<Vec<OutboxEntry>, CollectError> {
        #[derive(Deserialize)]
        struct Entry {
            event_id: Uuid,
            detail_type: String,
            detail: String,
        }
        let entries: Vec<Entry> = self.scan(OUTBOX_TABLE, "an outbox entry").await?;
        let mut all: Vec<OutboxEntry> = entries
            .into_iter()
            .map(|entry| OutboxEntry {
                store: OUTBOX_TABLE.to_owned(),
                event_id: entry.event_id.to_string(),
                detail_type: entry.detail_type,
                detail: entry.detail,
            })
            .collect();
        let rows = sqlx::query!(
            r#"SELECT 'outbox.catalog_events' AS "store!", event_id AS "event_id!", detail_type AS "detail_type!",
                      detail AS "detail!"
               FROM outbox.catalog_events
               UNION ALL
               SELECT 'outbox.inventory_events', event_id, detail_type, detail FROM outbox.inventory_events
               UNION ALL
               SELECT 'outbox.account_events', event_id, detail_type, detail FROM outbox.account_events"#
        )
        .fetch_all(&self.database)
        .await?;
        all.extend(rows.into_iter().map(|row| OutboxEntry {
            store: row.store,
            event_id: row.event_id.to_string(),
            detail_type: row.detail_type,
            detail: row.detail,
        }));
        Ok(all)
    }

    async fn products(&self) -> Result<Vec<ProductStock>, CollectError> {
        // A single statement reads a consistent state of all tables.
        let rows = sqlx::query!(
            r#"WITH brought AS (
                   SELECT product_id, SUM(delta)::bigint AS pieces FROM inventory.stock_adjustments
                   WHERE applied GROUP BY 1
               ), taken AS (
                   SELECT product_id,
                          SUM(quantity) FILTER (WHERE status = 'committed')::bigint AS sold,
                          SUM(quantity) FILTER (WHERE status = 'reserved')::bigint AS held
                   FROM inventory.reservation_items JOIN inventory.reservations USING (reservation_id)
                   GROUP BY 1
               )
               SELECT product_id, quantity, reserved, COALESCE(pieces, 0) AS "brought!",
                      COALESCE(sold, 0) AS "sold!", COALESCE(held, 0) AS "held!"
               FROM inventory.stock LEFT JOIN brought USING (product_id) LEFT JOIN taken USING (product_id)"#
        )
        .fetch_all(&self.database)
        .await?;
        let products = rows.into_iter().map(|row| ProductStock {
            id: ProductId(row.product_id),
            adjusted: row.brought,
            committed: row.sold,
            open_reserved: row.held,
            quantity: row.quantity,
            reserved: row.reserved,
        });
        Ok(products.collect())
    }

    async fn reservations(&self) -> Result<Vec<Reservation>, CollectError> {
        let rows = sqlx::query!(
            r#"SELECT reservation_id, status,
                      ARRAY_AGG(product_id ORDER BY product_id) FILTER (WHERE product_id IS NOT NULL) AS "products: Vec<Uuid>",
                      ARRAY_AGG(quantity ORDER BY product_id) FILTER (WHERE product_id IS NOT NULL) AS "quantities: Vec<i64>"
               FROM inventory.reservations LEFT JOIN inventory.reservation_items USING (reservation_id)
               GROUP BY reservation_id"#
        )
        .fetch_all(&self.database)
        .await?;
        // Both aggregates are NULL for a reservation without items, such as a refused one.
        let reservations = rows.into_iter().map(|row| {
            let products = row.products.unwrap_or_default().into_iter().map(ProductId);
            Reservation {
                id: row.reservation_id,
                status: row.status,
                quantities: products.zip(row.quantities.unwrap_or_default()).collect(),
            }
        });
        Ok(reservations.collect())
    }

    async fn payments(&self) -> Result<Vec<Payment>, CollectError> {
        let mut refunded: BTreeMap<String, i64> = BTreeMap::new();
        let mut failed_refunds = BTreeSet::new();
        for refund in self.list_provider_objects::<Refund>("/v1/refunds").await? {
            if refund.status == "failed" {
                failed_refunds.insert(refund.payment_intent);
            } else {
                *refunded.entry(refund.payment_intent).or_default() += refund.amount;
            }
        }
        let disputes = self.list_provider_objects::<Dispute>("/v1/disputes").await?;
        let disputed: BTreeSet<String> = disputes
            .into_iter()
            .map(|dispute| dispute.payment_intent)
            .collect();
        let intents = self
            .list_provider_objects::<PaymentIntent>("/v1/payment_intents")
            .await?;
        let payments = intents.into_iter().map(|intent| Payment {
            order_id: intent.metadata.get("order_id").and_then(|id| id.parse().ok()),
            charged: intent.status == "succeeded",
            refunded: refunded.get(&intent.id).copied().unwrap_or(0),
            has_failed_refund: failed_refunds.contains(&intent.id),
            disputed: disputed.contains(&intent.id),
            amount: intent.amount,
            id: intent.id,
        });
        Ok(payments.collect())
    }

    /// Reads all pages of a list of the payment provider.
    async fn list_provider_objects<T: DeserializeOwned + PageItem>(
        &self,
        path: &str,
    ) -> Result<Vec<T>, CollectError> {
        let mut all: Vec<T> = Vec::new();
        loop {
            let url = format!("{}{path}?limit=100", self.payment_api_url);
            let mut request = self.http.get(url).bearer_auth("sk_test_e2e");
            if let Some(last) = all.last() {
                request = request.query(&[("starting_after", last.id())]);
            }
            let page: Page<T> = request.send().await?.error_for_status()?.json().await?;
            all.extend(page.data);
            if !page.has_more {
                return Ok(all);
            }
        }
    }

    async fn mails(&self) -> Result<Vec<OrderNotification>, CollectError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct SentMail {
            subject: String,
            body_text: String,
        }
        let sent: BTreeMap<String, Vec<SentMail>> =
            self.inspect("/_ministack/ses/messages", "messages").await?;
        let mail = |sent: SentMail| OrderNotification {
            order_id: sent
                .body_text
                .split_whitespace()
                .find_map(|word| word.parse().ok()),
            kind: NotificationKind::of_mail(&sent.subject, &sent.body_text),
        };
        Ok(sent.into_values().flatten().map(mail).collect())
    }

    /// Reads all SMS about `orders`. An SMS names an order by the last digits of its id.
    async fn sms(&self, orders: &[Order]) -> Result<Vec<OrderNotification>, CollectError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct SentSms {
            message: String,
        }
        let orders_by_number: HashMap<String, OrderId> = orders
            .iter()
            .map(|order| (order.order_id.to_string()[28..].to_uppercase(), order.order_id))
            .collect();
        let sent: BTreeMap<String, Vec<SentSms>> = self
            .inspect("/_ministack/sns/sms-messages", "sms_messages")
            .await?;
        let sms = |SentSms { message }| {
            let (_, rest) = message.split_once("order ")?;
            Some(OrderNotification {
                order_id: rest
                    .get(..8)
                    .and_then(|number| orders_by_number.get(number).copied()),
                kind: NotificationKind::of_sms(&message),
            })
        };
        Ok(sent.into_values().flatten().filter_map(sms).collect())
    }

    /// Reads the messages of all queues without receiving them.
    pub(super) async fn queue_messages(&self) -> Result<BTreeMap<String, Vec<String>>, CollectError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Message {
            body: String,
        }
        // By account, region and queue URL.
        type Queues = BTreeMap<String, BTreeMap<String, BTreeMap<String, Vec<Message>>>>;
        let accounts: Queues = self.inspect("/_ministack/sqs/messages", "messages").await?;
        let queues = accounts.into_values().flat_map(BTreeMap::into_values).flatten();
        let bodies_by_name = queues.map(|(url, messages)| {
            let bodies = messages.into_iter().map(|message| message.body).collect();
            (queue_name(&url).to_owned(), bodies)
        });
        Ok(bodies_by_name.collect())
    }

    /// Reads `member` of a response of the local AWS's inspection API.
    async fn inspect<T: DeserializeOwned>(&self, path: &str, member: &str) -> Result<T, CollectError> {
        let response = self
            .http
            .get(format!("{}{path}", self.aws_endpoint_url))
            .send()
            .await?;
        let mut response: Value = response.error_for_status()?.json().await?;
        serde_json::from_value(response[member].take())
            .map_err(|error| invalid_data("the response of the local AWS's inspection API", error))
    }

    /// Lists the executions of the order saga, all or those in `status`.
    pub(super) async fn executions(
        &self,
        status: Option<aws_sdk_sfn::types::ExecutionStatus>,
    ) -> Result<Vec<SagaExecution>, CollectError> {
        let machines = self.step_functions.list_state_machines().into_paginator();
        let machines: Vec<_> = machines.items().send().try_collect().await.map_err(aws_error)?;
        let saga = machines
            .into_iter()
            .find(|machine| machine.name == "order-saga")
            .ok_or_else(|| CollectError::Aws("state machine order-saga does not exist".to_owned()))?;
        let list = self
            .step_functions
            .list_executions()
            .state_machine_arn(saga.state_machine_arn);
        let mut items = list.set_status_filter(status).into_paginator().items().send();
        let mut all = Vec::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(aws_error)?;
            all.push(SagaExecution {
                order_id: item.name.get(..36).and_then(|id| id.parse::<OrderId>().ok()),
                status: item.status.as_str().to_owned(),
                name: item.name,
            });
        }
        Ok(all)
    }
}

async fn read_items<T: DeserializeOwned>(
    scan: ScanFluentBuilder,
    what: &'static str,
) -> Result<Vec<T>, CollectError> {
    let mut items = scan.consistent_read(true).into_paginator().items().send();
    let mut all = Vec::new();
    while let Some(item) = items.next().await {
        let item: HashMap<String, AttributeValue> = item.map_err(aws_error)?;
        all.push(serde_dynamo::from_item(item).map_err(|error| invalid_data(what, error))?);
    }
    Ok(all)
}

impl ObservedEvent {
    /// Parses an event in the form in which EventBridge delivers it. Returns `None` for events without our
    /// envelope.
    #[must_use]
    pub fn parse(body: &str) -> Option<Self> {
        let event: Value = serde_json::from_str(body).ok()?;
        let detail = &event["detail"];
        let trace: TraceParent = detail["traceparent"].as_str()?.parse().ok()?;
        Some(Self {
            correlation_id: detail["correlation_id"].as_str()?.parse().ok()?,
            detail_type: event["detail-type"].as_str()?.to_owned(),
            trace_id: trace.trace_id(),
        })
    }
}

/// The last segment of a queue URL.
pub(super) fn queue_name(url: &str) -> &str {
    url.rsplit_once('/').map_or(url, |(_, name)| name)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the configuration of tests and of `cargo xtask chaos`"
)]
fn env_var(name: &'static str) -> Result<String, CollectError> {
    env::var(name).map_err(|_| CollectError::MissingVariable(name))
}

pub(super) fn aws_error(error: impl std::error::Error + Send + Sync + 'static) -> CollectError {
    CollectError::Aws(DisplayErrorContext(error).to_string())
}

pub(super) fn invalid_data(
    what: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> CollectError {
    CollectError::InvalidData {
        what,
        source: Box::new(error),
    }
}
