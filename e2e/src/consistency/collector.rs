//! Reading the books where they are kept.

use std::{collections::BTreeMap, env};

use aws_sdk_dynamodb::{error::DisplayErrorContext, types::AttributeValue};
use domain::{OrderId, ProductId};
use events::TraceParent;
use orders::Order;
use reqwest::Client;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use sqlx::{PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

use super::{
    MailKind, ObservedEvent, OrderMail, OutboxEntry, Payment, ProductStock, Reservation, SagaExecution,
    SystemSnapshot,
};

/// The queue in which [`System::listen`](crate::system::System::listen) has everything on the bus kept.
pub(crate) const EARS: &str = "e2e-everything";

const ORDERS_TABLE: &str = "ecommerce-orders";
pub(super) const OUTBOX_TABLE: &str = "ecommerce-outbox";

/// The books cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A variable that says where something is.
    #[error("{0} is not set: `cargo xtask test` and `cargo xtask chaos` set it")]
    MissingVariable(&'static str),
    /// The local AWS did not answer as it should.
    #[error("the local AWS: {0}")]
    Aws(String),
    /// PostgreSQL did not answer as it should.
    #[error("PostgreSQL")]
    Database(#[from] sqlx::Error),
    /// The provider, or what the local AWS shows beside AWS's own interfaces, did not answer.
    #[error("no answer")]
    Http(#[from] reqwest::Error),
    /// Something stands there that is not of the shape it should be.
    #[error("{what} is not as it should be")]
    InvalidData {
        /// Where it stands.
        what: &'static str,
        /// What the parser says.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Whoever can read the books of the system that the environment names.
#[derive(Clone, Debug)]
pub struct Collector {
    http: Client,
    aws_endpoint_url: String,
    payment_api_url: String,
    dynamo: aws_sdk_dynamodb::Client,
    pub(super) sqs: aws_sdk_sqs::Client,
    step_functions: aws_sdk_sfn::Client,
    pub(super) database: PgPool,
}

/// The provider's list of something.
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

impl Collector {
    /// A reader of the system that `AWS_ENDPOINT_URL`, `DATABASE_URL` and `PAYMENT_API_URL` name. Connects to nothing
    /// yet.
    pub async fn from_env() -> Result<Self, CollectError> {
        let config = aws_client::sdk_config().await;
        Ok(Self {
            http: Client::new(),
            aws_endpoint_url: env_var("AWS_ENDPOINT_URL")?,
            payment_api_url: env_var("PAYMENT_API_URL")?,
            dynamo: aws_sdk_dynamodb::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            step_functions: aws_sdk_sfn::Client::new(&config),
            database: PgPoolOptions::new()
                .max_connections(2)
                .connect_lazy(&env_var("DATABASE_URL")?)?,
        })
    }

    /// Reads everything, as it stands. What moves meanwhile may be seen twice or not at all: see
    /// [`settled`](Self::settled).
    pub async fn collect(&self) -> Result<SystemSnapshot, CollectError> {
        let queues = self.queue_messages().await?;
        let heard = queues.get(EARS).map_or(&[][..], Vec::as_slice);
        Ok(SystemSnapshot {
            orders: self.scan(ORDERS_TABLE, "an order").await?,
            products: self.products().await?,
            reservations: self.reservations().await?,
            outbox: self.outbox_entries().await?,
            payments: self.payments().await?,
            mails: self.mails().await?,
            executions: self.executions(None).await?,
            observed_events: heard
                .iter()
                .filter_map(|body| ObservedEvent::parse(body))
                .collect(),
            queues,
        })
    }

    /// Every order, as it stands.
    pub async fn orders(&self) -> Result<Vec<Order>, CollectError> {
        self.scan(ORDERS_TABLE, "an order").await
    }

    async fn scan<T: DeserializeOwned>(
        &self,
        table: &str,
        what: &'static str,
    ) -> Result<Vec<T>, CollectError> {
        let scan = self.dynamo.scan().table_name(table).consistent_read(true);
        let mut items = scan.into_paginator().items().send();
        let mut all = Vec::new();
        while let Some(item) = items.next().await {
            let item: std::collections::HashMap<String, AttributeValue> = item.map_err(aws_error)?;
            all.push(serde_dynamo::from_item(item).map_err(|error| invalid_data(what, error))?);
        }
        Ok(all)
    }

    /// How many events wait in both stores.
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
        let of = |store| {
            move |entry: Entry| OutboxEntry {
                store,
                event_id: entry.event_id.to_string(),
                detail_type: entry.detail_type,
                detail: entry.detail,
            }
        };
        let entries: Vec<Entry> = self.scan(OUTBOX_TABLE, "an outbox entry").await?;
        let mut all: Vec<OutboxEntry> = entries.into_iter().map(of(OUTBOX_TABLE)).collect();
        let rows = sqlx::query_as!(Entry, "SELECT event_id, detail_type, detail FROM event_outbox")
            .fetch_all(&self.database)
            .await?;
        all.extend(rows.into_iter().map(of("event_outbox")));
        Ok(all)
    }

    async fn products(&self) -> Result<Vec<ProductStock>, CollectError> {
        // One statement sees one moment.
        let rows = sqlx::query!(
            r#"WITH brought AS (
                   SELECT product_id, SUM(delta)::bigint AS pieces FROM stock_adjustments WHERE applied GROUP BY 1
               ), taken AS (
                   SELECT product_id,
                          SUM(quantity) FILTER (WHERE status = 'committed')::bigint AS sold,
                          SUM(quantity) FILTER (WHERE status = 'reserved')::bigint AS held
                   FROM reservation_items JOIN reservations USING (reservation_id) GROUP BY 1
               )
               SELECT product_id, quantity, reserved, COALESCE(pieces, 0) AS "brought!",
                      COALESCE(sold, 0) AS "sold!", COALESCE(held, 0) AS "held!"
               FROM stock LEFT JOIN brought USING (product_id) LEFT JOIN taken USING (product_id)"#
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
               FROM reservations LEFT JOIN reservation_items USING (reservation_id) GROUP BY reservation_id"#
        )
        .fetch_all(&self.database)
        .await?;
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
        for refund in self.list_provider_objects::<Refund>("/v1/refunds").await? {
            *refunded.entry(refund.payment_intent).or_default() += refund.amount;
        }
        let intents = self
            .list_provider_objects::<PaymentIntent>("/v1/payment_intents")
            .await?;
        let payments = intents.into_iter().map(|intent| Payment {
            order_id: intent.metadata.get("order_id").and_then(|id| id.parse().ok()),
            charged: intent.status == "succeeded",
            refunded: refunded.get(&intent.id).copied().unwrap_or(0),
            amount: intent.amount,
            id: intent.id,
        });
        Ok(payments.collect())
    }

    /// A list of the provider's, page by page.
    async fn list_provider_objects<T: DeserializeOwned + PageItem>(
        &self,
        path: &str,
    ) -> Result<Vec<T>, CollectError> {
        let mut all: Vec<T> = Vec::new();
        loop {
            let url = format!("{}{path}?limit=100", self.payment_api_url);
            let mut request = self.http.get(url).bearer_auth("sk_test_books");
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

    async fn mails(&self) -> Result<Vec<OrderMail>, CollectError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct SentMail {
            subject: String,
            body_text: String,
        }
        let sent: BTreeMap<String, Vec<SentMail>> =
            self.ministack_messages("/_ministack/ses/messages").await?;
        let mail = |sent: SentMail| OrderMail {
            order_id: sent
                .body_text
                .split_whitespace()
                .find_map(|word| word.parse().ok()),
            kind: if sent.subject.contains("is complete") {
                MailKind::Completed
            } else if sent.body_text.contains("You have not been charged") {
                MailKind::Failed
            } else {
                MailKind::FailedAndRefunded
            },
        };
        Ok(sent.into_values().flatten().map(mail).collect())
    }

    /// Every queue's messages, without receiving them.
    pub(super) async fn queue_messages(&self) -> Result<BTreeMap<String, Vec<String>>, CollectError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Message {
            body: String,
        }
        // By account, region and the queue's URL.
        type Queues = BTreeMap<String, BTreeMap<String, BTreeMap<String, Vec<Message>>>>;
        let accounts: Queues = self.ministack_messages("/_ministack/sqs/messages").await?;
        let queues = accounts.into_values().flat_map(BTreeMap::into_values).flatten();
        let named = queues.map(|(url, messages)| {
            let name = url.rsplit('/').next().unwrap_or_default().to_owned();
            (name, messages.into_iter().map(|message| message.body).collect())
        });
        Ok(named.collect())
    }

    /// What the local AWS shows to those who test with it.
    async fn ministack_messages<T: DeserializeOwned>(&self, path: &str) -> Result<T, CollectError> {
        let answer = self
            .http
            .get(format!("{}{path}", self.aws_endpoint_url))
            .send()
            .await?;
        let mut answer: Value = answer.error_for_status()?.json().await?;
        serde_json::from_value(answer["messages"].take())
            .map_err(|error| invalid_data("what the local AWS shows", error))
    }

    /// Runs of the saga, all or those in one status.
    pub(super) async fn executions(
        &self,
        status: Option<aws_sdk_sfn::types::ExecutionStatus>,
    ) -> Result<Vec<SagaExecution>, CollectError> {
        let machines = self
            .step_functions
            .list_state_machines()
            .send()
            .await
            .map_err(aws_error)?;
        let saga = machines
            .state_machines
            .into_iter()
            .find(|machine| machine.name == "order-saga")
            .ok_or_else(|| CollectError::Aws("there is no state machine order-saga".to_owned()))?;
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

impl ObservedEvent {
    /// Reads an event as EventBridge hands it to a queue; none if it is not one of ours.
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

fn invalid_data(what: &'static str, error: impl std::error::Error + Send + Sync + 'static) -> CollectError {
    CollectError::InvalidData {
        what,
        source: Box::new(error),
    }
}
