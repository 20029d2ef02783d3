//! Lists of products: filters, sorting and pagination.

use std::collections::BTreeSet;

use insta::{assert_json_snapshot, assert_snapshot};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{RequestBuilderExt, TestApp};

const SORTS: [&str; 4] = ["newest", "price_asc", "price_desc", "name"];

/// Creates products, several of which share a price or a name.
async fn create_products(app: &TestApp) {
    for number in 0..13_i64 {
        let (name, category) = (
            format!("Bowl {}", number % 4),
            if number % 3 == 0 { "bowls" } else { "gifts" },
        );
        app.create_product_with(json!({
            "name": name, "description": "", "price": 100 * (number % 5), "category": category,
        }))
        .await;
    }
}

async fn product_summaries(app: &TestApp, query: &str) -> Vec<String> {
    let response = app.get(format!("/v1/products?{query}")).fetch().await;
    let items = response.body["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| format!("{} {}", item["name"].as_str().unwrap(), item["price"]))
        .collect()
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn filters_and_sorts_products(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for (name, price, category) in [
        ("Cup", 300, "cups"),
        ("Bowl", 500, "bowls"),
        ("Tall cup", 700, "cups"),
        ("Ash bowl", 500, "bowls"),
    ] {
        app.create_product_with(
            json!({"name": name, "description": "", "price": price, "category": category}),
        )
        .await;
    }
    assert_eq!(
        product_summaries(&app, "").await,
        ["Ash bowl 500", "Tall cup 700", "Bowl 500", "Cup 300"]
    );
    assert_eq!(
        product_summaries(&app, "sort=newest").await,
        product_summaries(&app, "").await
    );
    assert_eq!(
        product_summaries(&app, "sort=price_asc").await,
        ["Cup 300", "Bowl 500", "Ash bowl 500", "Tall cup 700"]
    );
    assert_eq!(
        product_summaries(&app, "sort=price_desc").await,
        ["Tall cup 700", "Ash bowl 500", "Bowl 500", "Cup 300"]
    );
    assert_eq!(
        product_summaries(&app, "sort=name").await,
        ["Ash bowl 500", "Bowl 500", "Cup 300", "Tall cup 700"]
    );
    assert_eq!(
        product_summaries(&app, "category=cups").await,
        ["Tall cup 700", "Cup 300"]
    );
    assert_eq!(product_summaries(&app, "category=nothing-here").await, [""; 0]);
    assert_eq!(
        product_summaries(&app, "min_price=500&max_price=500").await,
        ["Ash bowl 500", "Bowl 500"]
    );
    assert_eq!(
        product_summaries(&app, "category=cups&min_price=301").await,
        ["Tall cup 700"]
    );
    assert_eq!(product_summaries(&app, "min_price=2&max_price=1").await, [""; 0]);

    assert_json_snapshot!(app.get("/v1/categories").fetch().await, @r#"
    {
      "status": 200,
      "headers": {
        "content-type": "application/json",
        "etag": "\"1llonLfXSnia6BZ2\""
      },
      "body": {
        "items": [
          {
            "count": 2,
            "slug": "bowls"
          },
          {
            "count": 2,
            "slug": "cups"
          }
        ]
      }
    }
    "#);
    let page = app.get("/v1/products?limit=1&sort=name").fetch().await;
    assert_json_snapshot!(page, {
        ".headers.etag" => "[etag]",
        ".body.items[].id" => "[id]", ".body.items[].created_at" => "[time]",
        ".body.items[].updated_at" => "[time]", ".body.next_cursor" => "[cursor]",
    }, @r#"
    {
      "status": 200,
      "headers": {
        "content-type": "application/json",
        "etag": "[etag]"
      },
      "body": {
        "items": [
          {
            "category": "bowls",
            "created_at": "[time]",
            "currency": "JPY",
            "description": "",
            "id": "[id]",
            "image_url": null,
            "name": "Ash bowl",
            "price": 500,
            "tax_rate": "standard",
            "translations": {},
            "updated_at": "[time]"
          }
        ],
        "next_cursor": "[cursor]"
      }
    }
    "#);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn pagination_returns_every_product_once_despite_concurrent_changes(pool: PgPool) {
    let app = TestApp::start(pool).await;
    create_products(&app).await;
    for sort in SORTS {
        let complete = app
            .get(format!("/v1/products?sort={sort}&limit=100"))
            .fetch()
            .await;
        let initial: Vec<Value> = complete.body["items"].as_array().unwrap().clone();
        assert_eq!(complete.body["next_cursor"], Value::Null);

        let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = app
                .get(format!("/v1/products?sort={sort}&limit=3{cursor}"))
                .fetch()
                .await;
            seen.extend(page.body["items"].as_array().unwrap().clone());
            let Some(next) = page.body["next_cursor"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
            pages += 1;
            // Products that are added at the end would otherwise extend the pagination forever.
            if pages > 4 {
                continue;
            }
            // One that sorts first, one that sorts last, and one among equal products.
            for (name, price) in [("AAA", 0), ("ZZZ", 999), ("Bowl 2", 200)] {
                let id = app.create_product(name, price).await;
                if pages % 2 == 0 {
                    let product = format!("/v1/products/{id}");
                    app.delete(product)
                        .bearer_auth(&app.admin_token)
                        .header("If-Match", "*")
                        .fetch()
                        .await;
                }
            }
        }
        assert!(pages >= initial.len() / 3, "{sort} has several pages");

        let ids: Vec<&str> = seen
            .iter()
            .map(|product| product["id"].as_str().unwrap())
            .collect();
        assert_eq!(
            ids.iter().collect::<BTreeSet<_>>().len(),
            ids.len(),
            "{sort} returned a product twice"
        );
        let seen_initial: Vec<&Value> = seen.iter().filter(|product| initial.contains(product)).collect();
        assert_eq!(
            seen_initial,
            initial.iter().collect::<Vec<_>>(),
            "{sort} missed or reordered a product"
        );
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn cursor_is_valid_only_for_its_own_list(pool: PgPool) {
    let app = TestApp::start(pool).await;
    create_products(&app).await;
    let first = app
        .get("/v1/products?sort=price_asc&category=gifts&limit=2")
        .fetch()
        .await;
    let cursor = first.body_str("next_cursor");
    let same_list = format!("/v1/products?sort=price_asc&category=gifts&limit=5&cursor={cursor}");
    assert_eq!(
        app.get(same_list).fetch().await.status,
        200,
        "the page size may change between pages"
    );

    let flipped = if cursor.ends_with('A') { "B" } else { "A" };
    let tampered = format!("{}{flipped}", &cursor[..cursor.len() - 1]);
    let mut table = String::new();
    for (case, query) in [
        (
            "another sort",
            format!("sort=price_desc&category=gifts&cursor={cursor}"),
        ),
        (
            "another category",
            format!("sort=price_asc&category=bowls&cursor={cursor}"),
        ),
        ("no category", format!("sort=price_asc&cursor={cursor}")),
        (
            "another price",
            format!("sort=price_asc&category=gifts&min_price=1&cursor={cursor}"),
        ),
        (
            "tampered",
            format!("sort=price_asc&category=gifts&cursor={tampered}"),
        ),
        (
            "cut short",
            format!("sort=price_asc&category=gifts&cursor={}", &cursor[..10]),
        ),
        ("forged", "cursor=eyJpZCI6MX0".to_owned()),
        ("empty", "cursor=".to_owned()),
    ] {
        table += &format!(
            "{case:<17} {}\n",
            app.get(format!("/v1/products?{query}")).fetch().await.problem()
        );
    }
    assert_snapshot!(table, @r"
    another sort      400 invalid-cursor
    another category  400 invalid-cursor
    no category       400 invalid-cursor
    another price     400 invalid-cursor
    tampered          400 invalid-cursor
    cut short         400 invalid-cursor
    forged            400 invalid-cursor
    empty             400 invalid-cursor
    ");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_invalid_queries(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let mut table = String::new();
    for query in [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=ten",
        "sort=cheapest",
        "min_price=free",
        "max_price=99999999999999999999",
        "category=Tea%20ware",
        "category=",
        "colour=red",
        "limit=1&limit=2",
    ] {
        let response = app.get(format!("/v1/products?{query}")).fetch().await;
        table += &format!(
            "{query}\n    {}: {}\n",
            response.problem(),
            response.body_str("detail")
        );
    }
    assert_snapshot!(table, @r"
    limit=0
        400 invalid-query: Failed to deserialize query string: limit: expected a limit from 1 to 100.
    limit=101
        400 invalid-query: Failed to deserialize query string: limit: expected a limit from 1 to 100.
    limit=-1
        400 invalid-query: Failed to deserialize query string: limit: invalid digit found in string.
    limit=ten
        400 invalid-query: Failed to deserialize query string: limit: invalid digit found in string.
    sort=cheapest
        400 invalid-query: Failed to deserialize query string: sort: unknown variant `cheapest`, expected one of `newest`, `price_asc`, `price_desc`, `name`.
    min_price=free
        400 invalid-query: Failed to deserialize query string: min_price: invalid digit found in string.
    max_price=99999999999999999999
        400 invalid-query: Failed to deserialize query string: max_price: number too large to fit in target type.
    category=Tea%20ware
        400 invalid-query: Failed to deserialize query string: category: expected a slug of 1 to 40 lower-case letters, digits and hyphens.
    category=
        400 invalid-query: Failed to deserialize query string: category: expected a slug of 1 to 40 lower-case letters, digits and hyphens.
    colour=red
        400 invalid-query: Failed to deserialize query string: colour: unknown field `colour`, expected one of `category`, `min_price`, `max_price`, `sort`, `limit`, `cursor`.
    limit=1&limit=2
        400 invalid-query: Failed to deserialize query string: duplicate field `limit`.
    ");
}
