//! `/v1/me`: the caller's account.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::IntoResponse,
};
use domain::UserId;
use headers::HeaderMapExt;
use http_server::{Bearer, Json, Problem};
use serde_json::json;
use tokens::Permission;
use users::{Profile, ProfileError, Users};

use crate::{
    accounts::{self, AccountStatusCache, DeleteAccountError, ProfilePatch},
    carts::CartId,
    http::{
        ApiError, AppState, SharedState,
        extractors::{
            AuditContext, Authorized, IfMatchHeader, permission, precondition_failed, profile_etag,
        },
        responses::account::{AccountResponse, DataExportResponse},
    },
};

/// Returns the caller's account.
#[utoipa::path(
    get, path = "/v1/me", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    responses((status = 200, description = "The account", body = AccountResponse,
               headers(("ETag" = String, description = "The version of the account")))),
)]
pub async fn read_account(
    State(users): State<Users>,
    Authorized(user, ..): Authorized<permission::ManageOwnAccount>,
) -> Result<impl IntoResponse, ApiError> {
    let profile = own_profile(&users, user.id).await?;
    Ok((etag_header(&profile), Json(AccountResponse::from(profile))))
}

/// Changes the caller's name or preferences.
///
/// The body is a JSON merge patch (RFC 7396). Omitted fields stay as they are; a preference that is null is
/// reset to its default. Other fields, such as the role and the e-mail address, are rejected.
#[utoipa::path(
    patch, path = "/v1/me", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    params(("If-Match" = String, Header,
            description = "The ETag of the version that the change is based on")),
    request_body(content((ProfilePatch = "application/merge-patch+json"),
                         (ProfilePatch = "application/json"))),
    responses(
        (status = 200, description = "The changed account", body = AccountResponse,
         headers(("ETag" = String, description = "The version of the account"))),
        (status = 409, description = "`phone-number-required`: the preference `order_sms` needs a verified \
                                      telephone number",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn update_account(
    State(users): State<Users>,
    State(account_status): State<AccountStatusCache>,
    Authorized(user, ..): Authorized<permission::ManageOwnAccount>,
    if_match: IfMatchHeader,
    audit: AuditContext,
    Json(patch): Json<ProfilePatch>,
) -> Result<impl IntoResponse, ApiError> {
    let profile = own_profile(&users, user.id).await?;
    if_match.require_match(&profile_etag(&profile))?;
    let details = json!({"members": patch.changed_fields()});
    let (name, preferences) = patch.apply_to(&profile.user.name, profile.preferences);
    if preferences.order_sms && profile.phone_number.is_none() {
        return Err(phone_number_required().into());
    }
    let entry = audit.audit_entry(user.id, "profile_changed", user.id, details);
    let profile = users.update_profile(profile, name, preferences, &entry).await?;
    // The next order must use the new preferences.
    account_status.invalidate(user.id).await;
    Ok((etag_header(&profile), Json(AccountResponse::from(profile))))
}

/// Deletes the caller's account.
///
/// Deletes the addresses, the telephone number, the linked identities and the cart, releases the e-mail
/// address and invalidates all access tokens. Orders are kept for accounting, without addresses, telephone
/// number and payment method.
#[utoipa::path(
    delete, path = "/v1/me", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    responses(
        (status = 204, description = "The account was deleted"),
        (status = 409, description = "An order is still in progress", body = openapi::Problem,
         content_type = "application/problem+json"),
    ),
)]
pub async fn delete_account(
    State(app): State<SharedState>,
    Authorized(user, ..): Authorized<permission::ManageOwnAccount>,
    audit: AuditContext,
) -> Result<StatusCode, ApiError> {
    let AppState {
        users,
        orders,
        order_service,
        carts,
        ..
    } = &*app;
    let entry = audit.audit_entry(user.id, "account_deleted", user.id, json!({}));
    accounts::delete_account(users, orders, order_service, carts, user.id, &entry).await?;
    app.account_status.invalidate(user.id).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Exports all personal data about the caller as one JSON document.
#[utoipa::path(
    get, path = "/v1/me/export", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageOwnAccount))),
    responses((status = 200, description = "The personal data", body = DataExportResponse)),
)]
pub async fn export_account(
    State(app): State<SharedState>,
    Authorized(user, ..): Authorized<permission::ManageOwnAccount>,
    audit: AuditContext,
) -> Result<impl IntoResponse, ApiError> {
    let users = &app.users;
    let profile = own_profile(users, user.id).await?;
    let entry = audit.audit_entry(user.id, "data_exported", user.id, json!({}));
    users.record_audit(&entry).await?;

    let orders = app.orders.list_all(user.id).await?;
    let cart = app.carts.read(&CartId::for_user(user.id)).await?;
    let export = DataExportResponse {
        account: profile.into(),
        identities: into_responses(users.linked_identities(user.id).await?),
        addresses: into_responses(users.addresses(user.id).await?),
        orders: into_responses(orders),
        cart: into_responses(cart.lines),
        audit: into_responses(users.audit_log_about_user(user.id).await?),
    };
    let disposition = HeaderValue::from_static("attachment; filename=\"matsuri-account.json\"");
    Ok(([(header::CONTENT_DISPOSITION, disposition)], Json(export)))
}

fn into_responses<T, R: From<T>>(values: Vec<T>) -> Vec<R> {
    values.into_iter().map(R::from).collect()
}

/// The caller's profile. Returns 401 when the account was deleted after the token was verified.
pub(super) async fn own_profile(users: &Users, user_id: UserId) -> Result<Profile, ApiError> {
    let profile = users.profile(user_id).await?;
    Ok(profile.ok_or_else(Bearer::unauthorized)?)
}

/// 409: SMS need a number.
fn phone_number_required() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "phone-number-required",
        "A telephone number is required",
    )
    .detail("Verify a number with PUT /v1/me/phone and POST /v1/me/phone/verification first.")
}

pub(super) fn etag_header(profile: &Profile) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.typed_insert(profile_etag(profile));
    headers
}

impl From<ProfileError> for ApiError {
    fn from(error: ProfileError) -> Self {
        match error {
            ProfileError::Conflict => precondition_failed().into(),
            ProfileError::Database(error) => error.into(),
        }
    }
}

impl From<DeleteAccountError> for ApiError {
    fn from(error: DeleteAccountError) -> Self {
        match error {
            DeleteAccountError::OrderOpen(order_id) => Problem::new(
                StatusCode::CONFLICT,
                "order-in-progress",
                "An order is still in progress",
            )
            .detail("Wait until the order has ended, or cancel it, and try again.")
            .extension("order_id", order_id.to_string())
            .into(),
            DeleteAccountError::OrderStore(error) => error.into(),
            DeleteAccountError::Cart(error) => error.into(),
            DeleteAccountError::Database(error) => error.into(),
        }
    }
}
