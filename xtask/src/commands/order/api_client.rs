//! Calls the public API as a new customer, and the internal APIs that an operator would inspect:
//! stock-service, the mailbox of the local AWS, and the payment provider simulator.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::timeline::{format_money, parse_timestamp_ms};
use crate::commands::token;
use crate::environment::Addresses;
use crate::http;
use crate::instance::Instance;

const CUSTOMER_NAME: &str = "Hanako";

/// A client that is signed in as a new customer.
#[derive(Debug)]
pub struct ApiClient<'a> {
    addresses: &'a Addresses,
    /// The customer's e-mail address.
    pub email: String,
    customer_token: String,
    service_token: String,
}

/// A product of the catalog.
#[derive(Debug)]
pub struct Product {
    pub id: String,
    /// In English.
    pub name: String,
    /// Empty if the product has no Japanese translation.
    pub japanese_name: String,
}

/// The stock of a product, in units.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Stock {
    /// All units, including the reserved ones.
    pub quantity: i64,
    pub reserved: i64,
}

/// An order, as the API returns it.
#[derive(Debug, Deserialize)]
pub struct Order {
    pub order_id: String,
    pub status: String,
    /// Why the order failed.
    pub reason: Option<String>,
    pub currency: String,
    /// In minor units.
    pub total_amount: i64,
    /// All statuses, oldest first; absent in the response to `POST /v1/orders`.
    #[serde(default)]
    pub history: Vec<StatusChange>,
    /// What the customer must do before the payment is charged.
    pub next_action: Option<NextAction>,
}

/// An action that the payment requires of the customer, such as 3D Secure.
#[derive(Debug, Deserialize)]
pub struct NextAction {
    /// The page of the customer's bank. The payment provider simulator always has one.
    pub redirect_url: String,
    /// RFC 3339.
    pub expires_at: Value,
}

/// A change of an order's status.
#[derive(Debug, Deserialize)]
pub struct StatusChange {
    pub status: String,
    /// RFC 3339.
    pub at: Value,
}

impl Product {
    fn from_json(product: &Value) -> Result<Self> {
        let string_at = |pointer| {
            product
                .pointer(pointer)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        Ok(Self {
            id: string_at("/id").context("the API returned a product without id")?,
            name: string_at("/name").context("the API returned a product without name")?,
            japanese_name: string_at("/translations/ja/name").unwrap_or_default(),
        })
    }
}

impl<'a> ApiClient<'a> {
    /// Registers a new customer through the API gateway and signs in.
    ///
    /// # Errors
    /// When the API rejects the registration or the sign-in.
    pub fn sign_up(instance: &Instance, addresses: &'a Addresses) -> Result<Self> {
        let email = format!("{}@example.com", Uuid::new_v4());
        let password = Uuid::new_v4().to_string();
        let gateway_url = addresses.gateway_url();
        let registration = json!({ "email": email, "password": password, "name": CUSTOMER_NAME });
        post_json(&format!("{gateway_url}/v1/auth/register"), &[], &registration)
            .context("cannot register the customer")?;
        let credentials = json!({ "email": email, "password": password });
        let tokens = post_json(&format!("{gateway_url}/v1/auth/login"), &[], &credentials)
            .context("cannot sign the customer in")?;
        let access_token = tokens["access_token"].as_str();
        Ok(Self {
            addresses,
            customer_token: access_token
                .context("the login response has no access_token")?
                .to_owned(),
            service_token: token::for_service(instance, "xtask")?,
            email,
        })
    }

