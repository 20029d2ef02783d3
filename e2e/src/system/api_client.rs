//! What is in the shop, in the provider's books and in the letter box.

use domain::{OrderId, ids::uuid_v7};
use reqwest::Method;
use serde_json::{Value, json};

use super::{ApiResponse, TestSystem, eventually, send};

impl TestSystem {
    /// A product of the test's own, with stock.
    pub async fn create_product(&self, price: i64, stock: i64) -> String {
        let product = json!({
            "name": "Test lantern", "description": "For a test.", "price": price, "category": "festival-goods",
        });
        // A busy machine's database may be out of reach for a moment; who is told to come again does so.
        let product = eventually("a new product", async || {
            let request = self.core_api_request(Method::POST, "/v1/products");
            let answer = send(request.bearer_auth(self.admin().await.token).json(&product)).await;
            (answer.status != 503).then_some(answer)
        })
        .await
        .expect_status(201);
        let id = product["id"].as_str().expect("a product has an id").to_owned();
        // core-api announces the product and stock-service makes room for it.
        eventually("stock of a new product", async || {
            (self.get_stock_level(&id).await.status == 200).then_some(())
        })
        .await;
        if stock > 0 {
            let adjustment =
                json!({"adjustment_id": uuid_v7(self.now()), "delta": stock, "reason": "opening stock"});
            let answer = self
                .post_to_stock_service(&format!("/v1/stock/{id}/adjustments"), &adjustment)
                .await;
            assert!(answer.status.is_success(), "{answer:?}");
        }
        id
    }

    /// A request to stock-service, by one of our own programs.
    pub async fn post_to_stock_service(&self, path: &str, body: &Value) -> ApiResponse {
        let request = self.http.post(format!("{}{path}", self.stock_service_url));
        send(request.bearer_auth(self.service_caller().token).json(body)).await
    }

    /// What stock-service says about a product.
    pub async fn get_stock_level(&self, product_id: &str) -> ApiResponse {
        let request = self
            .http
            .get(format!("{}/v1/stock/{product_id}", self.stock_service_url));
        send(request.bearer_auth(self.service_caller().token)).await
    }

    /// Pieces in the house, and pieces set aside.
    pub async fn stock_quantities(&self, product_id: &str) -> (i64, i64) {
        let level = self.get_stock_level(product_id).await.expect_status(200);
        let number = |field: &str| level[field].as_i64().expect("a level has whole numbers");
        assert_eq!(number("available"), number("quantity") - number("reserved"));
        (number("quantity"), number("reserved"))
    }

    /// The reservation of an order.
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

    /// The provider's refunds of a payment.
    pub async fn refunds(&self, payment_id: &str) -> Vec<Value> {
        let of_payment = |refund: &Value| refund["payment_intent"] == payment_id;
        self.list_provider_objects("/v1/refunds")
            .await
            .into_iter()
            .filter(of_payment)
            .collect()
    }

    /// A list of the provider's, page by page.
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
            let page = send(request.bearer_auth("sk_test_books"))
                .await
                .expect_status(200);
            all.extend(page["data"].as_array().unwrap().iter().cloned());
            if page["has_more"] != true {
                return all;
            }
        }
    }

    /// Mails to a customer that name the order.
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
