//! Clients of core-api, stock-service, the payment provider and the local AWS's sent mails.

use aws_sdk_s3::types::ObjectVersion;
use domain::{OrderId, ids::uuid_v7};
use reqwest::Method;
use serde_json::{Value, json};

use super::{ApiCaller, ApiResponse, TestSystem, eventually, send};

impl TestSystem {
    /// Creates a product with `stock` units, and returns its id.
    pub async fn create_product(&self, price: i64, stock: i64) -> String {
        let product = json!({
            "name": "Test lantern", "description": "For a test.", "price": price,
            "category": "festival-supplies",
        });
        self.create_product_with(product, stock).await
    }

    /// Creates a product with `stock` units, and returns its id.
    pub async fn create_product_with(&self, product: Value, stock: i64) -> String {
        // The database may be unavailable for a moment on a busy machine, so retry on 503.
        let product = eventually("a new product", async || {
            let request = self.core_api_request(Method::POST, "/v1/products");
            let response = send(request.bearer_auth(self.admin().await.token).json(&product)).await;
            (response.status != 503).then_some(response)
        })
        .await
        .expect_status(201);
        let id = product["id"].as_str().expect("a product has an id").to_owned();
        // stock-service creates the stock row when it receives the event `ProductCreated`.
        eventually("the stock of a new product", async || {
            (self.get_stock_level(&id).await.status == 200).then_some(())
        })
        .await;
        if stock > 0 {
            let adjustment =
                json!({"adjustment_id": uuid_v7(self.now()), "delta": stock, "reason": "opening stock"});
            let response = self
                .post_to_stock_service(&format!("/v1/stock/{id}/adjustments"), &adjustment)
                .await;
            assert!(response.status.is_success(), "{response:?}");
        }
        id
    }

    /// Requests the link to an order's receipt.
    pub async fn get_receipt(&self, caller: &ApiCaller, order_id: OrderId) -> ApiResponse {
        let request = self.core_api_request(Method::GET, &format!("/v1/orders/{order_id}/receipt"));
        send(request.bearer_auth(&caller.token)).await
    }

    /// Waits until the receipt of a completed order has been written, and returns the link to it.
    pub async fn wait_for_receipt(&self, caller: &ApiCaller, order_id: OrderId) -> String {
        let receipt = eventually(&format!("the receipt of order {order_id}"), async || {
            let response = self.get_receipt(caller, order_id).await;
            if response.status == 409 {
                assert_eq!(response.expect_problem(409), "receipt-not-ready");
                return None;
            }
            Some(response.expect_status(200))
        })
        .await;
        receipt["url"].as_str().expect("a link has a URL").to_owned()
    }

    /// The versions of an order's receipt in the store. More than one would mean that it was replaced.
    pub async fn receipt_versions(&self, order_id: OrderId) -> Vec<String> {
        let s3 = aws_sdk_s3::Client::new(&aws_client::sdk_config().await);
        let versions = s3.list_object_versions().bucket("ecommerce-receipts");
        let versions = versions.prefix(format!("{order_id}.")).send().await;
        let versions = versions.expect("ListObjectVersions must succeed");
        let version_id = |version: &ObjectVersion| version.version_id().map(str::to_owned);
        versions.versions().iter().filter_map(version_id).collect()
    }

    /// Posts JSON to stock-service with a service token.
    pub async fn post_to_stock_service(&self, path: &str, body: &Value) -> ApiResponse {
        let request = self.http.post(format!("{}{path}", self.stock_service_url));
        send(request.bearer_auth(self.service_caller().token).json(body)).await
    }

    /// Reads a product's stock level with a service token.
    pub async fn get_stock_level(&self, product_id: &str) -> ApiResponse {
        let request = self
            .http
            .get(format!("{}/v1/stock/{product_id}", self.stock_service_url));
        send(request.bearer_auth(self.service_caller().token)).await
    }

    /// The quantity and the reserved quantity of a product, in units.
    pub async fn stock_quantities(&self, product_id: &str) -> (i64, i64) {
        let level = self.get_stock_level(product_id).await.expect_status(200);
        let number = |field: &str| level[field].as_i64().expect("stock quantities are integers");
        assert_eq!(number("available"), number("quantity") - number("reserved"));
        (number("quantity"), number("reserved"))
    }

