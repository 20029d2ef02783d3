//! Keyset pagination of product lists: filter, order and position.

use database::{DatabaseError, truncate_page};
use domain::{ProductId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, types::Json};
use utoipa::ToSchema;

use super::{Category, Description, ImageUrl, Name, Product, Translations, product_row::select_products};

/// The order of a list. Products that compare equal are ordered by id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// By the time of creation, newest first.
    #[default]
    Newest,
    /// By price, lowest first.
    PriceAsc,
    /// By price, highest first.
    PriceDesc,
    /// By the English name, in the collation of the database.
    Name,
}

/// The filter and the order of a list. A cursor is valid only with the filter that it was created for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct ProductFilter {
    /// Only products of this category.
    pub category: Option<Category>,
    /// The minimum price, inclusive, in minor units.
    pub min_price: Option<i64>,
    /// The maximum price, inclusive, in minor units.
    pub max_price: Option<i64>,
    pub sort: Sort,
}

/// A request for a page of products.
#[derive(Clone, Debug)]
pub struct ProductQuery {
    pub filter: ProductFilter,
    /// The maximum number of products in the page.
    pub limit: u32,
    /// The position of the last product on the previous page; `None` for the first page.
    pub after: Option<Position>,
}

/// The position of a product in every order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    created_at: Timestamp,
    price: i64,
    name: String,
    id: ProductId,
}

/// A page of products.
#[derive(Clone, Debug)]
pub struct Page {
    pub products: Vec<Product>,
    /// The position after which the next page starts; `None` on the last page.
    pub next: Option<Position>,
}

impl Position {
    fn from_product(product: &Product) -> Self {
        Self {
            created_at: product.created_at,
            price: product.details.price.money().amount(),
            name: product.details.name.as_str().to_owned(),
            id: product.id,
        }
    }
}

/// Selects the products that match the filter, after a position in an order.
macro_rules! fetch_rows {
    ($order:literal, $pool:expr, $($argument:expr),+) => {
        select_products!(
            ["AND ($1::text IS NULL OR category = $1)
              AND ($2::bigint IS NULL OR price >= $2) AND ($3::bigint IS NULL OR price <= $3) AND "
             + $order + " LIMIT $4"],
            $($argument),+
        )
        .fetch_all($pool)
        .await?
    };
}

/// Reads a page. Each page starts after the position of the previous page's last product and not at an
/// offset. Following all pages therefore returns every product that exists the whole time exactly once, even
/// when others are added or deleted in between.
pub(super) async fn fetch_page(pool: &PgPool, query: &ProductQuery) -> Result<Page, DatabaseError> {
    let ProductQuery { filter, limit, after } = query;
    let category = filter.category.as_ref().map(Category::as_str);
    let (min_price, max_price) = (filter.min_price, filter.max_price);
    // Fetches one more row than the page has, to find out whether there is another page.
    let fetch_limit = i64::from(*limit) + 1;
    let after_id = after.as_ref().map(|position| position.id.0);
    let after_price = after.as_ref().map(|position| position.price);
    let rows = match filter.sort {
        Sort::Newest => {
            let after_time = after.as_ref().map(|position| position.created_at);
            fetch_rows!(
                "($5::timestamptz IS NULL OR (created_at, id) < ($5, $6::uuid)) ORDER BY created_at DESC, id DESC",
                pool,
                category,
                min_price,
                max_price,
                fetch_limit,
                after_time,
                after_id
            )
        }
        Sort::PriceAsc => fetch_rows!(
            "($5::bigint IS NULL OR (price, id) > ($5, $6::uuid)) ORDER BY price, id",
            pool,
            category,
            min_price,
            max_price,
            fetch_limit,
            after_price,
            after_id
        ),
        Sort::PriceDesc => fetch_rows!(
            "($5::bigint IS NULL OR (price, id) < ($5, $6::uuid)) ORDER BY price DESC, id DESC",
            pool,
            category,
            min_price,
            max_price,
            fetch_limit,
            after_price,
            after_id
        ),
        Sort::Name => {
            let after_name = after.as_ref().map(|position| position.name.as_str());
            fetch_rows!(
                "($5::text IS NULL OR (name, id) > ($5, $6::uuid)) ORDER BY name, id",
                pool,
                category,
                min_price,
                max_price,
                fetch_limit,
                after_name,
                after_id
            )
        }
    };
    let mut products = rows
        .into_iter()
        .map(Product::try_from)
        .collect::<Result<Vec<_>, _>>()?;
    let next = truncate_page(&mut products, *limit, Position::from_product);
    Ok(Page { products, next })
}
