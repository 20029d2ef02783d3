//! Other people's accounts over HTTP: for those who help them, and for those who run the shop.

use access_tokens::{Permission, Role};
use axum::extract::State;
use domain::UserId;
use serde::Deserialize;
use serde_json::Value;
use users::{AuditFilter, UserFilter, UserPosition, Users};
use utoipa::ToSchema;
use uuid::Uuid;
use web::{Json, Path, Problem, Query};

use super::{
    ApiError,
    account_views::{AccountPage, AccountView, AuditEntryView, AuditPage, RoleName},
    extract::Source,
    limit::Limit,
    permission::{May, needs},
    term::Term,
};
use crate::{cursor, people::Standings};

/// Which accounts to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Only the account with this e-mail address.
    #[param(inline)]
    email: Option<Term>,
    /// How many at most.
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
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
    _: May<needs::ReadUsers>,
    Query(ListParameters { email, limit, cursor }): Query<ListParameters>,
) -> Result<Json<AccountPage>, ApiError> {
    let filter = UserFilter {
        email: email.map(|email| email.into_string().trim().to_lowercase()),
    };
    let list = ("users", &filter);
    let after: Option<UserPosition> = cursor.map(|cursor| cursor::open(&list, &cursor)).transpose()?;
    let page = users.list(&filter, limit.get(), after).await?;
    Ok(Json(AccountPage {
        next_cursor: page.next.map(|position| cursor::seal(&list, &position)),
        items: page.profiles.into_iter().map(AccountView::from).collect(),
    }))
}

/// Reads somebody's account.
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "Administration", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ReadUsers))),
    params(("id" = Uuid, Path, description = "The account")),
    responses((status = 200, description = "The account", body = AccountView)),
)]
pub async fn read_user(
    State(users): State<Users>,
    _: May<needs::ReadUsers>,
    Path(id): Path<UserId>,
) -> Result<Json<AccountView>, ApiError> {
    let profile = users.profile(id).await?;
    Ok(Json(profile.ok_or_else(Problem::not_found)?.into()))
}

/// Another role for somebody.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleChange {
    /// The role.
    #[schema(value_type = RoleName)]
    role: Role,
}

/// Gives somebody a role. It holds from the next second on, whatever their token says.
///
/// Nobody changes their own.
#[utoipa::path(
    put, path = "/v1/users/{id}/role", tag = "Administration", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ChangeRoles))),
    params(("id" = Uuid, Path, description = "The account")),
    request_body = RoleChange,
    responses((status = 200, description = "The account as it is now", body = AccountView)),
)]
pub async fn change_role(
    State(users): State<Users>,
    State(standings): State<Standings>,
    May(admin, ..): May<needs::ChangeRoles>,
    Path(id): Path<UserId>,
    source: Source,
    Json(RoleChange { role }): Json<RoleChange>,
) -> Result<Json<AccountView>, ApiError> {
    let entry = source.entry(admin.id, "role_changed", id, Value::Null);
    users.set_role(admin.id, id, role, entry).await?;
    standings.forget(id).await;
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
    subject: Option<Term>,
    /// Only this action.
    #[param(inline)]
    action: Option<Term>,
    /// How many at most.
    #[serde(default)]
    #[param(inline)]
    limit: Limit,
    /// `next_cursor` of the page before; the other parameters must be as they were, but for the limit.
    cursor: Option<String>,
}

/// Lists who did what to whom, newest first.
#[utoipa::path(
    get, path = "/v1/audit", tag = "Administration", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ReadAudit))),
    params(AuditParameters),
    responses((status = 200, description = "A page of the audit log", body = AuditPage)),
)]
pub async fn list_audit(
    State(users): State<Users>,
    _: May<needs::ReadAudit>,
    Query(asked): Query<AuditParameters>,
) -> Result<Json<AuditPage>, ApiError> {
    let filter = AuditFilter {
        actor: asked.actor,
        subject: asked.subject.map(Term::into_string),
        action: asked.action.map(Term::into_string),
    };
    let list = ("audit", filter.actor, &filter.subject, &filter.action);
    let after: Option<Uuid> = asked
        .cursor
        .map(|cursor| cursor::open(&list, &cursor))
        .transpose()?;
    let page = users.audit_log(&filter, asked.limit.get(), after).await?;
    Ok(Json(AuditPage {
        next_cursor: page.next.map(|id| cursor::seal(&list, &id)),
        items: page.records.into_iter().map(AuditEntryView::from).collect(),
    }))
}
