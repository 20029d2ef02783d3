//! The test context: DynamoDB tables, an event bus and a payment provider for one test.

use std::time::Duration;

use aws_config::SdkConfig;
use chrono::TimeDelta;
use domain::{Clock, FailureReason, PaymentId, UserId};
use event_publishing::{DynamoOutbox, Publisher};
use events::{OutboxEvent, StatusPushRequest};
use orders::{
    NewOrder, Order, OrderPlacement, Orders, OrdersWithOutbox,
    testing::{OrderStores, OrderTables, new_order},
};
use payment_provider::{
    Config, Provider,
    resources::{IntentStatus, PaymentIntent},
    router,
};
use saga::{
    CreatedPayment, LineItem, OutboxPublisher, SagaState, StatusPush, StepError,
    create_payment::create_payment,
    payments::stripe::Stripe,
    process_payment::{ActionSettings, PaymentOutcome, process_payment},
};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The shop's page to which the provider sends the customer.
pub const RETURN_URL: &str = "https://matsuri.example/payment";

pub struct TestContext {
    pub aws: SdkConfig,
    pub orders: Orders,
    pub store: OrdersWithOutbox,
    placement: OrderPlacement,
    pub tables: OrderTables,
    pub event_bus: String,
    pub publisher: OutboxPublisher,
    pub status_push: StatusPush,
    /// The URL of the queue of `status_push`.
    pub status_push_queue: String,
    pub stripe: Stripe,
    pub stripe_url: String,
    provider: Provider,
    _provider_data_dir: TempDir,
}

impl TestContext {
    pub async fn new() -> Self {
        let aws = aws_client::sdk_config().await;
        let tables = OrderTables::create(&aws).await;
        let dynamo = aws_sdk_dynamodb::Client::new(&aws);
        let OrderStores {
            orders,
            store,
            placement,
        } = tables.open(dynamo, Clock::system());
        let (provider, stripe_url, data_dir) = start_payment_provider().await;

        let events = aws_sdk_eventbridge::Client::new(&aws);
        let event_bus = tables.outbox.clone();
        events.create_event_bus().name(&event_bus).send().await.unwrap();
        let sqs = aws_sdk_sqs::Client::new(&aws);
        let queue = sqs
            .create_queue()
            .queue_name(&tables.outbox)
            .send()
            .await
            .unwrap();
        let status_push_queue = queue.queue_url.unwrap();
        Self {
            status_push: StatusPush::new(sqs, status_push_queue.clone()),
            status_push_queue,
            publisher: OutboxPublisher::new(store.outbox.clone(), Publisher::new(events, &event_bus)),
            stripe: Stripe::new(&stripe_url, &"sk_test_saga".into()).unwrap(),
            stripe_url,
            aws,
            orders,
            store,
            placement,
            tables,
            event_bus,
            provider,
            _provider_data_dir: data_dir,
        }
    }

    /// Places an order with `payment_method` and returns the input of its saga.
    pub async fn place_order(&self, payment_method: &str) -> SagaState {
        let now = Clock::system().now();
        let new = NewOrder {
            payment_method: payment_method.to_owned(),
            ..new_order(UserId::new(now), now)
        };
        let item = new.items[0].clone();
        let (order, created) = self.placement.place(&new).await.unwrap();
        SagaState {
            order_id: order.order_id,
            user_id: order.user_id,
            currency: order.currency,
            total_amount: order.total_amount,
            items: vec![LineItem {
                product_id: item.product_id,
                quantity: item.quantity,
            }],
            payment_method: order.payment_method,
            traceparent: order.traceparent,
            correlation_id: order.order_id.0,
            causation_id: Some(created.unwrap().event_id.0),
            intent: None,
            completion: None,
            failure: None,
            error: None,
        }
    }

    /// Runs process-payment with a time limit of ten minutes for the customer.
    pub async fn pay(&self, state: &SagaState) -> Result<PaymentOutcome, StepError> {
        self.pay_with(&self.store, TimeDelta::minutes(10), state).await
    }

    /// Runs process-payment with the clock of `store`.
    pub async fn pay_with(
        &self,
        store: &OrdersWithOutbox,
        time_limit: TimeDelta,
        state: &SagaState,
    ) -> Result<PaymentOutcome, StepError> {
        let actions = action_settings(time_limit);
        process_payment(
            store,
            &self.stripe,
            &self.publisher,
            &self.status_push,
            &actions,
            state,
        )
        .await
    }

    /// The saga input of an order that does not exist.
    pub async fn nonexistent_order(&self) -> SagaState {
        SagaState {
            user_id: UserId::new(Clock::system().now()),
            ..self.place_order("pm_card_visa").await
        }
    }

    pub async fn load_order(&self, state: &SagaState) -> Order {
        self.orders
            .find(state.user_id, state.order_id)
            .await
            .unwrap()
            .unwrap()
    }

    pub async fn cancel_order(&self, state: &SagaState) {
        self.store
            .cancel(state.user_id, state.order_id, state.event_context())
            .await
            .unwrap();
    }

    pub async fn close_to_payment(&self, state: &SagaState) -> Option<PaymentId> {
        self.orders
            .close_to_payment(state.user_id, state.order_id)
            .await
            .unwrap()
    }

