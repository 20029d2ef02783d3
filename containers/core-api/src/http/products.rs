//! The catalogue over HTTP: open to everybody for reading, to administrators for changing.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use domain::ProductId;
use headers::HeaderMapExt;
use http_server::{Json, Path, Problem, Query, TraceContext};
use serde::Deserialize;
use tokens::Permission;

use super::{
    ApiError,
    authorization::{Authorized, permission},
    extract::{IfMatchHeader, product_etag},
    merge_patch::ProductPatch,
    order_response::{CategoriesResponse, CategoryResponse, ProductPage, ProductResponse},
    page_size::PageSize,
};
use crate::{
    catalog::{Catalog, Category, Product, ProductDetails, ProductFilter, ProductQuery, Sort},
    cursor::{self, InvalidCursor},
};

/// Which products to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Only this category.
    #[param(inline)]
    category: Option<Category>,
    /// No price below this, in minor units.
    min_price: Option<i64>,
    /// No price above this, in minor units.
    max_price: Option<i64>,
    /// In what order. Products that are equal in it follow each other by age.
    #[serde(default)]
    #[param(inline)]
    sort: Sort,
    /// How many at most.
    #[serde(default)]
    #[param(inline)]
    limit: PageSize,
    /// `next_cursor` of the page before; the other parameters must be as they were, but for the limit.
    cursor: Option<String>,
}

impl TryFrom<ListParameters> for ProductQuery {
    type Error = InvalidCursor;

    fn try_from(asked: ListParameters) -> Result<Self, InvalidCursor> {
        let ListParameters {
            category,
            min_price,
            max_price,
            sort,
            limit,
            cursor,
        } = asked;
        let filter = ProductFilter {
            category,
            min_price,
            max_price,
            sort,
        };
        let after = cursor
            .map(|cursor| cursor::decode(&filter, &cursor))
            .transpose()?;
        Ok(Self {
            filter,
            limit: limit.get(),
            after,
        })
    }
}

/// Lists products.
///
/// A walk along `next_cursor` meets every product that is there all the time exactly once, whatever is added
/// or removed meanwhile.
#[utoipa::path(
    get, path = "/v1/products", tag = "Catalogue",
    extensions(("x-permission" = json!("anyone"))),
    params(
        ListParameters,
        ("If-None-Match" = Option<String>, Header, description = "ETags of what is known already"),
    ),
    responses(
        (status = 200, description = "A page of products", body = ProductPage,
         headers(("ETag" = String, description = "Another when the page is another"))),
        (status = 304, description = "The page is as known",
         headers(("ETag" = String, description = "Another when the page is another"))),
    ),
)]
pub async fn list_products(
    State(catalogue): State<Catalog>,
    Query(parameters): Query<ListParameters>,
) -> Result<Json<ProductPage>, ApiError> {
    let listing = ProductQuery::try_from(parameters)?;
    let page = catalogue.list(&listing).await?;
    Ok(Json(ProductPage {
        next_cursor: page
            .next
            .map(|position| cursor::encode(&listing.filter, &position)),
        items: page.products.into_iter().map(ProductResponse::from).collect(),
    }))
}

/// Reads a product.
#[utoipa::path(
    get, path = "/v1/products/{id}", tag = "Catalogue",
    extensions(("x-permission" = json!("anyone"))),
    params(
        ("id" = uuid::Uuid, Path, description = "The product"),
        ("If-None-Match" = Option<String>, Header, description = "ETags of what is known already"),
    ),
    responses(
        (status = 200, description = "The product", body = ProductResponse,
         headers(("ETag" = String, description = "The product's version"))),
        (status = 304, description = "The product is as known",
         headers(("ETag" = String, description = "The product's version"))),
    ),
)]
pub async fn read_product(
    State(catalogue): State<Catalog>,
    Path(id): Path<ProductId>,
) -> Result<impl IntoResponse, ApiError> {
    let product = catalogue.find(id).await?.ok_or_else(Problem::not_found)?;
    Ok((etag_header(&product), Json(ProductResponse::from(product))))
}