    /// Returns the selected product, or else a random one with enough stock.
    ///
    /// # Errors
    /// When the selected product does not exist, or the catalog is empty.
    pub fn choose_product(&self, selected: Option<Uuid>, quantity: u32) -> Result<Product> {
        let products_url = format!("{}/v1/products", self.addresses.gateway_url());
        if let Some(id) = selected {
            let product = http::get_json(&format!("{products_url}/{id}"), None);
            return Product::from_json(
                &product.with_context(|| format!("cannot read the product {id} from the catalog"))?,
            );
        }
        let page = http::get_json(&products_url, None)?;
        let mut products = page["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(Product::from_json)
            .collect::<Result<Vec<_>>>()?;
        let offset = usize::from(Uuid::new_v4().into_bytes()[0]) % products.len().max(1);
        products.rotate_left(offset);
        let is_enough = |stock: Stock| stock.quantity - stock.reserved >= i64::from(quantity);
        let with_enough_stock = products
            .iter()
            .position(|product| self.stock(&product.id).is_ok_and(is_enough));
        // If no product has enough stock, any product demonstrates a declined order.
        products
            .into_iter()
            .nth(with_enough_stock.unwrap_or(0))
            .context("the catalog is empty")
    }

    /// Reads the stock of a product from stock-service.
    ///
    /// # Errors
    /// When stock-service does not respond, or does not know the product.
    pub fn stock(&self, product_id: &str) -> Result<Stock> {
        let url = format!("{}/v1/stock/{product_id}", self.addresses.stock_service_url());
        let stock = http::get_json(&url, Some(&self.service_token))?;
        serde_json::from_value(stock).with_context(|| format!("{url} returned no stock level"))
    }

    /// Places an order with a new idempotency key.
    ///
    /// # Errors
    /// When the API rejects the order; the error holds the reason.
    pub fn place_order(&self, product: &Product, quantity: u32, payment_method: &str) -> Result<Order> {
        let url = format!("{}/v1/orders", self.addresses.gateway_url());
        let items = json!([{ "product_id": product.id, "quantity": quantity }]);
        let headers = [
            ("authorization", format!("Bearer {}", self.customer_token)),
            ("idempotency-key", Uuid::new_v4().to_string()),
        ];
        let order = post_json(
            &url,
            &headers,
            &json!({ "items": items, "payment_method": payment_method }),
        )
        .context("the API rejected the order")?;
        serde_json::from_value(order).with_context(|| format!("{url} returned no order"))
    }

    /// Reads an order.
    ///
    /// # Errors
    /// When the API does not respond with an order.
    pub fn order(&self, order_id: &str) -> Result<Order> {
        let url = format!("{}/v1/orders/{order_id}", self.addresses.gateway_url());
        let order = http::get_json(&url, Some(&self.customer_token))?;
        serde_json::from_value(order).with_context(|| format!("{url} returned no order"))
    }

    /// Finds the order mail in the mailbox of the local AWS: its time, in milliseconds since 1970, and its
    /// subject.
    ///
    /// # Errors
    /// When the local AWS does not respond.
    pub fn find_mail(&self, order_id: &str) -> Result<Option<(i64, String)>> {
        let mailbox = http::get_json(
            &format!("{}/_ministack/ses/messages", self.addresses.aws_endpoint_url()),
            None,
        )?;
        let mails = mailbox["messages"]
            .as_object()
            .into_iter()
            .flat_map(|accounts| accounts.values());
        let is_order_mail = |mail: &&Value| {
            mail["To"]
                .as_array()
                .is_some_and(|recipients| recipients.contains(&json!(self.email)))
                && mail["BodyText"]
                    .as_str()
                    .is_some_and(|text| text.contains(order_id))
        };
        Ok(mails
            .filter_map(Value::as_array)
            .flatten()
            .find(is_order_mail)
            .and_then(|mail| {
                let subject = mail["Subject"].as_str().unwrap_or("(no subject)");
                Some((parse_timestamp_ms(&mail["Timestamp"])?, subject.to_owned()))
            }))
    }

    /// Describes what the payment provider simulator has recorded for an order.
    ///
    /// # Errors
    /// When the payment provider does not respond as expected.
    pub fn describe_payment(&self, order_id: &str) -> Result<String> {
        let list = |resource: &str| {
            let url = format!(
                "{}/v1/{resource}?limit=100",
                self.addresses.payment_provider_url()
            );
            http::get_json(&url, Some("sk_test_local"))
        };
        let payment_intents = list("payment_intents")?;
        let is_of_order = |intent: &&Value| intent["metadata"]["order_id"] == order_id;
        let Some(intent) = payment_intents["data"]
            .as_array()
            .into_iter()
            .flatten()
            .find(is_of_order)
        else {
            return Ok("nothing was charged".to_owned());
        };
        let member = |name: &str| {
            let text = intent[name].as_str();
            text.with_context(|| format!("the payment provider returned a payment intent without {name}"))
        };
        let id = member("id")?;
        let amount = intent["amount"].as_i64();
        let amount = amount.context("the payment provider returned a payment intent without amount")?;
        let amount = format_money(amount, &member("currency")?.to_uppercase());
        let refunds = list("refunds")?;
        let is_refunded = refunds["data"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|refund| refund["payment_intent"] == id);
        Ok(match member("status")? {
            "succeeded" if is_refunded => format!("{amount} paid and refunded ({id})"),
            "succeeded" => format!("{amount} paid ({id})"),
            _ => format!("nothing was charged ({id})"),
        })
    }
}

/// Posts JSON and returns the JSON response; for other statuses than 2xx, the error holds the problem
/// details.
fn post_json(url: &str, headers: &[(&str, String)], body: &Value) -> Result<Value> {
    let mut request = http::client().post(url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let mut response = request
        .send_json(body)
        .with_context(|| format!("no response from {url}"))?;
    let status = response.status();
    let content: Value = response
        .body_mut()
        .read_json()
        .with_context(|| format!("{url} responded with {status}, but not with JSON"))?;
    if !status.is_success() {
        let errors = content["errors"].as_array().into_iter().flatten();
        let details: Vec<&str> = [&content["title"], &content["detail"], &content["message"]]
            .into_iter()
            .chain(errors.map(|error| &error["detail"]))
            .filter_map(Value::as_str)
            .collect();
        bail!("{status}: {}", details.join(" "));
    }
    Ok(content)
}
