//! `password-forgot`: sends a link for choosing a new password.
//!
//! The response and its duration are the same whether the e-mail address has an account or not.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode};
use events::AccountMail;
use http_server::Json;
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
pub(crate) struct PasswordForgotRequest {
    #[schema(format = Email)]
    email: String,
}

/// Creates the route. The crate documentation lists its environment variables.
pub async fn routes(context: &FunctionContext) -> Result<Router, InitError> {
    let state = AccountMails::from_context(context).await?;
    Ok(OpenApiRouter::new()
        .routes(routes!(password_forgot))
        .with_state(state)
        .into())
}

/// Sends a link for choosing a new password.
///
/// The response is the same whether the e-mail address has an account or not.
#[utoipa::path(
    post, path = "/v1/auth/password/forgot", tag = "Authentication",
    extensions(("x-permission" = json!("anyone"))),
    request_body = PasswordForgotRequest,
    responses(
        (status = 202, description = "If there is an account, a mail is on its way", body = MailSent),
    ),
)]
pub(crate) async fn password_forgot(
    State(state): State<Arc<AccountMails>>,
    context: RequestContext,
    Json(body): Json<PasswordForgotRequest>,
) -> Result<(StatusCode, Json<MailSent>), AuthError> {
    let email = validation::validate_email(&body.email)?;
    let has_mail_quota = state.throttle.check_mail_quota(email.as_str()).await?;
    let credentials = state.users.find_by_email(&email).await?;
    let user = credentials.map(|credentials| credentials.user);
    let user_id = user.as_ref().map(|user| user.id);
    let recipient = user.as_ref().filter(|_| has_mail_quota);
    let mail = |token| AccountMail::ResetPassword { token };
    state
        .send_link(recipient, LinkPurpose::ResetPassword, mail, &context)
        .await?;
    let action = "password_reset_requested";
    let details = json!({"mailed": has_mail_quota});
    audit::record(&state.users, &context, action, None, user_id, details).await;
    let body = MailSent {
        detail: "If there is an account, a mail is on its way.",
    };
    Ok((StatusCode::ACCEPTED, Json(body)))
}
