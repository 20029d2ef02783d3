//! `/v1/me/addresses`: the caller's addresses.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use http_server::{Bearer, Json, Path, Problem};
use tokens::Permission;
use users::{AddressError, Users};
use uuid::Uuid;

use crate::{
    accounts::AddressRequest,
    http::{
        ApiError,
        extractors::{Authorized, permission},
        responses::account::{AddressResponse, AddressesResponse},
    },
};

/// Lists the caller's addresses.
#[utoipa::path(
    get, path = "/v1/me/addresses", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    responses((status = 200, description = "All addresses", body = AddressesResponse)),
)]
pub async fn list_addresses(
    State(users): State<Users>,
    Authorized(user, ..): Authorized<permission::ManageOwnAccount>,
) -> Result<Json<AddressesResponse>, ApiError> {
    let addresses = users.addresses(user.id).await?;
    let items = addresses.into_iter().map(AddressResponse::from).collect();
    Ok(Json(AddressesResponse { items }))
}

/// Adds an address to the caller's account. An account has at most 20 addresses.
#[utoipa::path(
    post, path = "/v1/me/addresses", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    request_body = AddressRequest,
    responses(
        (status = 201, description = "The new address", body = AddressResponse,
         headers(("Location" = String, description = "The path of the new address"))),
        (status = 409, description = "The account has 20 addresses already",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn add_address(
    State(users): State<Users>,
    Authorized(user, ..): Authorized<permission::ManageOwnAccount>,
    Json(address): Json<AddressRequest>,
) -> Result<impl IntoResponse, ApiError> {
    let address = users.add_address(user.id, address.into()).await?;
    let location = [(header::LOCATION, format!("/v1/me/addresses/{}", address.id))];
    Ok((
        StatusCode::CREATED,
        location,
        Json(AddressResponse::from(address)),
    ))
}

/// Returns one of the caller's addresses.
#[utoipa::path(
    get, path = "/v1/me/addresses/{id}", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    params(("id" = Uuid, Path, description = "The id of the address")),
    responses((status = 200, description = "The address", body = AddressResponse)),
)]
pub async fn read_address(
    State(users): State<Users>,
    Authorized(user, ..): Authorized<permission::ManageOwnAccount>,
    Path(id): Path<Uuid>,
) -> Result<Json<AddressResponse>, ApiError> {
    let address = users.address(user.id, id).await?;
    Ok(Json(address.ok_or_else(Problem::not_found)?.into()))
}

/// Replaces one of the caller's addresses.
#[utoipa::path(
    put, path = "/v1/me/addresses/{id}", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    params(("id" = Uuid, Path, description = "The id of the address")),
    request_body = AddressRequest,
    responses((status = 200, description = "The replaced address", body = AddressResponse)),
)]
pub async fn replace_address(
    State(users): State<Users>,
    Authorized(user, ..): Authorized<permission::ManageOwnAccount>,
    Path(id): Path<Uuid>,
    Json(address): Json<AddressRequest>,
) -> Result<Json<AddressResponse>, ApiError> {
    let address = users.replace_address(user.id, id, address.into()).await?;
    Ok(Json(address.ok_or_else(Problem::not_found)?.into()))
}

/// Deletes one of the caller's addresses.
#[utoipa::path(
    delete, path = "/v1/me/addresses/{id}", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    params(("id" = Uuid, Path, description = "The id of the address")),
    responses((status = 204, description = "The address was deleted")),
)]
pub async fn remove_address(
    State(users): State<Users>,
    Authorized(user, ..): Authorized<permission::ManageOwnAccount>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, ApiError> {
    if users.remove_address(user.id, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found().into())
    }
}

impl From<AddressError> for ApiError {
    fn from(error: AddressError) -> Self {
        match error {
            AddressError::TooMany => {
                Problem::new(StatusCode::CONFLICT, "too-many-addresses", "Too many addresses")
                    .detail("An account can have at most 20 addresses. Delete one first.")
                    .into()
            }
            // The account was deleted during the request.
            AddressError::AccountNotFound => Bearer::unauthorized().into(),
            AddressError::Database(error) => error.into(),
        }
    }
}
