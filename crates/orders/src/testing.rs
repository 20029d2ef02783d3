//! Orders for tests.

use aws_client::SdkConfig;
use aws_sdk_dynamodb::Client;
use domain::{Clock, Currency, Language, Money, ProductId, Quantity, TaxRate, Timestamp, UserId};
use dynamodb_table::testing::{TestIndex, create_table, create_table_with_indexes};
use event_publishing::DynamoOutbox;
use events::TraceParent;

use crate::{NewOrder, OPEN_ORDERS_INDEX, OrderItem, OrderPlacement, Orders, OrdersWithOutbox};

/// The names of the tables of one test.
#[derive(Clone, Debug)]
pub struct OrderTables {
    pub orders: String,
    pub outbox: String,
    pub idempotency: String,
}

/// Everything that reads, changes and places orders.
#[derive(Clone, Debug)]
pub struct OrderStores {
    pub orders: Orders,
    pub store: OrdersWithOutbox,
    pub placement: OrderPlacement,
}

impl OrderTables {
    /// Creates the tables, with the index of open orders.
    pub async fn create(aws: &SdkConfig) -> Self {
        let open_orders = TestIndex {
            name: OPEN_ORDERS_INDEX,
            keys: &["open", "order_id"],
            attributes: Some(&["waits_until"]),
        };
        Self {
            orders: create_table_with_indexes(aws, &["user_id", "order_id"], &[open_orders]).await,
            outbox: create_table(aws, &["event_id"]).await,
            idempotency: create_table(aws, &["id"]).await,
        }
    }

    #[must_use]
    pub fn open(&self, client: Client, clock: Clock) -> OrderStores {
        let orders = Orders::new(client.clone(), &self.orders, clock);
        let store = OrdersWithOutbox {
            orders: orders.clone(),
            outbox: DynamoOutbox::new(client, &self.outbox),
        };
        OrderStores {
            orders,
            placement: OrderPlacement::new(store.clone(), &self.idempotency),
            store,
        }
    }
}

/// An order of two paper lanterns for 1,500 yen, whose customer wants mails in English and no SMS.
#[must_use]
pub fn new_order(user_id: UserId, at: Timestamp) -> NewOrder {
    new_order_of_two("Paper lantern", 750, user_id, at)
}

/// Such an order of two units of a product of this name and price in yen.
#[must_use]
pub fn new_order_of_two(product_name: &str, price: i64, user_id: UserId, at: Timestamp) -> NewOrder {
    let item = OrderItem {
        product_id: ProductId::new(at),
        product_name: product_name.to_owned(),
        quantity: Quantity::new(2).expect("two is a valid quantity"),
        price,
        tax_rate: TaxRate::Standard,
    };
    NewOrder {
        user_id,
        contact_email: "hanako@example.com".to_owned(),
        items: vec![item],
        total: Money::new(2 * price, Currency::JPY).expect("the price of a test is in range"),
        payment_method: "pm_card_visa".to_owned(),
        idempotency_key: "key".to_owned(),
        traceparent: TraceParent::root(at),
        order_mails: true,
        mail_language: Language::En,
        sms_contact: None,
        max_open_orders: None,
    }
}
