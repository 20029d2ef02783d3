//! Responses to every request on a reservation in each of its states, and to stock level and adjustment
//! requests.

use domain::ProductId;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

use crate::support::{TestApp, new_id, problem_slug, send_and_parse};

/// States of a reservation, each with the units that are then reserved and sold.
const STATES: [(&str, i64, i64); 9] = [
    ("none", 0, 0),
    ("reserved", 3, 0),
    ("committed", 0, 3),
    ("released", 0, 0),
    ("returned", 0, 0),
    ("past expiry", 3, 0),
    ("expired", 0, 0),
    ("refused", 0, 0),
    ("released before reserve", 0, 0),
];

/// Creates a reservation in that state.
async fn create_in_state(state: &str, app: &TestApp, product: ProductId) -> Uuid {
    let id = new_id();
    match state {
        "none" => return id,
        "released before reserve" => assert_eq!(app.release(id).await.0, 200),
        "refused" => assert_eq!(app.reserve(id, &[(product, 101)]).await.0, 409),
        "past expiry" | "expired" => {
            assert_eq!(app.reserve_for(id, &[(product, 3)], 60).await.0, 201);
            app.clock.advance(60);
        }
        _ => assert_eq!(app.reserve(id, &[(product, 3)]).await.0, 201),
    }
    match state {
        "committed" => assert_eq!(app.commit(id).await.0, 200),
        "released" => assert_eq!(app.release(id).await.0, 200),
        "returned" => {
            assert_eq!(app.commit(id).await.0, 200);
            assert_eq!(app.release(id).await.0, 200);
        }
        "expired" => app.expire_due_reservations().await,
        _ => {}
    }
    id
}

