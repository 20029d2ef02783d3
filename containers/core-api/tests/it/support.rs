//! The program as a test has it: everything real but the bus, which nothing is handed to, so that the events
//! stay in their outboxes.

use std::{cell::RefCell, fmt::Display};

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType},
};
use core_api::{
    accounts::AccountStatusCache,
    carts::Carts,
    catalog::Catalog,
    dynamodb,
    http::{self, AppState},
    order_service::OrderService,
    rate_limit::RateLimiter,
};
use domain::{Clock, UserId, ids::uuid_v7};
use event_publishing::{ParkingQueue, PostgresOutbox, Publisher, Relay};
use events::OutboxEvent;
use http_server::TrustedProxies;
use orders::{Orders, Tables};
use reqwest::{Method, RequestBuilder, header::HeaderName};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sqlx::PgPool;
use tokens::Role;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, SemaphorePermit},
};
use tokio_util::sync::CancellationToken;
use users::Users;
use uuid::Uuid;

use crate::authentication::{self, TestUser};

pub struct TestApp {
    pub pool: PgPool,
    pub orders: Orders,
    pub admin_token: String,
    pub users: Users,
    pub carts: Carts,
    pub sessions_table: String,
    pub dynamo: Client,
    outbox_table: String,
    base_url: String,
    http: reqwest::Client,
}

/// What a test may have otherwise.
pub struct TestAppConfig {
    pub clock: Clock,
    pub rate_limiter: RateLimiter,
    pub trusted_proxies: TrustedProxies,
    /// Where DynamoDB is as the program sees it, if not where it is.
    pub dynamodb_url: Option<String>,
}

/// What the program is to trust.
pub fn trusted_proxies(proxies: &[&str]) -> TrustedProxies {
    let proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
    TrustedProxies::new(proxies, HeaderName::from_static("x-forwarded-for"))
}

impl Default for TestAppConfig {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            // A test is one address.
            rate_limiter: RateLimiter::new(100_000, None, Clock::system()).unwrap(),
            trusted_proxies: trusted_proxies(&["127.0.0.1"]),
            dynamodb_url: None,
        }
    }
}

/// For so many tests at once sqlx has connections: twenty for a whole program, and five for a test. More of them would wait
/// for each other's until one gives up; those that wait here hold one at most.
static TEST_SLOTS: Semaphore = Semaphore::const_new(3);

thread_local! {
    /// A test is a thread, and keeps its place until its end, also when it starts the program twice.
    static TEST_SLOT: RefCell<Option<SemaphorePermit<'static>>> = const { RefCell::new(None) };
}

async fn acquire_test_slot() {
    if TEST_SLOT.with_borrow(Option::is_none) {
        let place = TEST_SLOTS.acquire().await.unwrap();
        TEST_SLOT.set(Some(place));
    }
}

impl TestApp {
    pub async fn start(pool: PgPool) -> Self {
        Self::start_with_clock(pool, Clock::system()).await
    }

    /// The program with a clock of the test's own.
    pub async fn start_with_clock(pool: PgPool, clock: Clock) -> Self {
        let setting = TestAppConfig {
            clock,
            ..TestAppConfig::default()
        };
        Self::start_with_config(pool, setting).await
    }

