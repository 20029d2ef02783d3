//! Test harness: a running stock-service with its own database and a test clock.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicI64, Ordering},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine as _, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use database::{Role, testing::pool_of_role};
use domain::{Clock, ProductId, Timestamp, ids::uuid_v7};
use event_publishing::{InventoryOutbox, ParkingQueue, Publisher, Relay};
use events::{EventContext, TraceParent};
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::{PgPool, Row};
use stock_service::{
    engine::Engine,
    expiry,
    http::{self, AppState},
    live_stock::LevelChanges,
};
use tokens::{ServiceSigningKey, ServiceTokenIssuer, TokenVerifier};
use tokio::net::TcpListener;
use uuid::Uuid;

pub const LOW_THRESHOLD: i64 = 10;

pub const ISSUER: &str = "https://services.test";
pub const AUDIENCE: &str = "test";

/// Key pair of all tests: private key, and JWKS.
static KEYS: LazyLock<(ServiceSigningKey, String)> = LazyLock::new(|| {
    let (private, public) = generate_key("k1");
    (private, json!({"keys": [public]}).to_string())
});

/// Generates a key pair: private key, and JWK.
pub fn generate_key(kid: &str) -> (ServiceSigningKey, Value) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let der = BASE64_STANDARD.encode(pair.to_pkcs8v1().unwrap().as_ref());
    let private = ServiceSigningKey {
        kid: kid.into(),
        private_key_pem: format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n").into(),
    };
    let public = json!({
        "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": kid,
        "x": BASE64_URL_SAFE_NO_PAD.encode(pair.public_key().as_ref()),
    });
    (private, public)
}

/// A clock that advances only on demand.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn now(&self) -> Timestamp {
        Timestamp::from_timestamp(self.0.load(Ordering::SeqCst), 0).unwrap()
    }

    pub fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn clock(&self) -> Clock {
        let clock = self.clone();
        Clock::from_fn(move || clock.now())
    }
}

/// A running stock-service, and an API client that calls it as another of our services.
#[derive(Clone)]
pub struct TestApp {
    /// For the test, with all rights.
    pub pool: PgPool,
    /// With the rights of stock-service.
    pub service_pool: PgPool,
    pub engine: Engine,
    pub level_changes: LevelChanges,
    pub clock: TestClock,
    base_url: String,
    client: reqwest::Client,
    token: String,
}

impl TestApp {
    /// Starts an instance on a database.
    pub async fn start(pool: &PgPool) -> Self {
        Self::start_with_clock(pool, TestClock(Arc::new(AtomicI64::new(1_800_000_000)))).await
    }

    /// Starts another instance on the same database and clock.
    pub async fn start_another(&self) -> Self {
        Self::start_with_clock(&self.pool, self.clock.clone()).await
    }

    async fn start_with_clock(pool: &PgPool, clock: TestClock) -> Self {
        database::testing::acquire_test_slot().await;
        let (key, jwks) = &*KEYS;
        let verifier = TokenVerifier::from_jwks(jwks, ISSUER, AUDIENCE, Clock::system()).unwrap();
        let token_issuer = ServiceTokenIssuer::new(key, ISSUER, AUDIENCE, "saga", Clock::system()).unwrap();

        let service_pool = pool_of_role(pool, Role::StockService);
        let level_changes = LevelChanges::default();
        let (engine, _) = start_engine(&service_pool, &clock, level_changes.clone());
        let app = AppState {
            engine: engine.clone(),
            pool: service_pool.clone(),
            clock: clock.clock(),
            verifier,
        };
        let router = http_server::with_common_middleware(http::routes(app), clock.clock());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self {
            pool: pool.clone(),
            service_pool,
            engine,
            level_changes,
            clock,
            base_url,
            client,
            token: token_issuer.token().unwrap(),
        }
    }

