//! One's own account over HTTP.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::IntoResponse,
};
use domain::UserId;
use headers::HeaderMapExt;
use http_server::{Bearer, Json};
use serde_json::json;
use tokens::Permission;
use users::{Profile, Users};

use super::{
    ApiError, AppState, SharedState,
    account_response::{AccountResponse, DataExportResponse},
    authorization::{Authorized, permission},
    extract::{AuditContext, IfMatchHeader, profile_etag},
};
use crate::{
    accounts::{self, ProfilePatch},
    carts::CartId,
};

/// Reads one's own account.
#[utoipa::path(
    get, path = "/v1/me", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    responses((status = 200, description = "The account", body = AccountResponse,
               headers(("ETag" = String, description = "The account's version")))),
)]
pub async fn read_account(
    State(users): State<Users>,
    Authorized(person, ..): Authorized<permission::ManageOwnAccount>,
) -> Result<impl IntoResponse, ApiError> {
    let profile = own_profile(&users, person.id).await?;
    Ok((etag_header(&profile), Json(AccountResponse::from(profile))))
}

/// Changes one's own name or preferences.
///
/// The body is a JSON merge patch (RFC 7396): what it names is replaced, a preference that it gives as null is as at
/// first. Role, id and e-mail address are not one's own to change, and refused.
#[utoipa::path(
    patch, path = "/v1/me", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    params(("If-Match" = String, Header, description = "The ETag that the change was decided on")),
    request_body(content((ProfilePatch = "application/merge-patch+json"), (ProfilePatch = "application/json"))),
    responses((status = 200, description = "The account as it is now", body = AccountResponse,
               headers(("ETag" = String, description = "The account's version")))),
)]
pub async fn update_account(
    State(users): State<Users>,
    Authorized(person, ..): Authorized<permission::ManageOwnAccount>,
    expected: IfMatchHeader,
    source: AuditContext,
    Json(patch): Json<ProfilePatch>,
) -> Result<impl IntoResponse, ApiError> {
    let profile = own_profile(&users, person.id).await?;
    expected.require_match(&profile_etag(&profile))?;
    let details = json!({"members": patch.changed_fields()});
    let (name, preferences) = patch.apply_to(&profile.user.name, profile.preferences);
    let entry = source.audit_entry(person.id, "profile_changed", person.id, details);
    let profile = users.update_profile(profile, name, preferences, &entry).await?;
    Ok((etag_header(&profile), Json(AccountResponse::from(profile))))
}

/// Deletes one's own account.
///
/// Its addresses, identities and cart go, its e-mail address is free again, and its tokens open nothing any more.
/// Orders stay for the books, without address and payment method.
#[utoipa::path(
    delete, path = "/v1/me", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "An order is still in progress", body = super::openapi::Problem,
         content_type = "application/problem+json"),
    ),
)]
pub async fn delete_account(
    State(app): State<SharedState>,
    Authorized(person, ..): Authorized<permission::ManageOwnAccount>,
    source: AuditContext,
) -> Result<StatusCode, ApiError> {
    let AppState {
        users,
        orders,
        order_service,
        carts,
        ..
    } = &*app;
    let entry = source.audit_entry(person.id, "account_deleted", person.id, json!({}));
    accounts::delete_account(users, orders, order_service, carts, person.id, &entry).await?;
    app.account_status.invalidate(person.id).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Everything that is held of oneself, as one document.
#[utoipa::path(
    get, path = "/v1/me/export", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    responses((status = 200, description = "Everything", body = DataExportResponse)),
)]
pub async fn export_account(
    State(app): State<SharedState>,
    Authorized(person, ..): Authorized<permission::ManageOwnAccount>,
    source: AuditContext,
) -> Result<impl IntoResponse, ApiError> {
    let users = &app.users;
    let profile = own_profile(users, person.id).await?;
    let entry = source.audit_entry(person.id, "data_exported", person.id, json!({}));
    users.record_audit(&entry).await?;

    let orders = app.orders.list_all(person.id).await?;
    let cart = app.carts.read(&CartId::for_user(person.id)).await?;
    let export = DataExportResponse {
        account: profile.into(),
        identities: into_responses(users.linked_identities(person.id).await?),
        addresses: into_responses(users.addresses(person.id).await?),
        orders: into_responses(orders),
        cart: into_responses(cart.lines),
        audit: into_responses(users.audit_log_about_user(person.id).await?),
    };
    let file = HeaderValue::from_static("attachment; filename=\"matsuri-account.json\"");
    Ok(([(header::CONTENT_DISPOSITION, file)], Json(export)))
}

fn into_responses<T, V: From<T>>(values: Vec<T>) -> Vec<V> {
    values.into_iter().map(V::from).collect()
}

/// The account of the one who asks. It may have gone since the token was looked at.
async fn own_profile(users: &Users, user_id: UserId) -> Result<Profile, ApiError> {
    let profile = users.profile(user_id).await?;
    Ok(profile.ok_or_else(Bearer::unauthorized)?)
}

/// The header that tells an account's version.
fn etag_header(profile: &Profile) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.typed_insert(profile_etag(profile));
    headers
}