/// Adds a product.
#[utoipa::path(
    post, path = "/v1/products", tag = "Catalogue", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageCatalog))),
    request_body = ProductDetails,
    responses((status = 201, description = "The product as it was added", body = ProductResponse,
               headers(("Location" = String, description = "Where it is"),
                       ("ETag" = String, description = "The product's version")))),
)]
pub async fn create_product(
    State(catalogue): State<Catalog>,
    _: Authorized<permission::ManageCatalog>,
    TraceContext(trace): TraceContext,
    Json(details): Json<ProductDetails>,
) -> Result<impl IntoResponse, ApiError> {
    let product = catalogue.create(details, trace).await?;
    let location = [(header::LOCATION, format!("/v1/products/{}", product.id))];
    Ok((
        StatusCode::CREATED,
        location,
        etag_header(&product),
        Json(ProductResponse::from(product)),
    ))
}

/// Changes a product.
///
/// The body is a JSON merge patch (RFC 7396): what it names is replaced, what it gives as null is removed.
#[utoipa::path(
    patch, path = "/v1/products/{id}", tag = "Catalogue", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageCatalog))),
    params(("id" = uuid::Uuid, Path, description = "The product"),
           ("If-Match" = String, Header, description = "The ETag that the change was decided on")),
    request_body(content((ProductPatch = "application/merge-patch+json"), (ProductPatch = "application/json"))),
    responses((status = 200, description = "The product as it is now", body = ProductResponse,
               headers(("ETag" = String, description = "The product's version")))),
)]
pub async fn update_product(
    State(catalogue): State<Catalog>,
    _: Authorized<permission::ManageCatalog>,
    Path(id): Path<ProductId>,
    expected: IfMatchHeader,
    TraceContext(trace): TraceContext,
    Json(patch): Json<ProductPatch>,
) -> Result<impl IntoResponse, ApiError> {
    let product = catalogue.find(id).await?.ok_or_else(Problem::not_found)?;
    expected.require_match(&product_etag(&product))?;
    let details = patch.apply_to(&product.details)?;
    let product = catalogue.update(product, details, trace).await?;
    Ok((etag_header(&product), Json(ProductResponse::from(product))))
}

/// Takes a product out of the catalogue. Orders that name it keep its name and price.
#[utoipa::path(
    delete, path = "/v1/products/{id}", tag = "Catalogue", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageCatalog))),
    params(("id" = uuid::Uuid, Path, description = "The product"),
           ("If-Match" = String, Header, description = "The ETag that the removal was decided on")),
    responses((status = 204, description = "It is gone")),
)]
pub async fn delete_product(
    State(catalogue): State<Catalog>,
    _: Authorized<permission::ManageCatalog>,
    Path(id): Path<ProductId>,
    expected: IfMatchHeader,
    TraceContext(trace): TraceContext,
) -> Result<StatusCode, ApiError> {
    let product = catalogue.find(id).await?.ok_or_else(Problem::not_found)?;
    expected.require_match(&product_etag(&product))?;
    catalogue.delete(&product, trace).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The header that tells a product's version.
fn etag_header(product: &Product) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.typed_insert(product_etag(product));
    headers
}

/// Lists the categories that have products.
#[utoipa::path(
    get, path = "/v1/categories", tag = "Catalogue",
    extensions(("x-permission" = json!("anyone"))),
    params(("If-None-Match" = Option<String>, Header, description = "ETags of what is known already")),
    responses(
        (status = 200, description = "Every category, by slug", body = CategoriesResponse,
         headers(("ETag" = String, description = "Another when the list is another"))),
        (status = 304, description = "The list is as known",
         headers(("ETag" = String, description = "Another when the list is another"))),
    ),
)]
pub async fn list_categories(State(catalogue): State<Catalog>) -> Result<Json<CategoriesResponse>, ApiError> {
    let categories = catalogue.categories().await?;
    let items = categories
        .into_iter()
        .map(|(slug, count)| CategoryResponse { slug, count })
        .collect();
    Ok(Json(CategoriesResponse { items }))
}
