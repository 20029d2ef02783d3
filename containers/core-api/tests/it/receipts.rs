//! Links to receipts: whose, when, and for how long.

use aws_sdk_s3::{
    Client,
    types::{BucketLocationConstraint, CreateBucketConfiguration},
};
use chrono::TimeDelta;
use domain::{Clock, OrderId, PaymentId, Timestamp};
use receipts::Written;
use reqwest::header::CONTENT_TYPE;
use sqlx::PgPool;

use crate::{
    orders::TestShop,
    support::{RECEIPTS_BUCKET, RequestBuilderExt, TestApp, TestResponse},
    test_user::TestUser,
};

/// Creates the bucket, unless another test has.
async fn create_bucket() {
    let aws = aws_client::sdk_config().await;
    let region = BucketLocationConstraint::from(aws.region().unwrap().as_ref());
    let location = CreateBucketConfiguration::builder().location_constraint(region);
    let create = Client::new(&aws).create_bucket().bucket(RECEIPTS_BUCKET);
    let created = create.create_bucket_configuration(location.build()).send().await;
    if let Err(error) = created {
        let error = error.into_service_error();
        assert!(error.is_bucket_already_owned_by_you(), "{error:?}");
    }
}

/// A customer with an order.
struct Buyer {
    shop: TestShop,
    customer: TestUser,
    order_id: OrderId,
}

impl Buyer {
    async fn with_order(pool: PgPool) -> Self {
        create_bucket().await;
        let shop = TestShop::start(pool).await;
        let customer = shop.app.customer().await;
        let path = shop.place_order(&customer.token(), "key").await;
        let order_id = path.strip_prefix("/v1/orders/").unwrap().parse().unwrap();
        Self {
            shop,
            customer,
            order_id,
        }
    }

    fn app(&self) -> &TestApp {
        &self.shop.app
    }

    async fn get_receipt(&self, user: &TestUser) -> TestResponse {
        let request = self.app().get(format!("/v1/orders/{}/receipt", self.order_id));
        request.bearer_auth(user.token()).fetch().await
    }

    /// Pays and completes the order, as the saga does.
    async fn complete_order(&self) {
        let (user_id, payment) = (self.customer.id(), PaymentId("pi_1".to_owned()));
        let (orders, store) = (&self.app().orders, &self.app().store);
        let order = orders.find(user_id, self.order_id).await.unwrap().unwrap();
        let (total, context) = (order.total().unwrap(), order.event_context());
        orders
            .claim_for_payment(user_id, self.order_id, &payment)
            .await
            .unwrap();
        store
            .record_payment(user_id, self.order_id, &payment, total, &context)
            .await
            .unwrap();
        let completed = store.complete(user_id, self.order_id, total, &context).await;
        completed.unwrap();
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn only_a_completed_order_has_a_receipt(pool: PgPool) {
    let buyer = Buyer::with_order(pool).await;
    let pending = buyer.get_receipt(&buyer.customer).await;
    assert_eq!(pending.problem(), "409 order-not-completed");
    assert_eq!(pending.body["order_status"], "pending");

    buyer.complete_order().await;
    let unwritten = buyer.get_receipt(&buyer.customer).await;
    assert_eq!(unwritten.problem(), "409 receipt-not-ready");
    assert_eq!(unwritten.header("retry-after"), "2");

    let pdf = b"%PDF-1.7 the receipt";
    let written = buyer.app().receipts.write(buyer.order_id, pdf.to_vec()).await;
    assert_eq!(written.unwrap(), Written::New);
    let before = Clock::system().now();
    let receipt = buyer.get_receipt(&buyer.customer).await;
    assert_eq!(receipt.status, 200, "{receipt:?}");
    let expires_at: Timestamp = receipt.body_str("expires_at").parse().unwrap();
    assert!(expires_at - before <= TimeDelta::minutes(5), "{expires_at}");

    let response = reqwest::get(receipt.body_str("url")).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[CONTENT_TYPE], "application/pdf");
    assert_eq!(response.bytes().await.unwrap(), &pdf[..]);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn receipt_of_another_customer_does_not_exist(pool: PgPool) {
    let buyer = Buyer::with_order(pool).await;
    buyer.complete_order().await;
    buyer
        .app()
        .receipts
        .write(buyer.order_id, b"%PDF".to_vec())
        .await
        .unwrap();
    let other = buyer.app().customer().await;
    assert_eq!(buyer.get_receipt(&other).await.problem(), "404 not-found");
    assert_eq!(buyer.get_receipt(&buyer.customer).await.status, 200);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn link_expires(pool: PgPool) {
    let buyer = Buyer::with_order(pool).await;
    let (receipts, order_id) = (&buyer.app().receipts, buyer.order_id);
    receipts.write(order_id, b"%PDF".to_vec()).await.unwrap();
    let fetch = async |issued_at: Timestamp| {
        let link = receipts.link(order_id, issued_at).await.unwrap();
        let url: String = serde_json::from_value(serde_json::to_value(&link.url).unwrap()).unwrap();
        assert!(
            !format!("{link:?}").contains(&url),
            "a log must not contain a link"
        );
        reqwest::get(url).await.unwrap().status().as_u16()
    };
    let now = Clock::system().now();
    assert_eq!(fetch(now - TimeDelta::seconds(240)).await, 200);
    assert_eq!(fetch(now - TimeDelta::seconds(301)).await, 403);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn written_receipt_is_never_replaced(pool: PgPool) {
    let buyer = Buyer::with_order(pool).await;
    buyer.complete_order().await;
    let (receipts, order_id) = (&buyer.app().receipts, buyer.order_id);
    let write = async |pdf: &str| receipts.write(order_id, pdf.as_bytes().to_vec()).await.unwrap();
    assert_eq!(write("first").await, Written::New);
    assert_eq!(write("second").await, Written::Before);
    let receipt = buyer.get_receipt(&buyer.customer).await;
    let pdf = reqwest::get(receipt.body_str("url")).await.unwrap().text().await;
    assert_eq!(pdf.unwrap(), "first");
}
