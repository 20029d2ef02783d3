//! `/v1/products` and `/v1/categories`: the catalog, public to read and changed by administrators.

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

use crate::{
    catalog::{
        Catalog, Category, Product, ProductDetails, ProductFilter, ProductQuery, ProductUpdateError, Sort,
    },
    cursor::{self, InvalidCursor},
    http::{
        ApiError, ProductPatch,
        extractors::{Authorized, IfMatchHeader, PageSize, permission, precondition_failed, product_etag},
        responses::product::{CategoriesResponse, CategoryResponse, ProductPage, ProductResponse},
    },
};

/// The filter, the order and the page of a list of products.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Only products of this category.
    #[param(inline)]
    category: Option<Category>,
    /// The minimum price, inclusive, in minor units.
    min_price: Option<i64>,
    /// The maximum price, inclusive, in minor units.
    max_price: Option<i64>,
    /// The order of the list. Products that compare equal are ordered by the time at which they were added.
    #[serde(default)]
    #[param(inline)]
    sort: Sort,
    /// The maximum number of products in the page.
    #[serde(default)]
    #[param(inline)]
    limit: PageSize,
    /// `next_cursor` of the previous page. Except for `limit`, the other parameters must be the same as in
    /// that request.
    cursor: Option<String>,
}

impl TryFrom<ListParameters> for ProductQuery {
    type Error = InvalidCursor;

    fn try_from(parameters: ListParameters) -> Result<Self, InvalidCursor> {
        let ListParameters {
            category,
            min_price,
            max_price,
            sort,
            limit,
            cursor,
        } = parameters;
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
/// Following `next_cursor` to the end returns every product that exists the whole time exactly once, even
/// when other products are added or deleted in between.
#[utoipa::path(
    get, path = "/v1/products", tag = "Catalog",
    extensions(("x-permission" = json!("anyone"))),
    params(
        ListParameters,
        ("If-None-Match" = Option<String>, Header,
         description = "The ETags of the versions that the client has"),
    ),
    responses(
        (status = 200, description = "A page of products", body = ProductPage,
         headers(("ETag" = String, description = "The version of the page"))),
        (status = 304, description = "The page has not changed",
         headers(("ETag" = String, description = "The version of the page"))),
    ),
)]
pub async fn list_products(
    State(catalog): State<Catalog>,
    Query(parameters): Query<ListParameters>,
) -> Result<Json<ProductPage>, ApiError> {
    let query = ProductQuery::try_from(parameters)?;
    let page = catalog.list(&query).await?;
    Ok(Json(ProductPage {
        next_cursor: page.next.map(|position| cursor::encode(&query.filter, &position)),
        items: page.products.into_iter().map(ProductResponse::from).collect(),
    }))
}

/// Returns a product.
#[utoipa::path(
    get, path = "/v1/products/{id}", tag = "Catalog",
    extensions(("x-permission" = json!("anyone"))),
    params(
        ("id" = uuid::Uuid, Path, description = "The id of the product"),
        ("If-None-Match" = Option<String>, Header,
         description = "The ETags of the versions that the client has"),
    ),
    responses(
        (status = 200, description = "The product", body = ProductResponse,
         headers(("ETag" = String, description = "The version of the product"))),
        (status = 304, description = "The product has not changed",
         headers(("ETag" = String, description = "The version of the product"))),
    ),
)]
pub async fn read_product(
    State(catalog): State<Catalog>,
    Path(id): Path<ProductId>,
) -> Result<impl IntoResponse, ApiError> {
    let product = catalog.find(id).await?.ok_or_else(Problem::not_found)?;
    Ok((etag_header(&product), Json(ProductResponse::from(product))))
}

