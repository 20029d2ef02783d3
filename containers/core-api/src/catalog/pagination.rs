//! Lists of products: which, in what order, from where on.

use domain::{ProductId, Timestamp};
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, types::Json};
use utoipa::ToSchema;

use super::{Category, Description, ImageUrl, Name, Product, Translations, product_row::select_products};

/// The order of a list. The id decides between products that are equal in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Latest arrivals first.
    #[default]
    Newest,
    /// Cheapest first.
    PriceAsc,
    /// Dearest first.
    PriceDesc,
    /// By the English name, as the database collates it.
    Name,
}

/// Which products, in what order. A cursor belongs to the filter it was made under.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize)]
pub struct ProductFilter {
    /// Only this category.
    pub category: Option<Category>,
    /// No price below this, in minor units.
    pub min_price: Option<i64>,
    /// No price above this, in minor units.
    pub max_price: Option<i64>,
    /// In what order.
    pub sort: Sort,
}

/// A page that is asked for.
#[derive(Clone, Debug)]
pub struct ProductQuery {
    /// Of which list.
    pub filter: ProductFilter,
    /// How many products at most.
    pub limit: u32,
    /// After which product; none asks for the first page.
    pub after: Option<Position>,
}

/// Where a product stands in each of the orders.
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
    /// The products.
    pub products: Vec<Product>,
    /// After which product the next page begins; none when this is the last.
    pub next: Option<Position>,
}

impl Position {
    fn from_product(product: &Product) -> Self {
        Self {
            created_at: product.created_at,
            price: product.details.price.0.amount(),
            name: product.details.name.as_str().to_owned(),
            id: product.id,
        }
    }
}

/// A page of products that the filter lets through, after a place in an order.
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

/// Reads a page. A product that is there all the time is on exactly one page of a walk, whatever else comes
/// and goes: each page continues after the last product's own place in the order, not after a count.
pub(super) async fn fetch_page(pool: &PgPool, listing: &ProductQuery) -> Result<Page, sqlx::Error> {
    let ProductQuery { filter, limit, after } = listing;
    let category = filter.category.as_ref().map(Category::as_str);
    let (min_price, max_price) = (filter.min_price, filter.max_price);
    // One more than is shown tells whether there is another page.
    let fetched = i64::from(*limit) + 1;
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
                fetched,
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
            fetched,
            after_price,
            after_id
        ),
        Sort::PriceDesc => fetch_rows!(
            "($5::bigint IS NULL OR (price, id) < ($5, $6::uuid)) ORDER BY price DESC, id DESC",
            pool,
            category,
            min_price,
            max_price,
            fetched,
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
                fetched,
                after_name,
                after_id
            )
        }
    };
    let mut products = rows
        .into_iter()
        .map(Product::try_from)
        .collect::<Result<Vec<_>, _>>()?;
    let more = products.len() > *limit as usize;
    products.truncate(*limit as usize);
    let next = products.last().filter(|_| more).map(Position::from_product);
    Ok(Page { products, next })
}
