//! The shop and the world around it, as one new customer and the curious person behind him see them.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use uuid::Uuid;

use super::timeline::{format_money, parse_timestamp_ms};
use crate::commands::token;
use crate::environment::Addresses;
use crate::http;
use crate::instance::Instance;

/// How the customer wants to be called.
const CUSTOMER_NAME: &str = "Hanako";

/// One customer in front of the shop.
#[derive(Debug)]
pub struct ApiClient<'a> {
    addresses: &'a Addresses,
    /// Who it is.
    pub email: String,
    customer_token: String,
    service_token: String,
}

/// What is bought.
#[derive(Debug)]
pub struct Product {
    /// The product's id.
    pub id: String,
    /// Its English name.
    pub name: String,
    /// Its Japanese name, where it has one.
    pub japanese_name: String,
}

/// Pieces in the house, and those of them that are promised to somebody.
#[derive(Debug, Clone, Copy)]
pub struct Stock {
    /// In the house.
    pub quantity: i64,
    /// Promised.
    pub reserved: i64,
}

impl Product {
    fn from_json(product: &Value) -> Self {
        let text = |pointer| {
            product
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            id: text("/id"),
            name: text("/name"),
            japanese_name: text("/translations/ja/name"),
        }
    }
}

impl<'a> ApiClient<'a> {
    /// Enters the shop by the front door, as a customer whom nobody has seen before: registers and signs in.
    ///
    /// # Errors
    /// When the front door does not let them in.
    pub fn sign_up(instance: &Instance, addresses: &'a Addresses) -> Result<Self> {
        let email = format!("{}@example.com", Uuid::new_v4());
        let password = Uuid::new_v4().to_string();
        let door = addresses.gateway_url();
        let person = json!({ "email": email, "password": password, "name": CUSTOMER_NAME });
        post_json(&format!("{door}/v1/auth/register"), &[], &person)
            .context("the customer is not taken in")?;
        let person = json!({ "email": email, "password": password });
        let tokens = post_json(&format!("{door}/v1/auth/login"), &[], &person)
            .context("the customer cannot sign in")?;
        let token = tokens["access_token"].as_str();
        Ok(Self {
            addresses,
            customer_token: token.context("the customer got no token")?.to_owned(),
            service_token: token::for_service(instance, "xtask")?,
            email,
        })
    }

    /// The product that the person names, else any one of which there is enough.
    ///
    /// # Errors
    /// When there is no such product, or none at all.
    pub fn choose_product(&self, wanted: Option<Uuid>, quantity: u32) -> Result<Product> {
        let catalogue = format!("{}/v1/products", self.addresses.gateway_url());
        if let Some(id) = wanted {
            let product = http::get_json(&format!("{catalogue}/{id}"), None);
            return Ok(Product::from_json(
                &product.with_context(|| format!("the catalogue has no product {id}"))?,
            ));
        }
        let page = http::get_json(&catalogue, None)?;
        let mut products: Vec<Product> = page["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(Product::from_json)
            .collect();
        let somewhere = usize::from(Uuid::new_v4().into_bytes()[0]) % products.len().max(1);
        products.rotate_left(somewhere);
        let is_enough = |stock: Stock| stock.quantity - stock.reserved >= i64::from(quantity);
        let enough = products
            .iter()
            .position(|product| self.stock(&product.id).is_ok_and(is_enough));
        // Where nobody has that many, any product shows how the order is refused.
        products
            .into_iter()
            .nth(enough.unwrap_or_default())
            .context("the catalogue is empty")
    }

    /// What stock-service knows of a product.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn stock(&self, product: &str) -> Result<Stock> {
        let url = format!("{}/v1/stock/{product}", self.addresses.stock_service_url());
        let level = http::get_json(&url, Some(&self.service_token))?;
        let number = |name: &str| {
            level[name]
                .as_i64()
                .with_context(|| format!("{url} tells no {name}"))
        };
        Ok(Stock {
            quantity: number("quantity")?,
            reserved: number("reserved")?,
        })
    }

