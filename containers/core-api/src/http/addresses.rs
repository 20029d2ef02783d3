//! One's own addresses over HTTP.

use access_tokens::Permission;
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use users::Users;
use uuid::Uuid;
use web::{Json, Path, Problem};

use super::{
    ApiError,
    account_views::{AddressView, AddressesView},
    permission::{May, needs},
};
use crate::people::AddressRequest;

/// Lists one's own addresses.
#[utoipa::path(
    get, path = "/v1/me/addresses", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::OwnAccount))),
    responses((status = 200, description = "All of them", body = AddressesView)),
)]
pub async fn list_addresses(
    State(users): State<Users>,
    May(person, ..): May<needs::OwnAccount>,
) -> Result<Json<AddressesView>, ApiError> {
    let addresses = users.addresses(person.id).await?;
    let items = addresses.into_iter().map(AddressView::from).collect();
    Ok(Json(AddressesView { items }))
}

/// Adds an address. There may be twenty.
#[utoipa::path(
    post, path = "/v1/me/addresses", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::OwnAccount))),
    request_body = AddressRequest,
    responses(
        (status = 201, description = "The address as it was added", body = AddressView,
         headers(("Location" = String, description = "Where it is"))),
        (status = 409, description = "There are twenty already", body = super::docs::Problem,
         content_type = "application/problem+json"),
    ),
)]
pub async fn add_address(
    State(users): State<Users>,
    May(person, ..): May<needs::OwnAccount>,
    Json(address): Json<AddressRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let address = users.add_address(person.id, address.into()).await?;
    let location = [(header::LOCATION, format!("/v1/me/addresses/{}", address.id))];
    Ok((StatusCode::CREATED, location, Json(AddressView::from(address))))
}

/// Reads one of one's own addresses.
#[utoipa::path(
    get, path = "/v1/me/addresses/{id}", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::OwnAccount))),
    params(("id" = Uuid, Path, description = "The address")),
    responses((status = 200, description = "The address", body = AddressView)),
)]
pub async fn read_address(
    State(users): State<Users>,
    May(person, ..): May<needs::OwnAccount>,
    Path(id): Path<Uuid>,
) -> Result<Json<AddressView>, ApiError> {
    let address = users.address(person.id, id).await?;
    Ok(Json(address.ok_or_else(Problem::not_found)?.into()))
}

/// Puts another address in the place of one of one's own.
#[utoipa::path(
    put, path = "/v1/me/addresses/{id}", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::OwnAccount))),
    params(("id" = Uuid, Path, description = "The address")),
    request_body = AddressRequest,
    responses((status = 200, description = "The address as it is now", body = AddressView)),
)]
pub async fn replace_address(
    State(users): State<Users>,
    May(person, ..): May<needs::OwnAccount>,
    Path(id): Path<Uuid>,
    Json(address): Json<AddressRequest>,
) -> Result<Json<AddressView>, ApiError> {
    let address = users.replace_address(person.id, id, address.into()).await?;
    Ok(Json(address.ok_or_else(Problem::not_found)?.into()))
}

/// Removes one of one's own addresses.
#[utoipa::path(
    delete, path = "/v1/me/addresses/{id}", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::OwnAccount))),
    params(("id" = Uuid, Path, description = "The address")),
    responses((status = 204, description = "It is gone")),
)]
pub async fn remove_address(
    State(users): State<Users>,
    May(person, ..): May<needs::OwnAccount>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    if users.remove_address(person.id, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found().into())
    }
}
