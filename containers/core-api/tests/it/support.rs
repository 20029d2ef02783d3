//! The test harness: core-api on a port of its own, with a database and tables per test. Everything is real
//! except the event bus: no relay runs, so events stay in their outboxes, where tests read them.

use std::fmt::Display;

use aws_sdk_dynamodb::Client;
use connections::ConnectionsTable;
use core_api::{
    accounts::AccountStatusCache,
    carts::Carts,
    catalog::Catalog,
    dynamodb,
    http::{self, AppState, Realtime},
    order_limits::{AccountLimits, OrderLimits},
    order_service::OrderService,
    phone_codes::PhoneCodes,
    rate_limit::RateLimiter,
    receipts::Receipts,
    unsubscribe_links::UnsubscribeLinks,
};
use domain::{Clock, ids::uuid_v7};
use dynamodb_table::testing::create_table;
use event_publishing::{CatalogOutbox, ParkingQueue, Publisher, Relay};
use events::OutboxEvent;
use http_server::{OriginSecrets, TrustedProxies};
use mail_suppressions::MailSuppressions;
use orders::{
    OrderPlacement, Orders, OrdersWithOutbox,
    testing::{OrderStores, OrderTables},
};
use receipts::ReceiptStore;
use reqwest::{Method, RequestBuilder, header::HeaderName};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use tokens::Role;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use unsubscribe::UnsubscribeKeys;
use users::Users;
use uuid::Uuid;

use crate::test_user::{self, TestUser};

/// The bucket of all tests' receipts. The tests that need it create it.
pub const RECEIPTS_BUCKET: &str = "receipts-of-core-api-tests";

/// core-api under test. It connects to the database with its role.
pub struct TestApp {
    /// For the test, with all rights.
    pub pool: PgPool,
    pub orders: Orders,
    pub store: OrdersWithOutbox,
    pub placement: OrderPlacement,
    pub admin_token: String,
    pub users: Users,
    pub carts: Carts,
    pub mail_suppressions: MailSuppressions,
    /// Its bucket is [`RECEIPTS_BUCKET`].
    pub receipts: ReceiptStore,
    pub connections: ConnectionsTable,
    pub sessions_table: String,
    /// The name of the queue from which sms-sender takes codes.
    pub sms_queue: String,
    pub dynamodb: Client,
    outbox_table: String,
    idempotency_table: String,
    base_url: String,
    http: reqwest::Client,
}

/// What a test can configure.
pub struct TestAppConfig {
    pub clock: Clock,
    pub rate_limiter: RateLimiter,
    pub trusted_proxies: TrustedProxies,
    pub required_origin_secrets: Option<OriginSecrets>,
    pub max_phone_codes_per_hour: u32,
    /// The DynamoDB endpoint that core-api uses, if not the real one.
    pub dynamodb_url: Option<String>,
    pub order_limits: OrderLimits,
}

pub fn trusted_proxies(proxies: &[&str]) -> TrustedProxies {
    let networks = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
    TrustedProxies::new(networks, HeaderName::from_static("x-forwarded-for"))
}

const UNLIMITED: AccountLimits = AccountLimits {
    max_units: u32::MAX,
    max_open_orders: None,
};

impl Default for TestAppConfig {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            // All requests of a test come from one IP address, so the limits are multiplied.
            rate_limiter: RateLimiter::new(100_000, None, Clock::system()).unwrap(),
            trusted_proxies: trusted_proxies(&["127.0.0.1"]),
            required_origin_secrets: None,
            max_phone_codes_per_hour: 500,
            dynamodb_url: None,
            order_limits: OrderLimits {
                verified: UNLIMITED,
                unverified: Some(UNLIMITED),
            },
        }
    }
}

impl TestApp {
    pub async fn start(pool: PgPool) -> Self {
        Self::start_with_clock(pool, Clock::system()).await
    }

    pub async fn start_with_clock(pool: PgPool, clock: Clock) -> Self {
        let config = TestAppConfig {
            clock,
            ..TestAppConfig::default()
        };
        Self::start_with_config(pool, config).await
    }