    /// The JWKS that verifies the tests' service tokens.
    pub fn jwks() -> &'static str {
        &KEYS.1
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base_url))
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    /// Returns a valid token with that role.
    pub fn token_with_role(&self, role: &str) -> String {
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA);
        header.kid = Some("k1".into());
        let now = Clock::system().now().timestamp();
        let claims = json!({"sub": new_id(), "role": role, "iss": ISSUER, "aud": AUDIENCE,
                            "iat": now, "exp": now + 60, "jti": new_id()});
        let key = jsonwebtoken::EncodingKey::from_ed_pem(KEYS.0.private_key_pem.expose_secret().as_bytes());
        jsonwebtoken::encode(&header, &claims, &key.unwrap()).unwrap()
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        send_and_parse(self.request(Method::GET, path).bearer_auth(&self.token)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        send_and_parse(
            self.request(Method::POST, path)
                .bearer_auth(&self.token)
                .json(&body),
        )
        .await
    }

    pub async fn reserve(&self, id: Uuid, lines: &[(ProductId, u32)]) -> (StatusCode, Value) {
        self.post(
            "/v1/reservations",
            json!({"reservation_id": id, "items": lines_json(lines)}),
        )
        .await
    }

    pub async fn reserve_for(
        &self,
        id: Uuid,
        lines: &[(ProductId, u32)],
        seconds: u32,
    ) -> (StatusCode, Value) {
        let items = lines_json(lines);
        let body = json!({"reservation_id": id, "items": items, "expires_in_seconds": seconds});
        self.post("/v1/reservations", body).await
    }

    pub async fn commit(&self, id: Uuid) -> (StatusCode, Value) {
        self.post(&format!("/v1/reservations/{id}/commit"), Value::Null)
            .await
    }

    pub async fn release(&self, id: Uuid) -> (StatusCode, Value) {
        self.post(&format!("/v1/reservations/{id}/release"), Value::Null)
            .await
    }

    pub async fn adjust(&self, product: ProductId, id: Uuid, delta: i64) -> (StatusCode, Value) {
        let body = json!({"adjustment_id": id, "delta": delta, "reason": "counted"});
        self.post(&format!("/v1/stock/{product}/adjustments"), body).await
    }

    pub async fn expire_due_reservations(&self) {
        expiry::expire_due_reservations(&self.engine, &self.service_pool, &self.clock.clock())
            .await
            .unwrap();
    }

    /// Creates a catalog product without a stock row.
    pub async fn create_product(&self) -> ProductId {
        let id = ProductId(new_id());
        self.insert_product(id).await;
        id
    }

    /// Inserts a product into the catalog.
    pub async fn insert_product(&self, id: ProductId) {
        sqlx::query(
            "INSERT INTO catalog.products
                 (id, name, description, price, currency, category, created_at, updated_at)
             VALUES ($1, 'A lantern', '', 1200, 'JPY', 'lanterns', now(), now())",
        )
        .bind(id.0)
        .execute(&self.pool)
        .await
        .unwrap();
    }

    /// Creates a product with that quantity in stock.
    pub async fn create_product_with_stock(&self, quantity: i64) -> ProductId {
        let id = self.create_product().await;
        assert_eq!(self.adjust(id, new_id(), quantity).await.0, StatusCode::CREATED);
        id
    }

    /// Returns quantity and reserved units.
    pub async fn stock_level(&self, product: ProductId) -> (i64, i64) {
        let (status, level) = self.get(&format!("/v1/stock/{product}")).await;
        assert_eq!(status, StatusCode::OK, "{level}");
        let (quantity, reserved) = (
            level["quantity"].as_i64().unwrap(),
            level["reserved"].as_i64().unwrap(),
        );
        assert_eq!(level["available"], quantity - reserved);
        (quantity, reserved)
    }

    /// Returns the outbox events of a type, oldest first. Tests delete no rows, so `ctid` is the insertion
    /// order.
    pub async fn events(&self, detail_type: &str) -> Vec<Value> {
        let rows =
            sqlx::query("SELECT detail FROM outbox.inventory_events WHERE detail_type = $1 ORDER BY ctid")
                .bind(detail_type)
                .fetch_all(&self.pool)
                .await
                .unwrap();
        rows.iter()
            .map(|row| serde_json::from_str(row.get("detail")).unwrap())
            .collect()
    }

    /// Asserts that every product's level equals the sum of its adjustments and reservations.
    pub async fn assert_consistent(&self) {
        let inconsistent = sqlx::query(
            "SELECT s.product_id, s.quantity, s.reserved FROM inventory.stock s
             WHERE s.quantity <> (SELECT coalesce(sum(a.delta), 0) FROM inventory.stock_adjustments a
                                  WHERE a.product_id = s.product_id AND a.applied)
                               - (SELECT coalesce(sum(i.quantity), 0)
                                  FROM inventory.reservation_items i
                                  JOIN inventory.reservations r USING (reservation_id)
                                  WHERE i.product_id = s.product_id AND r.status = 'committed')
                OR s.reserved <> (SELECT coalesce(sum(i.quantity), 0)
                                  FROM inventory.reservation_items i
                                  JOIN inventory.reservations r USING (reservation_id)
                                  WHERE i.product_id = s.product_id AND r.status = 'reserved')",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        assert!(
            inconsistent.is_empty(),
            "{} products have inconsistent levels",
            inconsistent.len()
        );
    }
}

/// Starts an engine without a running relay, so that its events stay in the outbox for the tests.
pub fn start_engine(
    pool: &PgPool,
    clock: &TestClock,
    level_changes: LevelChanges,
) -> (Engine, tokio::task::JoinHandle<()>) {
    let bus = aws_sdk_eventbridge::Config::builder()
        .behavior_version(aws_sdk_eventbridge::config::BehaviorVersion::latest())
        .build();
    let publisher = Publisher::new(aws_sdk_eventbridge::Client::from_conf(bus), "nowhere");
    let queues = aws_sdk_sqs::Config::builder()
        .behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest())
        .build();
    let parking = ParkingQueue::new(aws_sdk_sqs::Client::from_conf(queues), "nowhere");
    let outbox = InventoryOutbox::new(pool.clone());
    let (_, handle) = Relay::new(outbox, publisher, parking, clock.clock());
    Engine::start(pool, LOW_THRESHOLD, clock.clock(), handle, level_changes)
}

pub fn event_context(id: Uuid) -> EventContext {
    EventContext {
        correlation_id: id,
        causation_id: None,
        traceparent: TraceParent::root(Clock::system().now()),
    }
}

pub fn new_id() -> Uuid {
    uuid_v7(Clock::system().now())
}

pub fn lines_json(lines: &[(ProductId, u32)]) -> Value {
    lines
        .iter()
        .map(|(id, quantity)| json!({"product_id": id, "quantity": quantity}))
        .collect()
}

/// Returns the last segment of a problem's type.
pub fn problem_slug(problem: &Value) -> &str {
    problem["type"]
        .as_str()
        .and_then(|url| url.rsplit('/').next())
        .expect("a problem document has a type")
}

pub async fn send_and_parse(request: reqwest::RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