    /// Cancels an order at core-api.
    pub async fn cancel_order(&self, caller: &ApiCaller, order_id: OrderId) -> ApiResponse {
        let request = self.core_api_request(Method::POST, &format!("/v1/orders/{order_id}/cancel"));
        send(request.bearer_auth(&caller.token)).await
    }

    /// Reads the reservation of an order from stock-service.
    pub async fn get_reservation(&self, order_id: OrderId) -> ApiResponse {
        let request = self
            .http
            .get(format!("{}/v1/reservations/{order_id}", self.stock_service_url));
        send(request.bearer_auth(self.service_caller().token)).await
    }

    /// The provider's payments for an order.
    pub async fn payments(&self, order_id: OrderId) -> Vec<Value> {
        let of_order = |payment: &Value| payment["metadata"]["order_id"] == order_id.to_string();
        self.list_provider_objects("/v1/payment_intents")
            .await
            .into_iter()
            .filter(of_order)
            .collect()
    }

    /// Asserts that each of the provider's payments for an order is cancelled.
    pub async fn assert_payments_cancelled(&self, order_id: OrderId) {
        let payments = self.payments(order_id).await;
        assert!(
            payments.iter().all(|payment| payment["status"] == "canceled"),
            "{payments:?}"
        );
    }

    /// Opens the page of the payment provider on which the customer authenticates a payment. Returns the
    /// status of the response and the page.
    pub async fn open_authentication_page(&self, next_action: &Value) -> (u16, String) {
        let page = next_action["redirect_url"].as_str().unwrap();
        let shown = self.http.get(page).send().await.unwrap();
        (shown.status().as_u16(), shown.text().await.unwrap())
    }

    /// Opens the page of the payment provider, and submits the customer's choice, `approve` or `deny`.
    /// Returns the status of the response, and the shop's page to which it sends the customer.
    pub async fn authenticate(&self, next_action: &Value, choice: &str) -> (u16, Option<String>) {
        let (status, shown) = self.open_authentication_page(next_action).await;
        if status != 200 {
            return (status, None);
        }
        assert!(shown.contains(&format!("value=\"{choice}\"")), "{shown}");
        let page = next_action["redirect_url"].as_str().unwrap();
        let browser = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let submitted = browser
            .post(page)
            .form(&[("choice", choice)])
            .send()
            .await
            .unwrap();
        let location = submitted.headers().get("location");
        (
            submitted.status().as_u16(),
            location.map(|location| location.to_str().unwrap().to_owned()),
        )
    }

    /// The provider's refunds of a payment.
    pub async fn refunds(&self, payment_id: &str) -> Vec<Value> {
        let of_payment = |refund: &Value| refund["payment_intent"] == payment_id;
        self.list_provider_objects("/v1/refunds")
            .await
            .into_iter()
            .filter(of_payment)
            .collect()
    }

    /// Reads all pages of a list of the payment provider.
    pub async fn list_provider_objects(&self, path: &str) -> Vec<Value> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let mut request = self
                .http
                .get(format!("{}{path}", self.payment_api_url))
                .query(&[("limit", "100")]);
            if let Some(last) = all.last() {
                request = request.query(&[("starting_after", last["id"].as_str().unwrap())]);
            }
            let page = send(request.bearer_auth("sk_test_e2e")).await.expect_status(200);
            all.extend(page["data"].as_array().unwrap().iter().cloned());
            if page["has_more"] != true {
                return all;
            }
        }
    }

    /// All mails that were sent to an address.
    pub async fn sent_mails(&self, address: &str) -> Vec<Value> {
        let url = format!("{}/_ministack/ses/messages", self.aws_endpoint_url);
        let sent = send(self.http.get(url)).await.expect_status(200);
        let all = sent["messages"]
            .as_object()
            .unwrap()
            .values()
            .flat_map(|mails| mails.as_array().unwrap());
        all.filter(|mail| mail["To"].as_array().unwrap().iter().any(|to| to == address))
            .cloned()
            .collect()
    }
}
