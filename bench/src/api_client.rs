//! A client of the HTTP APIs: creates products, stock and customers, and places orders.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use domain::{Timestamp, UserId, ids::uuid_v7};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokens::Role;
use tokio::time::{Instant, sleep};

use crate::context::Context;

/// How long stock-service may take to process the `ProductCreated` event.
const STOCK_RECORD_TIMEOUT: Duration = Duration::from_secs(60);

/// A request that takes longer counts as failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug)]
pub struct ApiClient {
    context: Context,
    http: Client,
}

#[derive(Clone, Debug)]
pub struct Customer {
    pub id: UserId,
    token: String,
}

/// The response to an order request.
#[derive(Clone, Debug)]
pub struct OrderResponse {
    pub status: StatusCode,
    /// `None` when the order was not accepted.
    pub order_id: Option<String>,
    pub received_at: Timestamp,
}

impl ApiClient {
    /// # Errors
    /// Fails when the HTTP client cannot be built.
    pub fn new(context: &Context) -> anyhow::Result<Self> {
        let http = Client::builder().no_proxy().timeout(REQUEST_TIMEOUT).build()?;
        Ok(Self {
            context: context.clone(),
            http,
        })
    }

    /// Creates a product with `quantity` units of stock and returns its id.
    ///
    /// # Errors
    /// Fails when core-api or stock-service rejects a request, or stock-service does not process the event in
    /// time.
    pub async fn create_product(&self, quantity: u64) -> anyhow::Result<String> {
        let now = self.context.clock.now();
        let product = json!({
            "name": "Bench lantern", "description": "A product of the benchmarks.", "price": 1000,
            "category": "festival-supplies",
        });
        let request = self
            .http
            .post(format!("{}/v1/products", self.context.addresses.core_api))
            .bearer_auth(self.context.new_user_token(Role::Admin).await?)
            .json(&product);
        let (_, product) = send_json(request).await?;
        let id = product["id"].as_str().context("a product has no id")?.to_owned();

        // core-api publishes ProductCreated, and stock-service then creates the stock row.
        let deadline = Instant::now() + STOCK_RECORD_TIMEOUT;
        while self.stock_level(&id).await.is_err() {
            ensure!(
                Instant::now() < deadline,
                "stock-service did not create the stock of product {id} in time"
            );
            sleep(Duration::from_millis(100)).await;
        }
        let adjustment = json!({"adjustment_id": uuid_v7(now), "delta": quantity, "reason": "initial stock"});
        let path = format!("/v1/stock/{id}/adjustments");
        let request = self
            .http
            .post(format!("{}{path}", self.context.addresses.stock_service))
            .bearer_auth(self.context.service_token()?)
            .json(&adjustment);
        send_json(request).await?;
        Ok(id)
    }

    /// Returns the quantity and the reserved quantity of a product.
    ///
    /// # Errors
    /// Fails when stock-service does not know the product.
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
    /// Fails when the signing keys are missing or the account cannot be inserted.
    pub async fn create_customer(&self) -> anyhow::Result<Customer> {
        let user = self.context.create_user(Role::Customer).await?;
        Ok(Customer {
            id: user.id,
            token: user.issue_token(&self.context)?,
        })
    }

    /// Returns the URL that opens one WebSocket connection.
    ///
    /// # Errors
    /// Fails when core-api issues no ticket.
    pub async fn websocket_url_with_ticket(&self, customer: &Customer) -> anyhow::Result<String> {
        let request = self
            .http
            .post(format!("{}/v1/realtime/ticket", self.context.addresses.core_api))
            .bearer_auth(&customer.token);
        let (_, issued) = send_json(request).await?;
        let text = |field: &str| issued[field].as_str().context("a ticket has no URL or no ticket");
        Ok(format!("{}?ticket={}", text("url")?, text("ticket")?))
    }

    /// Orders one unit of a product.
    ///
    /// # Errors
    /// Fails when there is no response, or the response to an accepted order is invalid.
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
        let received_at = self.context.clock.now();
        let status = response.status();
        let order_id = if status.is_success() {
            let body: Value = response.json().await?;
            let order_id = body["order_id"].as_str().context("an accepted order has no id")?;
            Some(order_id.to_owned())
        } else {
            None
        };
        Ok(OrderResponse {
            status,
            order_id,
            received_at,
        })
    }

    /// Orders one unit of a product that is in stock. Returns the order's id and when the response arrived.
    ///
    /// # Errors
    /// Fails when the order is not accepted.
    pub async fn place_accepted_order(
        &self,
        customer: &Customer,
        product: &str,
    ) -> anyhow::Result<(String, Timestamp)> {
        let response = self.place_order(customer, product).await?;
        let id = response
            .order_id
            .with_context(|| format!("an order was not accepted: {}", response.status))?;
        Ok((id, response.received_at))
    }
}

/// Writes an HTTP/1.1 request that orders one unit of a product into `buffer`.
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

/// Sends a request and parses the response. Fails when the status is not a success.
async fn send_json(request: RequestBuilder) -> anyhow::Result<(StatusCode, Value)> {
    let response = request.send().await?.error_for_status()?;
    let status = response.status();
    Ok((status, response.json().await?))
}