    /// Places an order and returns it as it was taken.
    ///
    /// # Errors
    /// When it is not taken; the error says why.
    pub fn place_order(&self, product: &Product, quantity: u32, payment_method: &str) -> Result<Value> {
        let url = format!("{}/v1/orders", self.addresses.gateway_url());
        let items = json!([{ "product_id": product.id, "quantity": quantity }]);
        let headers = [
            ("authorization", format!("Bearer {}", self.customer_token)),
            ("idempotency-key", Uuid::new_v4().to_string()),
        ];
        post_json(
            &url,
            &headers,
            &json!({ "items": items, "payment_method": payment_method }),
        )
        .context("the order was not taken")
    }

    /// The order at this moment.
    ///
    /// # Errors
    /// When the shop does not answer.
    pub fn order(&self, id: &str) -> Result<Value> {
        http::get_json(
            &format!("{}/v1/orders/{id}", self.addresses.gateway_url()),
            Some(&self.customer_token),
        )
    }

    /// The customer's mail about an order: when it came, and its subject.
    ///
    /// # Errors
    /// When the local AWS does not answer.
    pub fn find_mail(&self, order: &str) -> Result<Option<(i64, String)>> {
        let boxes = http::get_json(
            &format!("{}/_ministack/ses/messages", self.addresses.aws_endpoint_url()),
            None,
        )?;
        let mails = boxes["messages"]
            .as_object()
            .into_iter()
            .flat_map(|accounts| accounts.values());
        let is_ours = |mail: &&Value| {
            mail["To"]
                .as_array()
                .is_some_and(|to| to.contains(&json!(self.email)))
                && mail["BodyText"].as_str().is_some_and(|text| text.contains(order))
        };
        Ok(mails
            .filter_map(Value::as_array)
            .flatten()
            .find(is_ours)
            .and_then(|mail| {
                Some((
                    parse_timestamp_ms(&mail["Timestamp"])?,
                    mail["Subject"].as_str().unwrap_or_default().to_owned(),
                ))
            }))
    }

    /// What the payment provider's own books say about an order, in a few words.
    ///
    /// # Errors
    /// When the provider does not answer.
    pub fn describe_payment(&self, order: &str) -> Result<String> {
        let books = |what: &str| {
            let url = format!("{}/v1/{what}?limit=100", self.addresses.payment_provider_url());
            http::get_json(&url, Some("sk_test_local"))
        };
        let intents = books("payment_intents")?;
        let of_order = |intent: &&Value| intent["metadata"]["order_id"] == order;
        let Some(intent) = intents["data"].as_array().into_iter().flatten().find(of_order) else {
            return Ok("nothing was charged".to_owned());
        };
        let id = intent["id"].as_str().unwrap_or_default();
        let currency = intent["currency"].as_str().unwrap_or_default().to_uppercase();
        let amount = format_money(intent["amount"].as_i64().unwrap_or_default(), &currency);
        let refunds = books("refunds")?;
        let is_refunded = refunds["data"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|refund| refund["payment_intent"] == id);
        Ok(match intent["status"].as_str() {
            Some("succeeded") if is_refunded => format!("{amount} paid and refunded ({id})"),
            Some("succeeded") => format!("{amount} paid ({id})"),
            _ => format!("nothing was charged ({id})"),
        })
    }
}

/// Posts what is answered with success and JSON; otherwise the error says what the shop said.
fn post_json(url: &str, headers: &[(&str, String)], body: &Value) -> Result<Value> {
    let mut request = http::client().post(url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let mut response = request
        .send_json(body)
        .with_context(|| format!("no answer from {url}"))?;
    let status = response.status();
    let answer: Value = response
        .body_mut()
        .read_json()
        .with_context(|| format!("{url} answered {status}, not with JSON"))?;
    if !status.is_success() {
        let errors = answer["errors"].as_array().into_iter().flatten();
        let details: Vec<&str> = [&answer["title"], &answer["detail"], &answer["message"]]
            .into_iter()
            .chain(errors.map(|error| &error["detail"]))
            .filter_map(Value::as_str)
            .collect();
        bail!("{status}: {}", details.join(" "));
    }
    Ok(answer)
}
