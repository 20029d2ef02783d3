//! The answer to everything that can be asked of a reservation, in every state that it can be in; and levels
//! and adjustments.

use domain::ProductId;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{TestApp, new_id, problem_slug, send_and_parse};

/// How a reservation gets into a state, with the pieces that stay reserved and that are sold then.
const STATES: [(&str, i64, i64); 9] = [
    ("nothing", 0, 0),
    ("reserved", 3, 0),
    ("committed", 0, 3),
    ("released", 0, 0),
    ("returned", 0, 0),
    ("lapsed", 3, 0),
    ("expired", 0, 0),
    ("refused", 0, 0),
    ("released before it came", 0, 0),
];

/// Brings a new reservation into that state.
async fn create_in_state(state: &str, shop: &TestApp, product: ProductId) -> Uuid {
    let id = new_id();
    match state {
        "nothing" => return id,
        "released before it came" => assert_eq!(shop.release(id).await.0, 200),
        "refused" => assert_eq!(shop.reserve(id, &[(product, 101)]).await.0, 409),
        "lapsed" | "expired" => {
            assert_eq!(shop.reserve_for(id, &[(product, 3)], 60).await.0, 201);
            shop.clock.advance(60);
        }
        _ => assert_eq!(shop.reserve(id, &[(product, 3)]).await.0, 201),
    }
    match state {
        "committed" => assert_eq!(shop.commit(id).await.0, 200),
        "released" => assert_eq!(shop.release(id).await.0, 200),
        "returned" => {
            assert_eq!(shop.commit(id).await.0, 200);
            assert_eq!(shop.release(id).await.0, 200);
        }
        "expired" => shop.expire_due_reservations().await,
        _ => {}
    }
    id
}