    pub async fn start_with_config(pool: PgPool, config: TestAppConfig) -> Self {
        database::testing::acquire_test_slot().await;
        let TestAppConfig {
            clock,
            rate_limiter,
            trusted_proxies,
            required_origin_secrets,
            max_phone_codes_per_hour,
            dynamodb_url,
            order_limits,
        } = config;
        let aws = aws_client::sdk_config().await;
        let dynamodb = Client::new(&aws);
        let app_dynamodb = match dynamodb_url {
            Some(url) => Client::from_conf(dynamodb::config_builder(&aws).endpoint_url(url).build()),
            None => dynamodb::client(&aws),
        };
        let tables = OrderTables::create(&aws).await;
        let (outbox_table, idempotency_table) = (tables.outbox.clone(), tables.idempotency.clone());
        let sessions_table = create_table(&aws, &["session_id"]).await;
        let realtime = Realtime {
            table: ConnectionsTable::new(
                app_dynamodb.clone(),
                create_table(&aws, &["connection_id"]).await,
                clock.clone(),
            ),
            websocket_api_url: "wss://realtime.test/live".parse().unwrap(),
        };
        let connections = realtime.table.clone();
        let carts = Carts::new(app_dynamodb.clone(), &sessions_table, clock.clone());
        let suppressions_table = create_table(&aws, &["address_digest"]).await;
        let mail_suppressions =
            MailSuppressions::new(app_dynamodb.clone(), suppressions_table, clock.clone());
        let users = Users::new(pool.clone(), clock.clone());
        let OrderStores {
            orders,
            store,
            placement,
        } = tables.open(app_dynamodb, clock.clone());
        let app_pool = database::testing::pool_of_role(&pool, database::Role::CoreApi);
        let app_users = Users::new(app_pool.clone(), clock.clone());

        // The relays are dropped instead of run, so that events stay in the outboxes.
        let publisher = Publisher::new(aws_sdk_eventbridge::Client::new(&aws), "unused");
        let parking_queue = ParkingQueue::new(aws_sdk_sqs::Client::new(&aws), "unused");
        let (_, product_outbox) = Relay::new(
            CatalogOutbox::new(app_pool.clone()),
            publisher.clone(),
            parking_queue.clone(),
            clock.clone(),
        );
        let (_, order_outbox) = Relay::new(store.outbox.clone(), publisher, parking_queue, clock.clone());
        let catalog = Catalog::new(app_pool, product_outbox, clock.clone());
        let order_service = OrderService::new(
            catalog.clone(),
            store.clone(),
            placement.clone(),
            order_outbox,
            order_limits,
        );
        let sms_queue = format!("sms-{}", uuid_v7(clock.now()));
        let created = aws_sdk_sqs::Client::new(&aws)
            .create_queue()
            .queue_name(&sms_queue);
        created.send().await.unwrap();
        let receipts = ReceiptStore::new(&aws, RECEIPTS_BUCKET.to_owned(), None);
        let verifier = test_user::verifier(clock.clone());
        let app = AppState {
            carts: carts.clone(),
            catalog,
            order_service,
            rate_limiter,
            receipts: Receipts::new(orders.clone(), receipts.clone(), clock.clone()),
            orders: orders.clone(),
            realtime,
            trusted_proxies,
            required_origin_secrets,
            account_status: AccountStatusCache::new(app_users.clone()),
            mail_suppressions: mail_suppressions.clone(),
            phone_codes: PhoneCodes::new(
                app_users.clone(),
                aws_sdk_sqs::Client::new(&aws),
                sms_queue.clone(),
                max_phone_codes_per_hour,
                clock.clone(),
            ),
            unsubscribe_links: unsubscribe_links(&aws, &clock).await,
            users: app_users,
            verifier,
        };

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let router = http_server::with_common_middleware(http::routes(app), clock);
        tokio::spawn(http_server::serve_connections(
            listener,
            router,
            CancellationToken::new(),
        ));
        let admin_token = TestUser::admin().register(&pool).await.token();
        Self {
            pool,
            orders,
            store,
            placement,
            admin_token,
            users,
            carts,
            mail_suppressions,
            receipts,
            connections,
            sessions_table,
            sms_queue,
            dynamodb,
            outbox_table,
            idempotency_table,
            base_url,
            http: reqwest::Client::new(),
        }
    }

    pub fn request(&self, method: Method, path: impl Display) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base_url))
    }

    pub fn get(&self, path: impl Display) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: impl Display) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    pub fn put(&self, path: impl Display) -> RequestBuilder {
        self.request(Method::PUT, path)
    }

    pub fn patch(&self, path: impl Display) -> RequestBuilder {
        self.request(Method::PATCH, path)
    }

    pub fn delete(&self, path: impl Display) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    /// A new customer with an account.
    pub async fn customer(&self) -> TestUser {
        TestUser::customer().register(&self.pool).await
    }

    /// A new user with an account and this role.
    pub async fn user_with_role(&self, role: Role) -> TestUser {
        TestUser::with_role(role).register(&self.pool).await
    }

    pub async fn set_stock(&self, product: &str, quantity: i64) {
        sqlx::query(
            "INSERT INTO inventory.stock (product_id, quantity, reserved, updated_at) VALUES ($1, $2, 0, now())
             ON CONFLICT (product_id) DO UPDATE SET quantity = $2",
        )
        .bind(product.parse::<Uuid>().unwrap())
        .bind(quantity)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// Creates a product through the API and returns its id.
    pub async fn create_product(&self, name: &str, price: i64) -> String {
        self.create_product_with(
            json!({"name": name, "description": "", "price": price, "category": "tea-ware"}),
        )
        .await
    }

    pub async fn create_product_with(&self, product: Value) -> String {
        let response = self
            .post("/v1/products")
            .bearer_auth(&self.admin_token)
            .json(&product)
            .fetch()
            .await;
        assert_eq!(response.status, 201, "{response:?}");
        response.body_str("id")
    }

    /// A request to place an order. The test may change it before it sends it.
    pub fn order_request(&self, token: &str, key: &str, body: &Value) -> RequestBuilder {
        self.post("/v1/orders")
            .bearer_auth(token)
            .header("Idempotency-Key", key)
            .json(body)
    }

    /// Type and detail of the events in the catalog's outbox, oldest first.
    pub async fn product_outbox_events(&self) -> Vec<(String, Value)> {
        read_product_outbox(&self.pool).await
    }

    /// Deletes all idempotency records, as DynamoDB does after 24 hours.
    pub async fn expire_idempotency_records(&self) {
        let scan = self.dynamodb.scan().table_name(&self.idempotency_table);
        let mut records = scan.consistent_read(true).into_paginator().items().send();
        while let Some(record) = records.next().await {
            let delete = self.dynamodb.delete_item().table_name(&self.idempotency_table);
            let id = record.unwrap()["id"].clone();
            delete.key("id", id).send().await.unwrap();
        }
    }

    /// Type and detail of the events in the orders' outbox, oldest first.
    pub async fn order_outbox_events(&self) -> Vec<(String, Value)> {
        read_order_outbox(&self.dynamodb, &self.outbox_table).await
    }
}

