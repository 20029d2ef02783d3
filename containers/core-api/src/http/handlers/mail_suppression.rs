//! `/v1/users/{id}/mail-suppression`: whether mails to a user's address are suppressed, for support.

use axum::{extract::State, http::StatusCode};
use domain::{Timestamp, UserId};
use http_server::{Json, Path, Problem};
use mail_suppressions::{MailSuppressions, SuppressionReason};
use serde::Serialize;
use serde_json::json;
use tokens::Permission;
use users::Users;
use utoipa::ToSchema;

use crate::http::{
    ApiError,
    extractors::{AuditContext, Authorized, permission},
};

/// Whether mails to the address of an account are suppressed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MailSuppression)]
pub struct MailSuppressionResponse {
    suppressed: bool,
    /// Why; null if mails are sent.
    #[schema(required, value_type = Option<SuppressionReasonSchema>)]
    reason: Option<SuppressionReason>,
    /// Since when; null if mails are sent.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
}

/// Why mails are suppressed: a mail bounced permanently, or the recipient has marked one as spam.
#[derive(ToSchema)]
#[schema(as = MailSuppressionReason, rename_all = "snake_case")]
#[expect(
    dead_code,
    reason = "the OpenAPI schema of SuppressionReason, whose crate does not depend on utoipa"
)]
pub enum SuppressionReasonSchema {
    Bounce,
    Complaint,
}

/// Returns whether mails to the address of an account are suppressed.
#[utoipa::path(
    get, path = "/v1/users/{id}/mail-suppression", tag = "Administration", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageMailSuppressions))),
    params(("id" = Uuid, Path, description = "The id of the account")),
    responses((status = 200, description = "Whether mails are suppressed, and why",
               body = MailSuppressionResponse)),
)]
pub async fn read_mail_suppression(
    State(users): State<Users>,
    State(suppressions): State<MailSuppressions>,
    _: Authorized<permission::ManageMailSuppressions>,
    Path(id): Path<UserId>,
) -> Result<Json<MailSuppressionResponse>, ApiError> {
    let entry = suppressions.find(&address(&users, id).await?).await?;
    Ok(Json(MailSuppressionResponse {
        suppressed: entry.is_some(),
        reason: entry.as_ref().map(|entry| entry.reason),
        since: entry.map(|entry| entry.suppressed_at),
    }))
}

/// Permits mails to the address of an account again, for example after its mailbox was repaired.
#[utoipa::path(
    delete, path = "/v1/users/{id}/mail-suppression", tag = "Administration", security(("bearer" = [])),
    extensions(("x-permission" = json!(Permission::ManageMailSuppressions))),
    params(("id" = Uuid, Path, description = "The id of the account")),
    responses((status = 204, description = "Mails to the address are sent")),
)]
pub async fn remove_mail_suppression(
    State(users): State<Users>,
    State(suppressions): State<MailSuppressions>,
    Authorized(user, ..): Authorized<permission::ManageMailSuppressions>,
    audit: AuditContext,
    Path(id): Path<UserId>,
) -> Result<StatusCode, ApiError> {
    let address = address(&users, id).await?;
    // The log comes first: a removal without an entry could not be explained.
    let entry = audit.audit_entry(user.id, "mail_suppression_removed", id, json!({}));
    users.record_audit(&entry).await?;
    suppressions.remove(&address).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The e-mail address of an account. Returns 404 when the account does not exist.
async fn address(users: &Users, id: UserId) -> Result<String, ApiError> {
    let profile = users.profile(id).await?;
    Ok(profile.ok_or_else(Problem::not_found)?.user.email)
}