    /// The program in a setting of the test's own.
    pub async fn start_with_config(pool: PgPool, setting: TestAppConfig) -> Self {
        acquire_test_slot().await;
        let TestAppConfig {
            clock,
            rate_limiter: limits,
            trusted_proxies: proxies,
            dynamodb_url: dynamodb,
        } = setting;
        let aws = aws_client::sdk_config().await;
        let dynamo = Client::new(&aws);
        let seen = match dynamodb {
            Some(url) => Client::from_conf(dynamodb::config_builder(&aws).endpoint_url(url).build()),
            None => dynamodb::client(&aws),
        };
        let tables = create_order_tables(&dynamo, &clock).await;
        let outbox = tables.outbox.clone();
        let sessions = create_sessions_table(&dynamo, &clock).await;
        let carts = Carts::new(seen.clone(), &sessions, clock.clone());
        let users = Users::new(pool.clone(), clock.clone());
        let orders = Orders::new(seen, tables, clock.clone());

        // The relays are dropped, not run: what is handed to them stays where it is.
        let publisher = Publisher::new(aws_sdk_eventbridge::Client::new(&aws), "unused");
        let parking = ParkingQueue::new(aws_sdk_sqs::Client::new(&aws), "unused");
        let (_, product_events) = Relay::new(
            PostgresOutbox::new(pool.clone()),
            publisher.clone(),
            parking.clone(),
            clock.clone(),
        );
        let (_, order_events) = Relay::new(orders.outbox().clone(), publisher, parking, clock.clone());
        let catalogue = Catalog::new(pool.clone(), product_events, clock.clone());
        let checkout = OrderService::new(catalogue.clone(), orders.clone(), order_events);
        let verifier = authentication::verifier(clock.clone());
        let app = AppState {
            carts: carts.clone(),
            catalog: catalogue,
            order_service: checkout,
            rate_limiter: limits,
            orders: orders.clone(),
            trusted_proxies: proxies,
            account_status: AccountStatusCache::new(users.clone()),
            users: users.clone(),
            verifier,
        };

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let router = http_server::with_common_middleware(http::routes(app), clock);
        tokio::spawn(http_server::serve_connections(
            listener,
            router,
            CancellationToken::new(),
        ));
        let admin = TestUser::admin().register(&pool).await.token();
        Self {
            pool,
            orders,
            admin_token: admin,
            users,
            carts,
            sessions_table: sessions,
            dynamo,
            outbox_table: outbox,
            base_url: origin,
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

    /// A customer with an account.
    pub async fn customer(&self) -> TestUser {
        new_customer().register(&self.pool).await
    }

    /// Somebody with an account and this role.
    pub async fn user_with_role(&self, role: Role) -> TestUser {
        TestUser::with_role(role).register(&self.pool).await
    }

    /// Has so many pieces of a product in stock.
    pub async fn set_stock(&self, product: &str, pieces: i64) {
        sqlx::query(
            "INSERT INTO stock (product_id, quantity, reserved, updated_at) VALUES ($1, $2, 0, now())
             ON CONFLICT (product_id) DO UPDATE SET quantity = $2",
        )
        .bind(product.parse::<Uuid>().unwrap())
        .bind(pieces)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// Adds a product and gives its id.
    pub async fn create_product(&self, name: &str, price: i64) -> String {
        self.create_product_with(
            json!({"name": name, "description": "", "price": price, "category": "tea-ware"}),
        )
        .await
    }

    pub async fn create_product_with(&self, details: Value) -> String {
        let answer = self
            .post("/v1/products")
            .bearer_auth(&self.admin_token)
            .json(&details)
            .fetch()
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body_str("id")
    }

    /// A request for an order that is right in all but what the test changes of it.
    pub fn order_request(&self, token: &str, key: &str, body: &Value) -> RequestBuilder {
        self.post("/v1/orders")
            .bearer_auth(token)
            .header("Idempotency-Key", key)
            .json(body)
    }

    /// The events that wait in the catalogue's outbox, oldest first.
    pub async fn product_outbox_events(&self) -> Vec<(String, Value)> {
        read_product_outbox(&self.pool).await
    }

    /// The events that wait in the orders' outbox, oldest first.
    pub async fn order_outbox_events(&self) -> Vec<(String, Value)> {
        read_order_outbox(&self.dynamo, &self.outbox_table).await
    }
}

/// The types and details of the events that wait in a database, oldest first.
pub async fn read_product_outbox(pool: &PgPool) -> Vec<(String, Value)> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT detail_type, detail FROM event_outbox ORDER BY event_id")
            .fetch_all(pool)
            .await
            .unwrap();
    rows.into_iter()
        .map(|(kind, detail)| (kind, serde_json::from_str(&detail).unwrap()))
        .collect()
}

/// The types and details of the events that wait in a table, oldest first.
pub async fn read_order_outbox(dynamo: &Client, table: &str) -> Vec<(String, Value)> {
    let scan = dynamo
        .scan()
        .table_name(table)
        .consistent_read(true)
        .send()
        .await
        .unwrap();
    let mut events: Vec<OutboxEvent> = serde_dynamo::from_items(scan.items.unwrap()).unwrap();
    events.sort_by_key(|event| event.event_id);
    events
        .into_iter()
        .map(|event| (event.detail_type, serde_json::from_str(&event.detail).unwrap()))
        .collect()
}

/// What came back, as a snapshot shows it.
#[derive(Debug, Serialize)]
pub struct TestResponse {
    pub status: u16,
    pub headers: Map<String, Value>,
    pub body: Value,
}

impl TestResponse {
    /// A text of the body.
    pub fn body_str(&self, member: &str) -> String {
        self.body[member]
            .as_str()
            .unwrap_or_else(|| panic!("no {member} in {self:?}"))
            .to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].as_str().unwrap()
    }

    /// A problem on one line: status, type, and what is wrong where.
    pub fn problem(&self) -> String {
        let slug = self.body["type"].as_str().unwrap_or_default();
        let slug = slug
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
    /// Sends it and reads the whole answer.
    async fn fetch(self) -> TestResponse;
}

impl RequestBuilderExt for RequestBuilder {
    async fn fetch(self) -> TestResponse {
        let response = self.send().await.unwrap();
        let told = [
            "allow",
            "cart-token",
            "content-type",
            "etag",
            "location",
            "retry-after",
            "www-authenticate",
        ];
        let headers = told
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

/// Tables of a test's own.
pub async fn create_order_tables(client: &Client, clock: &Clock) -> Tables {
    let name = |table: &str| format!("{table}-{}", uuid_v7(clock.now()));
    let tables = Tables {
        orders: name("orders"),
        outbox: name("outbox"),
        idempotency: name("idempotency"),
    };
    create_table(client, &tables.orders, &["user_id", "order_id"]).await;
    create_table(client, &tables.outbox, &["event_id"]).await;
    create_table(client, &tables.idempotency, &["id"]).await;
    tables
}

/// A table of sessions of a test's own.
pub async fn create_sessions_table(client: &Client, clock: &Clock) -> String {
    let name = format!("sessions-{}", uuid_v7(clock.now()));
    create_table(client, &name, &["session_id"]).await;
    name
}

async fn create_table(client: &Client, table: &str, keys: &[&str]) {
    let mut request = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest);
    for (key, kind) in keys.iter().zip([KeyType::Hash, KeyType::Range]) {
        let text = AttributeDefinition::builder()
            .attribute_name(*key)
            .attribute_type(ScalarAttributeType::S);
        let schema = KeySchemaElement::builder().attribute_name(*key).key_type(kind);
        request = request
            .attribute_definitions(text.build().unwrap())
            .key_schema(schema.build().unwrap());
    }
    request.send().await.unwrap();
}

/// A customer that nobody else is, and who has no account yet.
pub fn new_customer() -> TestUser {
    TestUser::customer(UserId::new(Clock::system().now()))
}
