//! `password-reset`: replaces the password, with the link that `password-forgot` has sent.
//!
//! A reset ends all sessions of the user and invalidates all their other reset links.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode};
use events::AccountMail;
use http_server::Json;
use lambda_shared::{FunctionContext, InitError};
use serde::Deserialize;
use serde_json::json;
use users::{DisplayName, EmailAddress, User, Users};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AuthError,
    account_mails::AccountMails,
    audit,
    email_link::{EmailLink, LinkPurpose},
    http::RequestContext,
    password, validation,
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PasswordResetRequest {
    /// The token of the link.
    token: String,
    /// Not easy to guess, and different from the name and the address.
    #[schema(format = Password, min_length = 8, max_length = 128)]
    password: String,
}

/// Creates the route. The crate documentation lists its environment variables.
pub async fn routes(context: &FunctionContext) -> Result<Router, InitError> {
    password::warm_up_strength_estimator();
    let state = AccountMails::from_context(context).await?;
    Ok(OpenApiRouter::new()
        .routes(routes!(password_reset))
        .with_state(state)
        .into())
}

/// Replaces the password, with the token of the link that `password/forgot` has sent.
///
/// It ends all sessions of the user.
#[utoipa::path(
    post, path = "/v1/auth/password/reset", tag = "Authentication",
    extensions(("x-permission" = json!("anyone"))),
    request_body = PasswordResetRequest,
    responses(
        (status = 204, description = "The password was replaced"),
        (status = 400, description = "`invalid-link`: the link was used or has expired; or the body is not JSON",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn password_reset(
    State(state): State<Arc<AccountMails>>,
    context: RequestContext,
    Json(body): Json<PasswordResetRequest>,
) -> Result<StatusCode, AuthError> {
    let link = state
        .email_links
        .find(LinkPurpose::ResetPassword, &body.token)
        .await?;
    let user = match link {
        Some(link) => find_recipient(&state.users, &link).await?,
        None => None,
    };
    let user = user.ok_or(AuthError::InvalidLink)?;
    // The link is consumed only after the new password has passed the policy, so the user can try another
    // one.
    let password_hash = hash_new_password(&user, &body.password)?;
    state
        .email_links
        .consume(LinkPurpose::ResetPassword, &body.token)
        .await?
        .ok_or(AuthError::InvalidLink)?;
    if !state
        .users
        .change_password(user.id, &password_hash, Some(&user.email))
        .await?
    {
        return Err(AuthError::InvalidLink);
    }

    state.throttle.trust_ip(&user.email, &context.client_ip).await?;
    state
        .mailer
        .send(&user, AccountMail::PasswordChanged, &context)
        .await;
    let user_id = Some(user.id);
    audit::record(
        &state.users,
        &context,
        "password_reset",
        user_id,
        user_id,
        json!({}),
    )
    .await;
    Ok(StatusCode::NO_CONTENT)
}

/// The user that the link was sent to. Returns `None` when the link is no longer valid for the account.
async fn find_recipient(users: &Users, link: &EmailLink) -> Result<Option<User>, AuthError> {
    let Some(status) = users.account_status(link.user_id).await? else {
        return Ok(None);
    };
    // The password was changed after the link was sent, for example with another link.
    if link.sent_at.timestamp_millis() < status.tokens_valid_from.timestamp_millis() {
        return Ok(None);
    }
    let user = users.find_by_id(link.user_id).await?;
    Ok(user.filter(|user| link.matches_email(&user.email)))
}

fn hash_new_password(user: &User, password: &str) -> Result<String, AuthError> {
    let Ok(email) = EmailAddress::parse(&user.email) else {
        return Err(AuthError::InvalidLink);
    };
    // The policy only compares the password with the name, so a name from before today's name rules is
    // replaced.
    let name = DisplayName::parse(&user.name)
        .unwrap_or_else(|_| DisplayName::parse("-").expect("a hyphen is a valid name"));
    Ok(validation::validate_password(password, &email, &name)?.hash()?)
}