/// The status code, and the reservation's status or the problem's slug.
fn summary((code, body): (StatusCode, Value)) -> String {
    let word = body["status"]
        .as_str()
        .map_or_else(|| problem_slug(&body).to_owned(), str::to_owned);
    format!("{} {word}", code.as_u16())
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn every_question_in_every_state(pool: PgPool) {
    let shop = TestApp::start(&pool).await;
    let mut table = Vec::new();
    for (state, reserved, sold) in STATES {
        for question in ["reserve", "reserve other items", "commit", "release", "show"] {
            let product = shop.create_product_with_stock(100).await;
            let id = create_in_state(state, &shop, product).await;
            assert_eq!(shop.stock_level(product).await, (100 - sold, reserved), "{state}");

            let pieces = if state == "refused" { 101 } else { 3 };
            let ask = async || match question {
                "reserve" => shop.reserve(id, &[(product, pieces)]).await,
                "reserve other items" => shop.reserve(id, &[(product, 4)]).await,
                "commit" => shop.commit(id).await,
                "release" => shop.release(id).await,
                _ => shop.get(&format!("/v1/reservations/{id}")).await,
            };
            let answer = ask().await;
            let level = shop.stock_level(product).await;
            assert_eq!(ask().await, answer, "{state}, {question}: a second time");
            assert_eq!(
                shop.stock_level(product).await,
                level,
                "{state}, {question}: a second time"
            );
            table.push(format!(
                "{state}, {question}: {}, {}/{}",
                summary(answer),
                level.0,
                level.1
            ));
        }
    }
    shop.assert_consistent().await;
    // State, question: answer, quantity/reserved after it.
    assert_eq!(
        table,
        [
            "nothing, reserve: 201 reserved, 100/3",
            "nothing, reserve other items: 201 reserved, 100/4",
            "nothing, commit: 404 not-found, 100/0",
            "nothing, release: 200 released, 100/0",
            "nothing, show: 404 not-found, 100/0",
            "reserved, reserve: 201 reserved, 100/3",
            "reserved, reserve other items: 422 reservation-mismatch, 100/3",
            "reserved, commit: 200 committed, 97/0",
            "reserved, release: 200 released, 100/0",
            "reserved, show: 200 reserved, 100/3",
            "committed, reserve: 201 reserved, 97/0",
            "committed, reserve other items: 422 reservation-mismatch, 97/0",
            "committed, commit: 200 committed, 97/0",
            "committed, release: 200 released, 100/0",
            "committed, show: 200 committed, 97/0",
            "released, reserve: 409 reservation-released, 100/0",
            "released, reserve other items: 422 reservation-mismatch, 100/0",
            "released, commit: 409 reservation-released, 100/0",
            "released, release: 200 released, 100/0",
            "released, show: 200 released, 100/0",
            "returned, reserve: 409 reservation-released, 100/0",
            "returned, reserve other items: 422 reservation-mismatch, 100/0",
            "returned, commit: 409 reservation-released, 100/0",
            "returned, release: 200 released, 100/0",
            "returned, show: 200 released, 100/0",
            "lapsed, reserve: 409 reservation-expired, 100/0",
            "lapsed, reserve other items: 422 reservation-mismatch, 100/0",
            "lapsed, commit: 409 reservation-expired, 100/0",
            "lapsed, release: 200 expired, 100/0",
            "lapsed, show: 200 expired, 100/3",
            "expired, reserve: 409 reservation-expired, 100/0",
            "expired, reserve other items: 422 reservation-mismatch, 100/0",
            "expired, commit: 409 reservation-expired, 100/0",
            "expired, release: 200 expired, 100/0",
            "expired, show: 200 expired, 100/0",
            "refused, reserve: 409 insufficient-stock, 100/0",
            "refused, reserve other items: 422 reservation-mismatch, 100/0",
            "refused, commit: 409 insufficient-stock, 100/0",
            "refused, release: 200 refused, 100/0",
            "refused, show: 200 refused, 100/0",
            "released before it came, reserve: 409 reservation-released, 100/0",
            "released before it came, reserve other items: 409 reservation-released, 100/0",
            "released before it came, commit: 409 reservation-released, 100/0",
            "released before it came, release: 200 released, 100/0",
            "released before it came, show: 200 released, 100/0",
        ]
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_reservation_in_full(pool: PgPool) {
    let shop = TestApp::start(&pool).await;
    let mut products = [
        shop.create_product_with_stock(5).await,
        shop.create_product_with_stock(2).await,
    ];
    products.sort();
    let [first, second] = products;
    let id = new_id();

    // Equal products are summed, and the order of the lines does not matter.
    let (code, reservation) = shop
        .reserve_for(id, &[(second, 1), (first, 1), (second, 1)], 900)
        .await;
    assert_eq!(code, 201);
    assert_eq!(
        reservation,
        json!({
            "reservation_id": id,
            "status": "reserved",
            "items": [{"product_id": first, "quantity": 1}, {"product_id": second, "quantity": 2}],
            "expires_at": "2027-01-15T08:15:00Z",
        })
    );
    assert_eq!(
        shop.reserve(id, &[(first, 1), (second, 2)]).await,
        (code, reservation)
    );

    // One short line refuses all of them, now and later, whatever there is then.
    let late = new_id();
    let unknown = ProductId(new_id());
    let refused = shop.reserve(late, &[(first, 1), (second, 1), (unknown, 1)]).await;
    assert_eq!(refused.0, 409);
    assert_eq!(
        refused.1,
        json!({
            "type": "https://matsuri.dev/problems/insufficient-stock",
            "title": "Not enough stock",
            "status": 409,
            "detail": "`shortages` lists each product whose available stock is below the requested quantity.",
            "shortages": [
                {"product_id": second, "requested": 1, "available": 0},
                {"product_id": unknown, "requested": 1, "available": 0},
            ],
        })
    );
    assert_eq!(shop.release(id).await.0, 200);
    assert_eq!(
        shop.reserve(late, &[(first, 1), (second, 1), (unknown, 1)]).await,
        refused
    );
    assert_eq!(
        (shop.stock_level(first).await, shop.stock_level(second).await).1,
        (2, 0)
    );
    shop.assert_consistent().await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_level_and_its_adjustments(pool: PgPool) {
    let shop = TestApp::start(&pool).await;
    let product = shop.create_product().await;
    let show = format!("/v1/stock/{product}");
    assert_eq!(summary(shop.get(&show).await), "404 not-found");
    assert_eq!(
        summary(shop.adjust(ProductId(new_id()), new_id(), 5).await),
        "404 not-found"
    );

    // The first adjustment of a product makes its stock row.
    let delivery = new_id();
    let (code, level) = shop.adjust(product, delivery, 20).await;
    assert_eq!(code, 201);
    assert_eq!(
        level,
        json!({"adjustment_id": delivery, "delta": 20, "product_id": product, "quantity": 20, "reserved": 0,
               "available": 20, "updated_at": "2027-01-15T08:00:00Z"})
    );
    assert_eq!(shop.reserve(new_id(), &[(product, 15)]).await.0, 201);
    assert_eq!(
        shop.adjust(product, delivery, 20).await,
        (code, level),
        "the first answer again"
    );
    assert_eq!(
        shop.get(&show).await.1,
        json!({"product_id": product, "quantity": 20, "reserved": 15, "available": 5,
               "updated_at": "2027-01-15T08:00:00Z"})
    );

    // What is set aside cannot be taken, and a refusal is remembered.
    let breakage = new_id();
    let refused = shop.adjust(product, breakage, -6).await;
    assert_eq!(summary(refused.clone()), "409 insufficient-stock");
    assert_eq!(
        refused.1["shortages"],
        json!([{"product_id": product, "requested": 6, "available": 5}])
    );
    assert_eq!(shop.adjust(product, new_id(), 1).await.0, 201);
    assert_eq!(shop.adjust(product, breakage, -6).await, refused);
    assert_eq!(shop.adjust(product, new_id(), -6).await.0, 201);

    // The same id for something else.
    let other = shop.create_product_with_stock(20).await;
    assert_eq!(
        summary(shop.adjust(product, delivery, 21).await),
        "422 adjustment-mismatch"
    );
    assert_eq!(
        summary(shop.adjust(other, delivery, 20).await),
        "422 adjustment-mismatch"
    );
    let reworded = json!({"adjustment_id": delivery, "delta": 20, "reason": "delivered"});
    let answer = shop.post(&format!("{show}/adjustments"), reworded).await;
    assert_eq!(summary(answer), "422 adjustment-mismatch");
    assert_eq!(
        (shop.stock_level(product).await, shop.stock_level(other).await),
        ((15, 15), (20, 0))
    );
    shop.assert_consistent().await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn what_happened_is_told_in_the_clients_trace(pool: PgPool) {
    let shop = TestApp::start(&pool).await;
    let product = shop.create_product_with_stock(12).await;
    let (sold, returned, expired) = (new_id(), new_id(), new_id());
    let items = json!([{"product_id": product, "quantity": 2}]);
    let request = shop
        .request(Method::POST, "/v1/reservations")
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .bearer_auth(shop.token())
        .json(&json!({"reservation_id": sold, "items": items}));
    assert_eq!(send_and_parse(request).await.0, 201);
    shop.commit(sold).await;
    shop.commit(sold).await;
    shop.reserve(returned, &[(product, 1)]).await;
    shop.commit(returned).await;
    shop.release(returned).await;
    shop.reserve_for(expired, &[(product, 1)], 1).await;
    shop.clock.advance(1);
    shop.expire_due_reservations().await;
    shop.expire_due_reservations().await;
    shop.reserve(new_id(), &[(product, 100)]).await;

    let reserved = shop.events("StockReserved").await;
    assert_eq!(reserved.len(), 3, "a refusal reserves nothing");
    assert_eq!(
        reserved[0]["data"],
        json!({"reservation_id": sold, "items": items, "expires_at": null})
    );
    assert_eq!(reserved[0]["correlation_id"], json!(sold));
    assert!(
        reserved[0]["traceparent"]
            .as_str()
            .unwrap()
            .starts_with("00-0af7651916cd43dd8448eb211c80319c-")
    );

    let released: Vec<Value> = shop
        .events("StockReleased")
        .await
        .iter()
        .map(|e| e["data"].clone())
        .collect();
    let item = json!([{"product_id": product, "quantity": 1}]);
    assert_eq!(
        released,
        [
            json!({"reservation_id": returned, "items": item, "cause": "returned"}),
            json!({"reservation_id": expired, "items": item, "cause": "expired"}),
        ]
    );
    let updated: Vec<String> = shop
        .events("StockUpdated")
        .await
        .iter()
        .map(|event| {
            let data = &event["data"];
            format!(
                "{} {} → {}/{}",
                data["cause"], data["delta"], data["quantity"], data["reserved"]
            )
        })
        .collect();
    assert_eq!(
        updated,
        [
            "\"adjustment\" 12 → 12/0",
            "\"sale\" -2 → 10/0",
            "\"sale\" -1 → 9/0",
            "\"return\" 1 → 10/0",
        ]
    );
    // Twelve fell to ten once; after that it never was above the threshold again.
    let low: Vec<Value> = shop
        .events("StockLow")
        .await
        .iter()
        .map(|event| event["data"].clone())
        .collect();
    assert_eq!(
        low,
        [json!({"product_id": product, "available": 10, "threshold": 10})]
    );
}