/// The keys of the unsubscribe links that the tests use.
pub fn unsubscribe_keys() -> UnsubscribeKeys {
    UnsubscribeKeys::parse(&UNSUBSCRIBE_KEY.to_owned().into()).unwrap()
}

const UNSUBSCRIBE_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Creates a secret with the key for one test.
async fn unsubscribe_links(aws: &aws_client::SdkConfig, clock: &Clock) -> UnsubscribeLinks {
    let client = aws_sdk_secretsmanager::Client::new(aws);
    let name = format!("unsubscribe-keys-{}", uuid_v7(clock.now()));
    let secret = client.create_secret().name(&name).secret_string(UNSUBSCRIBE_KEY);
    secret.send().await.unwrap();
    UnsubscribeLinks::new(client, name, clock.clone())
}

/// Type and detail of the events in the catalog's outbox, oldest first.
pub async fn read_product_outbox(pool: &PgPool) -> Vec<(String, Value)> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT detail_type, detail FROM outbox.catalog_events ORDER BY event_id")
            .fetch_all(pool)
            .await
            .unwrap();
    rows.into_iter()
        .map(|(detail_type, detail)| (detail_type, serde_json::from_str(&detail).unwrap()))
        .collect()
}

/// Type and detail of the events in a DynamoDB outbox table, oldest first.
pub async fn read_order_outbox(dynamodb: &Client, table: &str) -> Vec<(String, Value)> {
    let scan = dynamodb.scan().table_name(table).consistent_read(true);
    let items: Vec<_> = scan.into_paginator().items().send().try_collect().await.unwrap();
    let mut events: Vec<OutboxEvent> = serde_dynamo::from_items(items).unwrap();
    events.sort_by_key(|event| event.event_id);
    events
        .into_iter()
        .map(|event| (event.detail_type, serde_json::from_str(&event.detail).unwrap()))
        .collect()
}

/// A whole response, with the headers that snapshots show.
#[derive(Debug, Serialize)]
pub struct TestResponse {
    pub status: u16,
    pub headers: Map<String, Value>,
    pub body: Value,
}

impl TestResponse {
    /// A string member of the body.
    pub fn body_str(&self, member: &str) -> String {
        self.body[member]
            .as_str()
            .unwrap_or_else(|| panic!("no {member} in {self:?}"))
            .to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].as_str().unwrap()
    }

    /// The problem document on one line: status, slug, and the JSON pointer and detail of each error.
    pub fn problem(&self) -> String {
        let problem_type = self.body["type"].as_str().unwrap_or("no type");
        let slug = problem_type
            .strip_prefix("https://matsuri.dev/problems/")
            .unwrap_or("NOT A PROBLEM");
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let mut line = format!("{} {slug}", self.status);
        for error in self.body["errors"].as_array().into_iter().flatten() {
            line += &format!(
                " {}: {}",
                error["pointer"].as_str().unwrap(),
                error["detail"].as_str().unwrap()
            );
        }
        line
    }
}

pub trait RequestBuilderExt {
    /// Sends the request and reads the whole response.
    async fn fetch(self) -> TestResponse;
}

impl RequestBuilderExt for RequestBuilder {
    async fn fetch(self) -> TestResponse {
        let response = self.send().await.unwrap();
        let shown_headers = [
            "allow",
            "cart-token",
            "content-type",
            "etag",
            "location",
            "retry-after",
            "www-authenticate",
        ];
        let headers = shown_headers
            .iter()
            .filter_map(|name| {
                Some((
                    (*name).to_owned(),
                    response.headers().get(*name)?.to_str().unwrap().into(),
                ))
            })
            .collect();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body = if text.is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).unwrap()
        };
        TestResponse {
            status,
            headers,
            body,
        }
    }
}
