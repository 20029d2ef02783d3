//! `/v1/users` and `/v1/audit`: accounts, roles and the audit log, for support and administrators.

use axum::{extract::State, http::StatusCode};
use domain::UserId;
use http_server::{FieldError, Json, Path, Problem, Query};
use serde::Deserialize;
use serde_json::Value;
use tokens::{Permission, Role};
use users::{AuditFilter, SetRoleError, UserFilter, UserPosition, Users};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    accounts::AccountStatusCache,
    cursor,
    http::{
        ApiError,
        extractors::{AuditContext, Authorized, PageSize, SearchTerm, permission},
        responses::account::{AccountPage, AccountResponse, AuditEntryResponse, AuditPage, RoleSchema},
    },
};

/// The filter and the page of a list of accounts.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParameters {
    /// Only the account with this e-mail address.
    #[param(inline)]
    email: Option<SearchTerm>,
    /// The maximum number of accounts in the page.
    #[serde(default)]
    #[param(inline)]
    limit: PageSize,
    /// `next_cursor` of the previous page. Except for `limit`, the other parameters must be the same as in
    /// that request.
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

/// Returns an account.
#[utoipa::path(
    get, path = "/v1/users/{id}", tag = "Administration", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ReadUsers))),
    params(("id" = Uuid, Path, description = "The id of the account")),
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

/// A change of a user's role.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoleChange {
    /// The new role.
    #[schema(value_type = RoleSchema)]
    role: Role,
}

/// Changes the role of a user.
///
/// The change takes effect within one second and applies to access tokens that were issued before.
/// Administrators cannot change their own role.
#[utoipa::path(
    put, path = "/v1/users/{id}/role", tag = "Administration", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::AssignRoles))),
    params(("id" = Uuid, Path, description = "The id of the account")),
    request_body = RoleChange,
    responses((status = 200, description = "The changed account", body = AccountResponse)),
)]
pub async fn change_role(
    State(users): State<Users>,
    State(account_status): State<AccountStatusCache>,
    Authorized(admin, ..): Authorized<permission::AssignRoles>,
    Path(id): Path<UserId>,
    audit: AuditContext,
    Json(RoleChange { role }): Json<RoleChange>,
) -> Result<Json<AccountResponse>, ApiError> {
    let entry = audit.audit_entry(admin.id, "role_changed", id, Value::Null);
    users.set_role(admin.id, id, role, entry).await?;
    account_status.invalidate(id).await;
    let profile = users.profile(id).await?;
    Ok(Json(profile.ok_or_else(Problem::not_found)?.into()))
}

/// The filter and the page of the audit log.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AuditParameters {
    /// Only actions of this user.
    #[param(value_type = Option<Uuid>)]
    actor: Option<UserId>,
    /// Only actions on this object, for example a user id.
    #[param(inline)]
    subject: Option<SearchTerm>,
    /// Only this action.
    #[param(inline)]
    action: Option<SearchTerm>,
    /// The maximum number of entries in the page.
    #[serde(default)]
    #[param(inline)]
    limit: PageSize,
    /// `next_cursor` of the previous page. Except for `limit`, the other parameters must be the same as in
    /// that request.
    cursor: Option<String>,
}

/// Lists the entries of the audit log, newest first.
#[utoipa::path(
    get, path = "/v1/audit", tag = "Administration", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ReadAuditLog))),
    params(AuditParameters),
    responses((status = 200, description = "A page of the audit log", body = AuditPage)),
)]
pub async fn list_audit_log(
    State(users): State<Users>,
    _: Authorized<permission::ReadAuditLog>,
    Query(parameters): Query<AuditParameters>,
) -> Result<Json<AuditPage>, ApiError> {
    let AuditParameters {
        actor,
        subject,
        action,
        limit,
        cursor,
    } = parameters;
    let filter = AuditFilter {
        actor,
        subject: subject.map(SearchTerm::into_string),
        action: action.map(SearchTerm::into_string),
    };
    let list = ("audit", filter.actor, &filter.subject, &filter.action);
    let after: Option<Uuid> = cursor.map(|cursor| cursor::decode(&list, &cursor)).transpose()?;
    let page = users.audit_log(&filter, limit.get(), after).await?;
    Ok(Json(AuditPage {
        next_cursor: page.next.map(|id| cursor::encode(&list, &id)),
        items: page.entries.into_iter().map(AuditEntryResponse::from).collect(),
    }))
}

impl From<SetRoleError> for ApiError {
    fn from(error: SetRoleError) -> Self {
        let problem = match error {
            SetRoleError::NotFound => Problem::not_found(),
            // Another administrator took the caller's role away during the request.
            SetRoleError::NotAdministrator => Problem::forbidden(),
            SetRoleError::OwnRole => Problem::new(
                StatusCode::FORBIDDEN,
                "own-role-change",
                "Cannot change your own role",
            )
            .detail("Ask another administrator to change it."),
            SetRoleError::NotAssignable => Problem::invalid_body(&[FieldError {
                pointer: "/role".to_owned(),
                detail: "expected customer, support or admin".to_owned(),
            }]),
            SetRoleError::Database(error) => return error.into(),
        };
        problem.into()
    }
}
