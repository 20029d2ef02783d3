//! The sale: many buyers, few pieces.

use futures::future::join_all;
use serde_json::{Value, json};

use e2e::system::{TestSystem, eventually};

// Step Functions' waits are a twentieth here, so a step that is throttled is given up after some seconds instead of
// minutes: more buyers at once would find out how that ends, and not who gets the pieces. `bench sale` has a thousand.
const BUYERS: usize = 60;
const STOCK: i64 = 15;

#[tokio::test]
async fn sixty_buyers_of_fifteen_pieces_get_exactly_fifteen() {
    // So many sagas at once are enough for a small machine.
    let system = TestSystem::exclusive().await;
    let lantern = system.create_product(1000, STOCK).await;

    let outcomes = join_all((0..BUYERS).map(async |buyer| {
        let customer = system.customer().await;
        let line = json!({"product_id": lantern, "quantity": 1});
        // Every fifth buyer wants two, and says so on two lines.
        let pieces = if buyer % 5 == 0 { 2 } else { 1 };
        let body = json!({"items": vec![line; pieces], "payment_method": "pm_card_visa"});
        // Who is told to come again comes again, with the same key.
        let accepted = eventually("an accepted order", async || {
            let answer = system.post_order(&customer, "one", &body).await;
            (answer.status != 503).then_some(answer)
        })
        .await
        .expect_status(202);
        let order_id = accepted["order_id"].as_str().unwrap().parse().unwrap();
        let order = system.wait_for_final_status(&customer, order_id).await;
        (order_id, order, i64::try_from(pieces).unwrap())
    }))
    .await;

    let (completed, refused): (Vec<_>, Vec<_>) = outcomes
        .into_iter()
        .partition(|(_, order, _)| order["status"] == "completed");
    let sold: i64 = completed.iter().map(|(_, _, pieces)| pieces).sum();
    assert_eq!(sold, STOCK, "a buyer of one is always there for the last piece");
    assert!(
        refused
            .iter()
            .all(|(_, order, _)| order["reason"] == "insufficient_stock"),
        "{refused:?}"
    );
    assert_eq!(system.stock_quantities(&lantern).await, (0, 0));

    // The provider's books: each completed order was charged its price, once; no refused one was charged.
    for (order_id, order, pieces) in completed {
        let payments = system.payments(order_id).await;
        let taken: Vec<&Value> = payments
            .iter()
            .filter(|payment| payment["status"] == "succeeded")
            .collect();
        assert_eq!(taken.len(), 1, "{order}");
        assert_eq!(taken[0]["amount"], 1000 * pieces);
    }
    for (order_id, ..) in refused {
        assert_eq!(system.payments(order_id).await, Vec::<Value>::new());
    }
}
