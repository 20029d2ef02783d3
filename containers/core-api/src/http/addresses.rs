//! One's own addresses over HTTP.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use http_server::{Json, Path, Problem};
use tokens::Permission;
use users::Users;
use uuid::Uuid;

use super::{
    ApiError,
    account_response::{AddressResponse, AddressesResponse},
    authorization::{Authorized, permission},
};
use crate::accounts::AddressRequest;

/// Lists one's own addresses.
#[utoipa::path(
    get, path = "/v1/me/addresses", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    responses((status = 200, description = "All of them", body = AddressesResponse)),
)]
pub async fn list_addresses(
    State(users): State<Users>,
    Authorized(person, ..): Authorized<permission::ManageOwnAccount>,
) -> Result<Json<AddressesResponse>, ApiError> {
    let addresses = users.addresses(person.id).await?;
    let items = addresses.into_iter().map(AddressResponse::from).collect();
    Ok(Json(AddressesResponse { items }))
}

/// Adds an address. There may be twenty.
#[utoipa::path(
    post, path = "/v1/me/addresses", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    request_body = AddressRequest,
    responses(
        (status = 201, description = "The address as it was added", body = AddressResponse,
         headers(("Location" = String, description = "Where it is"))),
        (status = 409, description = "There are twenty already", body = super::openapi::Problem,
         content_type = "application/problem+json"),
    ),
)]
pub async fn add_address(
    State(users): State<Users>,
    Authorized(person, ..): Authorized<permission::ManageOwnAccount>,
    Json(address): Json<AddressRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let address = users.add_address(person.id, address.into()).await?;
    let location = [(header::LOCATION, format!("/v1/me/addresses/{}", address.id))];
    Ok((
        StatusCode::CREATED,
        location,
        Json(AddressResponse::from(address)),
    ))
}

/// Reads one of one's own addresses.
#[utoipa::path(
    get, path = "/v1/me/addresses/{id}", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    params(("id" = Uuid, Path, description = "The address")),
    responses((status = 200, description = "The address", body = AddressResponse)),
)]
pub async fn read_address(
    State(users): State<Users>,
    Authorized(person, ..): Authorized<permission::ManageOwnAccount>,
    Path(id): Path<Uuid>,
) -> Result<Json<AddressResponse>, ApiError> {
    let address = users.address(person.id, id).await?;
    Ok(Json(address.ok_or_else(Problem::not_found)?.into()))
}

/// Puts another address in the place of one of one's own.
#[utoipa::path(
    put, path = "/v1/me/addresses/{id}", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    params(("id" = Uuid, Path, description = "The address")),
    request_body = AddressRequest,
    responses((status = 200, description = "The address as it is now", body = AddressResponse)),
)]
pub async fn replace_address(
    State(users): State<Users>,
    Authorized(person, ..): Authorized<permission::ManageOwnAccount>,
    Path(id): Path<Uuid>,
    Json(address): Json<AddressRequest>,
) -> Result<Json<AddressResponse>, ApiError> {
    let address = users.replace_address(person.id, id, address.into()).await?;
    Ok(Json(address.ok_or_else(Problem::not_found)?.into()))
}

/// Removes one of one's own addresses.
#[utoipa::path(
    delete, path = "/v1/me/addresses/{id}", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    params(("id" = Uuid, Path, description = "The address")),
    responses((status = 204, description = "It is gone")),
)]
pub async fn remove_address(
    State(users): State<Users>,
    Authorized(person, ..): Authorized<permission::ManageOwnAccount>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    if users.remove_address(person.id, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found().into())
    }
}