/// Adds a product to the catalog.
#[utoipa::path(
    post, path = "/v1/products", tag = "Catalog", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageCatalog))),
    request_body = ProductDetails,
    responses((status = 201, description = "The new product", body = ProductResponse,
               headers(("Location" = String, description = "The path of the new product"),
                       ("ETag" = String, description = "The version of the product")))),
)]
pub async fn create_product(
    State(catalog): State<Catalog>,
    _: Authorized<permission::ManageCatalog>,
    TraceContext(trace): TraceContext,
    Json(details): Json<ProductDetails>,
) -> Result<impl IntoResponse, ApiError> {
    let product = catalog.create(details, trace).await?;
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
/// The body is a JSON merge patch (RFC 7396): omitted fields stay as they are, and null removes a field.
#[utoipa::path(
    patch, path = "/v1/products/{id}", tag = "Catalog", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageCatalog))),
    params(("id" = uuid::Uuid, Path, description = "The id of the product"),
           ("If-Match" = String, Header,
            description = "The ETag of the version that the change is based on")),
    request_body(content((ProductPatch = "application/merge-patch+json"),
                         (ProductPatch = "application/json"))),
    responses((status = 200, description = "The changed product", body = ProductResponse,
               headers(("ETag" = String, description = "The version of the product")))),
)]
pub async fn update_product(
    State(catalog): State<Catalog>,
    _: Authorized<permission::ManageCatalog>,
    Path(id): Path<ProductId>,
    if_match: IfMatchHeader,
    TraceContext(trace): TraceContext,
    Json(patch): Json<ProductPatch>,
) -> Result<impl IntoResponse, ApiError> {
    let product = catalog.find(id).await?.ok_or_else(Problem::not_found)?;
    if_match.require_match(&product_etag(&product))?;
    let details = patch.apply_to(&product.details)?;
    let product = catalog.update(product, details, trace).await?;
    Ok((etag_header(&product), Json(ProductResponse::from(product))))
}

/// Deletes a product from the catalog. Orders that contain it keep its name and price.
#[utoipa::path(
    delete, path = "/v1/products/{id}", tag = "Catalog", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageCatalog))),
    params(("id" = uuid::Uuid, Path, description = "The id of the product"),
           ("If-Match" = String, Header,
            description = "The ETag of the version that the deletion is based on")),
    responses((status = 204, description = "The product was deleted")),
)]
pub async fn delete_product(
    State(catalog): State<Catalog>,
    _: Authorized<permission::ManageCatalog>,
    Path(id): Path<ProductId>,
    if_match: IfMatchHeader,
    TraceContext(trace): TraceContext,
) -> Result<StatusCode, ApiError> {
    let product = catalog.find(id).await?.ok_or_else(Problem::not_found)?;
    if_match.require_match(&product_etag(&product))?;
    catalog.delete(&product, trace).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn etag_header(product: &Product) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.typed_insert(product_etag(product));
    headers
}

/// Lists the categories that have products.
#[utoipa::path(
    get, path = "/v1/categories", tag = "Catalog",
    extensions(("x-permission" = json!("anyone"))),
    params(("If-None-Match" = Option<String>, Header,
            description = "The ETags of the versions that the client has")),
    responses(
        (status = 200, description = "All categories, ordered by slug", body = CategoriesResponse,
         headers(("ETag" = String, description = "The version of the list"))),
        (status = 304, description = "The list has not changed",
         headers(("ETag" = String, description = "The version of the list"))),
    ),
)]
pub async fn list_categories(State(catalog): State<Catalog>) -> Result<Json<CategoriesResponse>, ApiError> {
    let categories = catalog.categories().await?;
    let items = categories
        .into_iter()
        .map(|(slug, count)| CategoryResponse { slug, count })
        .collect();
    Ok(Json(CategoriesResponse { items }))
}

impl From<ProductUpdateError> for ApiError {
    fn from(error: ProductUpdateError) -> Self {
        match error {
            ProductUpdateError::VersionConflict => precondition_failed().into(),
            ProductUpdateError::Database(error) => error.into(),
        }
    }
}
