//! `email-verify`: with `{"token"}`, verifies the e-mail address that a link was sent to; with `{"email"}`,
//! sends such a link again.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use events::AccountMail;
use http_server::{FieldError, Json};
use lambda_shared::{FunctionContext, InitError};
use serde::Deserialize;
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AuthError,
    account_mails::{AccountMails, MailSent},
    audit,
    email_link::LinkPurpose,
    http::RequestContext,
    validation,
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmailVerifyRequest {
    /// The token of a link.
    token: Option<String>,
    /// The address to send a link to. Send either this or `token`.
    #[schema(format = Email)]
    email: Option<String>,
}

/// Creates the route. The crate documentation lists its environment variables.
pub async fn routes(context: &FunctionContext) -> Result<Router, InitError> {
    let state = AccountMails::from_context(context).await?;
    Ok(OpenApiRouter::new()
        .routes(routes!(email_verify))
        .with_state(state)
        .into())
}

/// Verifies an e-mail address with the token of a link, or sends such a link again.
#[utoipa::path(
    post, path = "/v1/auth/email/verify", tag = "Authentication",
    extensions(("x-permission" = json!("anyone"))),
    request_body = EmailVerifyRequest,
    responses(
        (status = 204, description = "The address is verified"),
        (status = 202, description = "If the address has to be verified, a mail is on its way", body = MailSent),
        (status = 400, description = "`invalid-link`: the link was used or has expired; or the body is not JSON",
         body = openapi::Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn email_verify(
    State(state): State<Arc<AccountMails>>,
    context: RequestContext,
    Json(body): Json<EmailVerifyRequest>,
) -> Result<Response, AuthError> {
    match (body.token, body.email) {
        (Some(token), None) => verify_address(&state, &token, &context).await,
        (None, Some(email)) => resend_link(&state, &email, &context).await,
        _ => Err(AuthError::InvalidBody(vec![FieldError {
            pointer: String::new(),
            detail: "send either the `token` of a link, or the `email` to send a link to".to_owned(),
        }])),
    }
}

async fn verify_address(
    state: &AccountMails,
    token: &str,
    context: &RequestContext,
) -> Result<Response, AuthError> {
    let link = state.email_links.consume(LinkPurpose::VerifyEmail, token).await?;
    let link = link.ok_or(AuthError::InvalidLink)?;
    let user = state.users.find_by_id(link.user_id).await?;
    let user = user
        .filter(|user| link.matches_email(&user.email))
        .ok_or(AuthError::InvalidLink)?;
    if !state.users.mark_email_verified(user.id, &user.email).await? {
        return Err(AuthError::InvalidLink);
    }
    let user_id = Some(user.id);
    audit::record(
        &state.users,
        context,
        "email_verified",
        user_id,
        user_id,
        json!({}),
    )
    .await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The response and its duration are the same whether the e-mail address has an account or not.
async fn resend_link(
    state: &AccountMails,
    email: &str,
    context: &RequestContext,
) -> Result<Response, AuthError> {
    let email = validation::validate_email(email)?;
    let has_mail_quota = state.throttle.check_mail_quota(email.as_str()).await?;
    let credentials = state.users.find_by_email(&email).await?;
    let user = credentials.map(|credentials| credentials.user);
    let recipient = user
        .as_ref()
        .filter(|user| has_mail_quota && user.email_verified_at.is_none());
    let mail = |token| AccountMail::VerifyAddress { token };
    state
        .send_link(recipient, LinkPurpose::VerifyEmail, mail, context)
        .await?;
    let body = MailSent {
        detail: "If the address has to be verified, a mail is on its way.",
    };
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}