    /// Ends the order as fail-order does. The order must be closed to payment.
    pub async fn fail_order(&self, state: &SagaState) {
        let reason = FailureReason::InternalError;
        self.store
            .fail(state.user_id, state.order_id, reason, &state.event_context())
            .await
            .unwrap();
    }

    /// Runs the payment step up to the claim, without the confirmation.
    pub async fn claim_for_payment(&self, state: &SagaState) -> PaymentId {
        use saga::payments::PaymentProvider;
        let total = state.total().unwrap();
        let created = self
            .stripe
            .create_intent(state.user_id, state.order_id, total, &state.payment_method)
            .await;
        let payment_id = created.unwrap();
        self.orders
            .claim_for_payment(state.user_id, state.order_id, &payment_id)
            .await
            .unwrap();
        payment_id
    }

    /// A publisher whose event bus is unreachable.
    pub fn publisher_without_event_bus(&self) -> OutboxPublisher {
        let config = aws_sdk_eventbridge::config::Builder::from(&self.aws).endpoint_url("http://127.0.0.1:9");
        let client = aws_sdk_eventbridge::Client::from_conf(config.build());
        OutboxPublisher::new(self.outbox(), Publisher::new(client, &self.event_bus))
    }

    fn outbox(&self) -> DynamoOutbox {
        self.store.outbox.clone()
    }

    /// The requests in the queue of status-push. Receives them.
    pub async fn requested_pushes(&self) -> Vec<StatusPushRequest> {
        let sqs = aws_sdk_sqs::Client::new(&self.aws);
        let mut requests = Vec::new();
        loop {
            let receive = sqs.receive_message().queue_url(&self.status_push_queue);
            let received = receive.max_number_of_messages(10).send().await.unwrap();
            let messages = received.messages.unwrap_or_default();
            if messages.is_empty() {
                return requests;
            }
            requests.extend(
                messages.iter().map(|message| {
                    serde_json::from_str::<StatusPushRequest>(message.body().unwrap()).unwrap()
                }),
            );
        }
    }

    /// The detail types of the saga's events in the outbox.
    pub async fn pending_events(&self) -> Vec<String> {
        let scan = aws_sdk_dynamodb::Client::new(&self.aws)
            .scan()
            .table_name(&self.tables.outbox);
        let items = scan.consistent_read(true).into_paginator().items().send();
        let items: Vec<_> = items.try_collect().await.unwrap();
        let mut events: Vec<OutboxEvent> = serde_dynamo::from_items(items).unwrap();
        events.retain(|event| event.source == "order-saga");
        events.sort_by_key(|event| event.event_id);
        events.into_iter().map(|event| event.detail_type).collect()
    }

    /// The payment in the provider's state.
    pub fn intent(&self, payment: &PaymentId) -> PaymentIntent {
        self.provider
            .with_state(|state| state.find_intent(&payment.0).cloned())
            .unwrap()
    }

    /// The number of payments at the provider.
    pub fn intent_count(&self) -> usize {
        self.provider.with_state(|state| state.intents().count())
    }

    /// Submits the customer's choice on the page of a payment, if the payment waits for it.
    pub async fn authenticate(&self, payment: &PaymentId, choice: &str) {
        let Some(authentication) = self.intent(payment).authentication else {
            return;
        };
        let browser = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let submitted = browser.post(authentication.page_url).form(&[("choice", choice)]);
        assert_eq!(submitted.send().await.unwrap().status(), 303);
    }

    /// Confirms a payment with another card, as the customer's browser can.
    pub async fn confirm_with_card(&self, payment: &PaymentId, method: &str) {
        let url = format!("{}/v1/payment_intents/{payment}/confirm", self.stripe_url);
        let request = reqwest::Client::new().post(url).bearer_auth("sk_test_customer");
        let confirmed = request.form(&[("payment_method", method)]).send().await.unwrap();
        assert_eq!(confirmed.status(), 200);
    }

    /// Runs create-payment, and returns the state with its result.
    pub async fn create_payment(&self, state: SagaState) -> Result<SagaState, StepError> {
        let payment_id = create_payment(&self.orders, &self.stripe, &state).await?;
        Ok(SagaState {
            intent: Some(CreatedPayment { payment_id }),
            ..state
        })
    }

    /// The sums of all charges and of all refunds, in yen.
    pub fn charged_and_refunded(&self) -> (i64, i64) {
        self.provider.with_state(|state| {
            let charged = state
                .intents()
                .filter(|intent| intent.status == IntentStatus::Succeeded);
            (
                charged.map(|intent| intent.amount).sum(),
                state.refunds().map(|refund| refund.amount).sum(),
            )
        })
    }
}

pub fn action_settings(time_limit: TimeDelta) -> ActionSettings {
    ActionSettings {
        return_url: RETURN_URL.parse().unwrap(),
        time_limit,
    }
}

async fn start_payment_provider() -> (Provider, String, TempDir) {
    let data_dir = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://{address}");
    let config = Config {
        address,
        public_url: url.clone(),
        data_dir: data_dir.path().into(),
        unavailable_duration: Duration::from_millis(1),
        slow_duration: Duration::from_millis(300),
        webhook: None,
        log_level: "off".into(),
    };
    let provider = Provider::open(config, Clock::system()).unwrap();
    let app = router(provider.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (provider, url, data_dir)
}
