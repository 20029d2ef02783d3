//! Other people's accounts over HTTP: for those who help them, and for those who run the shop.

use axum::extract::State;
use domain::UserId;
use http_server::{Json, Path, Problem, Query};
use serde::Deserialize;
use serde_json::Value;
use tokens::{Permission, Role};
use users::{AuditFilter, UserFilter, UserPosition, Users};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    ApiError,
    account_response::{AccountPage, AccountResponse, AuditEntryResponse, AuditPage, RoleSchema},
    authorization::{Authorized, permission},
    extract::AuditContext,
    page_size::PageSize,
    search_term::SearchTerm,
};
use crate::{accounts::AccountStatusCache, cursor};

/// Which accounts to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Only the account with this e-mail address.
    #[param(inline)]
    email: Option<SearchTerm>,
    /// How many at most.
    #[serde(default)]
    #[param(inline)]
    limit: PageSize,
    /// `next_cursor` of the page before; the other parameters must be as they were, but for the limit.
    cursor: Option<String>,
}

/// Lists accounts, newest first.
#[utoipa::path(
    get, path = "/v1/users", tag = "Administration", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ReadUsers))),
    params(ListParameters),
    responses((status = 200, description = "A page of accounts", body = AccountPage)),
)]
pub async fn list_users(
    State(users): State<Users>,
    _: Authorized<permission::ReadUsers>,
    Query(ListParameters { email, limit, cursor }): Query<ListParameters>,
) -> Result<Json<AccountPage>, ApiError> {
    let filter = UserFilter {
        email: email.map(|email| email.into_string().trim().to_lowercase()),
    };
    let list = ("users", &filter);
    let after: Option<UserPosition> = cursor.map(|cursor| cursor::decode(&list, &cursor)).transpose()?;
    let page = users.list(&filter, limit.get(), after).await?;
    Ok(Json(AccountPage {
        next_cursor: page.next.map(|position| cursor::encode(&list, &position)),
        items: page.profiles.into_iter().map(AccountResponse::from).collect(),
    }))
}

/// Reads somebody's account.
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "Administration", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ReadUsers))),
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 200, description = "The account", body = AccountResponse)),
)]
pub async fn read_user(
    State(users): State<Users>,
    _: Authorized<permission::ReadUsers>,
    Path(id): Path<UserId>,
) -> Result<Json<AccountResponse>, ApiError> {
    let profile = users.profile(id).await?;
    Ok(Json(profile.ok_or_else(Problem::not_found)?.into()))
}

/// Another role for somebody.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleChange {
    /// The role.
    #[schema(value_type = RoleSchema)]
    role: Role,
}

/// Gives somebody a role. It holds from the next second on, whatever their token says.
///
/// Nobody changes their own.
#[utoipa::path(
    put, path = "/v1/users/{id}/role", tag = "Administration", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::AssignRoles))),
    params(("id" = Uuid, Path, description = "The account")),
    request_body = RoleChange,
    responses((status = 200, description = "The account as it is now", body = AccountResponse)),
)]
pub async fn change_role(
    State(users): State<Users>,
    State(standings): State<AccountStatusCache>,
    Authorized(admin, ..): Authorized<permission::AssignRoles>,
    Path(id): Path<UserId>,
    source: AuditContext,
    Json(RoleChange { role }): Json<RoleChange>,
) -> Result<Json<AccountResponse>, ApiError> {
    let entry = source.audit_entry(admin.id, "role_changed", id, Value::Null);
    users.set_role(admin.id, id, role, entry).await?;
    standings.invalidate(id).await;
    let profile = users.profile(id).await?;
    Ok(Json(profile.ok_or_else(Problem::not_found)?.into()))
}

/// Which entries of the audit log to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditParameters {
    /// Only what this person did.
    #[param(value_type = Option<Uuid>)]
    actor: Option<UserId>,
    /// Only what was done to this: a person's id, for instance.
    #[param(inline)]
    subject: Option<SearchTerm>,
    /// Only this action.
    #[param(inline)]
    action: Option<SearchTerm>,
    /// How many at most.
    #[serde(default)]
    #[param(inline)]
    limit: PageSize,
    /// `next_cursor` of the page before; the other parameters must be as they were, but for the limit.
    cursor: Option<String>,
}

/// Lists who did what to whom, newest first.
#[utoipa::path(
    get, path = "/v1/audit", tag = "Administration", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ReadAuditLog))),
    params(AuditParameters),
    responses((status = 200, description = "A page of the audit log", body = AuditPage)),
)]
pub async fn list_audit_log(
    State(users): State<Users>,
    _: Authorized<permission::ReadAuditLog>,
    Query(asked): Query<AuditParameters>,
) -> Result<Json<AuditPage>, ApiError> {
    let filter = AuditFilter {
        actor: asked.actor,
        subject: asked.subject.map(SearchTerm::into_string),
        action: asked.action.map(SearchTerm::into_string),
    };
    let list = ("audit", filter.actor, &filter.subject, &filter.action);
    let after: Option<Uuid> = asked
        .cursor
        .map(|cursor| cursor::decode(&list, &cursor))
        .transpose()?;
    let page = users.audit_log(&filter, asked.limit.get(), after).await?;
    Ok(Json(AuditPage {
        next_cursor: page.next.map(|id| cursor::encode(&list, &id)),
        items: page.entries.into_iter().map(AuditEntryResponse::from).collect(),
    }))
}
