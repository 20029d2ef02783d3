//! One's own account over HTTP.

use access_tokens::Permission;
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::IntoResponse,
};
use domain::UserId;
use headers::HeaderMapExt;
use serde_json::json;
use users::{Profile, Users};
use web::{Bearer, Json};

use super::{
    ApiError, App, SharedApp,
    account_views::{AccountView, ExportView},
    extract::{Expected, Source, profile_etag},
    permission::{May, needs},
};
use crate::{
    carts::CartId,
    people::{self, ProfilePatch},
};

/// Reads one's own account.
#[utoipa::path(
    get, path = "/v1/me", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::OwnAccount))),
    responses((status = 200, description = "The account", body = AccountView,
               headers(("ETag" = String, description = "The account's version")))),
)]
pub async fn read_me(
    State(users): State<Users>,
    May(person, ..): May<needs::OwnAccount>,
) -> Result<impl IntoResponse, ApiError> {
    let profile = own(&users, person.id).await?;
    Ok((tagged(&profile), Json(AccountView::from(profile))))
}

/// Changes one's own name or preferences.
///
/// The body is a JSON merge patch (RFC 7396): what it names is replaced, a preference that it gives as null is as at
/// first. Role, id and e-mail address are not one's own to change, and refused.
#[utoipa::path(
    patch, path = "/v1/me", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::OwnAccount))),
    params(("If-Match" = String, Header, description = "The ETag that the change was decided on")),
    request_body(content((ProfilePatch = "application/merge-patch+json"), (ProfilePatch = "application/json"))),
    responses((status = 200, description = "The account as it is now", body = AccountView,
               headers(("ETag" = String, description = "The account's version")))),
)]
pub async fn change_me(
    State(users): State<Users>,
    May(person, ..): May<needs::OwnAccount>,
    expected: Expected,
    source: Source,
    Json(patch): Json<ProfilePatch>,
) -> Result<impl IntoResponse, ApiError> {
    let profile = own(&users, person.id).await?;
    expected.check(&profile_etag(&profile))?;
    let details = json!({"members": patch.members()});
    let (name, preferences) = patch.apply_to(&profile.user.name, profile.preferences);
    let entry = source.entry(person.id, "profile_changed", person.id, details);
    let profile = users.change_profile(profile, name, preferences, &entry).await?;
    Ok((tagged(&profile), Json(AccountView::from(profile))))
}

/// Deletes one's own account.
///
/// Its addresses, identities and cart go, its e-mail address is free again, and its tokens open nothing any more.
/// Orders stay for the books, without address and payment method.
#[utoipa::path(
    delete, path = "/v1/me", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::OwnAccount))),
    responses(
        (status = 204, description = "It is gone"),
        (status = 409, description = "An order has not come to its end", body = super::docs::Problem,
         content_type = "application/problem+json"),
    ),
)]
pub async fn delete_me(
    State(app): State<SharedApp>,
    May(person, ..): May<needs::OwnAccount>,
    source: Source,
) -> Result<StatusCode, ApiError> {
    let App {
        users,
        orders,
        checkout,
        carts,
        ..
    } = &*app;
    let entry = source.entry(person.id, "account_deleted", person.id, json!({}));
    people::leave(users, orders, checkout, carts, person.id, &entry).await?;
    app.standings.forget(person.id).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Everything that is held of oneself, as one document.
#[utoipa::path(
    get, path = "/v1/me/export", tag = "Account", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::OwnAccount))),
    responses((status = 200, description = "Everything", body = ExportView)),
)]
pub async fn export_me(
    State(app): State<SharedApp>,
    May(person, ..): May<needs::OwnAccount>,
    source: Source,
) -> Result<impl IntoResponse, ApiError> {
    let users = &app.users;
    let profile = own(users, person.id).await?;
    let entry = source.entry(person.id, "account_exported", person.id, json!({}));
    users.audit(&entry).await?;

    let orders = app.orders.all(person.id).await?;
    let cart = app.carts.read(&CartId::of_user(person.id)).await?;
    let export = ExportView {
        account: profile.into(),
        identities: views(users.identities(person.id).await?),
        addresses: views(users.addresses(person.id).await?),
        orders: views(orders),
        cart: views(cart.lines),
        audit: views(users.audit_about(person.id).await?),
    };
    let file = HeaderValue::from_static("attachment; filename=\"matsuri-account.json\"");
    Ok(([(header::CONTENT_DISPOSITION, file)], Json(export)))
}

fn views<T, V: From<T>>(values: Vec<T>) -> Vec<V> {
    values.into_iter().map(V::from).collect()
}

/// The account of the one who asks. It may have gone since the token was looked at.
async fn own(users: &Users, user_id: UserId) -> Result<Profile, ApiError> {
    let profile = users.profile(user_id).await?;
    Ok(profile.ok_or_else(Bearer::refused)?)
}

/// The header that tells an account's version.
fn tagged(profile: &Profile) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.typed_insert(profile_etag(profile));
    headers
}