/// Status code, and the reservation's status or the problem's slug.
fn summary((code, body): (StatusCode, Value)) -> String {
    let status = body["status"]
        .as_str()
        .map_or_else(|| problem_slug(&body).to_owned(), str::to_owned);
    format!("{} {status}", code.as_u16())
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn every_request_in_every_state(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let mut table = Vec::new();
    for (state, reserved, sold) in STATES {
        for request_kind in ["reserve", "reserve other items", "commit", "release", "show"] {
            let product = app.create_product_with_stock(100).await;
            let id = create_in_state(state, &app, product).await;
            assert_eq!(app.stock_level(product).await, (100 - sold, reserved), "{state}");

            let quantity = if state == "refused" { 101 } else { 3 };
            let send = async || match request_kind {
                "reserve" => app.reserve(id, &[(product, quantity)]).await,
                "reserve other items" => app.reserve(id, &[(product, 4)]).await,
                "commit" => app.commit(id).await,
                "release" => app.release(id).await,
                _ => app.get(&format!("/v1/reservations/{id}")).await,
            };
            let response = send().await;
            let level = app.stock_level(product).await;
            assert_eq!(send().await, response, "{state}, {request_kind}: repetition");
            assert_eq!(
                app.stock_level(product).await,
                level,
                "{state}, {request_kind}: repetition"
            );
            table.push(format!(
                "{state}, {request_kind}: {}, {}/{}",
                summary(response),
                level.0,
                level.1
            ));
        }
    }
    app.assert_consistent().await;
    // State, request: response, quantity/reserved afterwards.
    assert_eq!(
        table,
        [
            "none, reserve: 201 reserved, 100/3",
            "none, reserve other items: 201 reserved, 100/4",
            "none, commit: 404 not-found, 100/0",
            "none, release: 200 released, 100/0",
            "none, show: 404 not-found, 100/0",
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
            "past expiry, reserve: 409 reservation-expired, 100/0",
            "past expiry, reserve other items: 422 reservation-mismatch, 100/0",
            "past expiry, commit: 409 reservation-expired, 100/0",
            "past expiry, release: 200 expired, 100/0",
            "past expiry, show: 200 expired, 100/3",
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
            "released before reserve, reserve: 409 reservation-released, 100/0",
            "released before reserve, reserve other items: 409 reservation-released, 100/0",
            "released before reserve, commit: 409 reservation-released, 100/0",
            "released before reserve, release: 200 released, 100/0",
            "released before reserve, show: 200 released, 100/0",
        ]
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn reservation_sums_lines_and_refusal_is_stored(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let mut products = [
        app.create_product_with_stock(5).await,
        app.create_product_with_stock(2).await,
    ];
    products.sort();
    let [first, second] = products;
    let id = new_id();

    // Lines of the same product are summed, and the order of the lines does not matter.
    let (code, reservation) = app
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
        app.reserve(id, &[(first, 1), (second, 2)]).await,
        (code, reservation)
    );

    // One short line rejects the whole reservation; repetitions are rejected even if stock is available
    // later.
    let late = new_id();
    let unknown = ProductId(new_id());
    let refused = app.reserve(late, &[(first, 1), (second, 1), (unknown, 1)]).await;
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
    assert_eq!(app.release(id).await.0, 200);
    assert_eq!(
        app.reserve(late, &[(first, 1), (second, 1), (unknown, 1)]).await,
        refused
    );
    assert_eq!(
        (app.stock_level(first).await, app.stock_level(second).await).1,
        (2, 0)
    );
    app.assert_consistent().await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn stock_held_by_open_reservations_is_not_a_stored_refusal(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let product = app.create_product_with_stock(5).await;
    let (open, waiting, late) = (new_id(), new_id(), new_id());
    assert_eq!(app.reserve(open, &[(product, 4)]).await.0, 201);
    let held = app.reserve(waiting, &[(product, 3)]).await;
    assert_eq!(held.0, 409);
    assert_eq!(
        held.1,
        json!({
            "type": "https://matsuri.dev/problems/stock-held",
            "title": "Open reservations hold the stock",
            "status": 409,
            "detail": "Open reservations hold units of each product that `shortages` lists. Repeat the request: \
                       it succeeds when enough of them were released.",
            "shortages": [{"product_id": product, "requested": 3, "available": 1}],
        })
    );
    assert_eq!(
        summary(app.get(&format!("/v1/reservations/{waiting}")).await),
        "404 not-found",
        "nothing is stored"
    );
    assert_eq!(app.stock_level(product).await, (5, 4));

    // The units come back.
    app.release(open).await;
    assert_eq!(app.reserve(waiting, &[(product, 3)]).await.0, 201);

    // The units are sold: the same request is refused permanently.
    let request = [(product, 3)];
    assert_eq!(summary(app.reserve(late, &request).await), "409 stock-held");
    assert_eq!(app.commit(waiting).await.0, 200);
    let refused = app.reserve(late, &request).await;
    assert_eq!(summary(refused.clone()), "409 insufficient-stock");
    assert_eq!(app.adjust(product, new_id(), 10).await.0, 201);
    assert_eq!(app.reserve(late, &request).await, refused);

    // A release ends the waiting of an order that has given up.
    let given_up = new_id();
    let blocker = new_id();
    assert_eq!(app.reserve(blocker, &[(product, 12)]).await.0, 201);
    assert_eq!(summary(app.reserve(given_up, &request).await), "409 stock-held");
    assert_eq!(app.release(given_up).await.0, 200);
    app.release(blocker).await;
    assert_eq!(
        summary(app.reserve(given_up, &request).await),
        "409 reservation-released"
    );
    app.assert_consistent().await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn adjustments_change_the_level_once_per_id(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let product = app.create_product().await;
    let show = format!("/v1/stock/{product}");
    assert_eq!(summary(app.get(&show).await), "404 not-found");
    assert_eq!(
        summary(app.adjust(ProductId(new_id()), new_id(), 5).await),
        "404 not-found"
    );

    // The first adjustment of a product creates its stock row.
    let delivery = new_id();
    let (code, level) = app.adjust(product, delivery, 20).await;
    assert_eq!(code, 201);
    assert_eq!(
        level,
        json!({"adjustment_id": delivery, "delta": 20, "product_id": product, "quantity": 20, "reserved": 0,
               "available": 20, "updated_at": "2027-01-15T08:00:00Z"})
    );
    assert_eq!(app.reserve(new_id(), &[(product, 15)]).await.0, 201);
    assert_eq!(
        app.adjust(product, delivery, 20).await,
        (code, level),
        "a repetition returns the first response"
    );
    assert_eq!(
        app.get(&show).await.1,
        json!({"product_id": product, "quantity": 20, "reserved": 15, "available": 5,
               "updated_at": "2027-01-15T08:00:00.000002Z"}),
        "the time rises with both changes, although the clock stands still"
    );

    // Reserved units cannot be removed, and the rejection is stored.
    let rejected_id = new_id();
    let refused = app.adjust(product, rejected_id, -6).await;
    assert_eq!(summary(refused.clone()), "409 insufficient-stock");
    assert_eq!(
        refused.1["shortages"],
        json!([{"product_id": product, "requested": 6, "available": 5}])
    );
    assert_eq!(app.adjust(product, new_id(), 1).await.0, 201);
    assert_eq!(app.adjust(product, rejected_id, -6).await, refused);
    assert_eq!(app.adjust(product, new_id(), -6).await.0, 201);

    // The same id with different content.
    let other = app.create_product_with_stock(20).await;
    assert_eq!(
        summary(app.adjust(product, delivery, 21).await),
        "422 adjustment-mismatch"
    );
    assert_eq!(
        summary(app.adjust(other, delivery, 20).await),
        "422 adjustment-mismatch"
    );
    let reworded = json!({"adjustment_id": delivery, "delta": 20, "reason": "delivered"});
    let response = app.post(&format!("{show}/adjustments"), reworded).await;
    assert_eq!(summary(response), "422 adjustment-mismatch");
    assert_eq!(
        (app.stock_level(product).await, app.stock_level(other).await),
        ((15, 15), (20, 0))
    );
    app.assert_consistent().await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn events_carry_the_client_trace(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let product = app.create_product_with_stock(12).await;
    let (sold, returned, expired) = (new_id(), new_id(), new_id());
    let items = json!([{"product_id": product, "quantity": 2}]);
    let request = app
        .request(Method::POST, "/v1/reservations")
        .header(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        .bearer_auth(app.token())
        .json(&json!({"reservation_id": sold, "items": items}));
    assert_eq!(send_and_parse(request).await.0, 201);
    app.commit(sold).await;
    app.commit(sold).await;
    app.reserve(returned, &[(product, 1)]).await;
    app.commit(returned).await;
    app.release(returned).await;
    app.reserve_for(expired, &[(product, 1)], 1).await;
    app.clock.advance(1);
    app.expire_due_reservations().await;
    app.expire_due_reservations().await;
    app.reserve(new_id(), &[(product, 100)]).await;

    let reserved = app.events("StockReserved").await;
    assert_eq!(reserved.len(), 3, "a rejected reservation emits no event");
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

    let released: Vec<Value> = app
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
    let updated: Vec<String> = app
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
    // The level falls from 12 to 10 once and never exceeds the threshold again.
    let low: Vec<Value> = app
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
