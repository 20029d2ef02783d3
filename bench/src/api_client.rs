//! What figures do as customers do it: goods on sale, and orders by the public door.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::{Timestamp, ids::uuid_v7};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokens::Role;
use tokio::time::{Instant, sleep};

use crate::context::Context;

/// How long stock-service may take to hear of a new product.
const STOCK_RECORD_TIMEOUT: Duration = Duration::from_secs(60);

/// A request that waits longer counts as not answered.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The shop, seen from outside.
#[derive(Clone, Debug)]
pub struct ApiClient {
    context: Context,
    http: Client,
}

/// Somebody who buys.
#[derive(Clone, Debug)]
pub struct Customer {
    token: String,
}

/// An answer to an order.
#[derive(Clone, Debug)]
pub struct OrderResponse {
    /// Its status.
    pub status: StatusCode,
    /// The order's id, of one that was accepted.
    pub order_id: Option<String>,
    /// When the answer was there.
    pub received_at: Timestamp,
}

impl ApiClient {
    /// # Errors
    /// When no HTTP client can be made.
    pub fn new(context: &Context) -> anyhow::Result<Self> {
        let http = Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build()?;
        Ok(Self {
            context: context.clone(),
            http,
        })
    }

    /// Puts a new product on sale and returns its id.
    ///
    /// # Errors
    /// When the catalogue or stock-service refuses it, or the latter does not hear of it in time.
    pub async fn create_product(&self, pieces: u64) -> anyhow::Result<String> {
        let now = self.context.clock.now();
        let product = json!({
            "name": "Bench lantern", "description": "To be measured with.", "price": 1000, "category": "festival-goods",
        });
        let request = self
            .http
            .post(format!("{}/v1/products", self.context.addresses.core_api))
            .bearer_auth(self.context.new_user_token(Role::Admin).await?)
            .json(&product);
        let (_, product) = send_json(request).await?;
        let id = product["id"].as_str().context("a product has no id")?.to_owned();

        // core-api announces it, and stock-service makes room for it.
        let until = Instant::now() + STOCK_RECORD_TIMEOUT;
        while self.stock_level(&id).await.is_err() {
            ensure!(
                Instant::now() < until,
                "stock-service has not heard of a new product"
            );
            sleep(Duration::from_millis(100)).await;
        }
        let adjustment = json!({"adjustment_id": uuid_v7(now), "delta": pieces, "reason": "opening stock"});
        let path = format!("/v1/stock/{id}/adjustments");
        let request = self
            .http
            .post(format!("{}{path}", self.context.addresses.stock_service))
            .bearer_auth(self.context.service_token()?)
            .json(&adjustment);
        send_json(request).await?;
        Ok(id)
    }

    /// Pieces of a product that are in the house, and pieces that are set aside.
    ///
    /// # Errors
    /// When stock-service does not know it.
    pub async fn stock_level(&self, product: &str) -> anyhow::Result<(u64, u64)> {
        let request = self
            .http
            .get(format!(
                "{}/v1/stock/{product}",
                self.context.addresses.stock_service
            ))
            .bearer_auth(self.context.service_token()?);
        let (_, level) = send_json(request).await?;
        let number = |field: &str| {
            level[field]
                .as_u64()
                .with_context(|| format!("a stock level has no {field}"))
        };
        Ok((number("quantity")?, number("reserved")?))
    }

    /// # Errors
    /// When the instance has no keys, or takes no account.
    pub async fn create_customer(&self) -> anyhow::Result<Customer> {
        Ok(Customer {
            token: self.context.new_user_token(Role::Customer).await?,
        })
    }

    /// Orders a piece of a product.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn place_order(&self, customer: &Customer, product: &str) -> anyhow::Result<OrderResponse> {
        let body =
            json!({"items": [{"product_id": product, "quantity": 1}], "payment_method": "pm_card_visa"});
        let response = self
            .http
            .post(format!("{}/v1/orders", self.context.addresses.core_api))
            .bearer_auth(&customer.token)
            .header("idempotency-key", uuid_v7(self.context.clock.now()).to_string())
            .json(&body)
            .send()
            .await?;
        let at = self.context.clock.now();
        let status = response.status();
        let body: Value = response.json().await.unwrap_or_default();
        Ok(OrderResponse {
            status,
            order_id: body["order_id"].as_str().map(str::to_owned),
            received_at: at,
        })
    }

    /// Orders a piece of a product, of which there is enough. Returns the order's id and when it was accepted.
    ///
    /// # Errors
    /// When it is not accepted.
    pub async fn place_accepted_order(
        &self,
        customer: &Customer,
        product: &str,
    ) -> anyhow::Result<(String, Timestamp)> {
        let answer = self.place_order(customer, product).await?;
        let id = answer
            .order_id
            .with_context(|| format!("an order was not accepted: {}", answer.status))?;
        Ok((id, answer.received_at))
    }
}

/// Writes the order of a piece of a product, as HTTP/1.1, into `buffer`.
pub fn write_order_request(buffer: &mut Vec<u8>, context: &Context, customer: &Customer, product: &str) {
    let body =
        format!(r#"{{"items":[{{"product_id":"{product}","quantity":1}}],"payment_method":"pm_card_visa"}}"#);
    let request = format!(
        "POST /v1/orders HTTP/1.1\r\nhost: core-api\r\nauthorization: Bearer {}\r\nidempotency-key: {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        customer.token,
        uuid_v7(context.clock.now()),
        body.len(),
    );
    buffer.extend_from_slice(request.as_bytes());
}

/// Sends a request and reads the answer, which has to be a success.
async fn send_json(request: RequestBuilder) -> anyhow::Result<(StatusCode, Value)> {
    let response = request.send().await?.error_for_status()?;
    let status = response.status();
    Ok((status, response.json().await?))
}
