//! `register`: creates an account with a password.
//!
//! The response and its duration are the same whether the e-mail address is new or not. Its owner gets a mail
//! in both cases.

use std::sync::Arc;

use axum::{Router, extract::State, http::StatusCode};
use domain::UserId;
use events::AccountMail;
use http_server::Json;
use lambda_shared::{FunctionContext, InitError};
use serde::Deserialize;
use serde_json::json;
use users::{Credential, NewUser, Registration, User};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    AuthError,
    account_mails::{AccountMails, MailSent},
    audit,
    email_link::LinkPurpose,
    http::RequestContext,
    password, validation,
};

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RegisterRequest {
    #[schema(format = Email)]
    email: String,
    /// Not easy to guess, and different from the name and the address.
    #[schema(format = Password, min_length = 8, max_length = 128)]
    password: String,
    /// How the account is addressed.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
}

/// Creates the route. The crate documentation lists its environment variables.
pub async fn routes(context: &FunctionContext) -> Result<Router, InitError> {
    password::warm_up_strength_estimator();
    let state = AccountMails::from_context(context).await?;
    Ok(OpenApiRouter::new()
        .routes(routes!(register))
        .with_state(state)
        .into())
}

/// Registers an account with a password.
///
/// The response is the same whether the e-mail address is new or not. Its owner gets a mail in both cases.
#[utoipa::path(
    post, path = "/v1/auth/register", tag = "Authentication",
    extensions(("x-permission" = json!("anyone"))),
    request_body = RegisterRequest,
    responses(
        (status = 202, description = "A mail is on its way", body = MailSent),
    ),
)]
pub(crate) async fn register(
    State(state): State<Arc<AccountMails>>,
    context: RequestContext,
    Json(body): Json<RegisterRequest>,
) -> Result<(StatusCode, Json<MailSent>), AuthError> {
    let valid = validation::validate_registration(&body.email, &body.name, &body.password)?;
    let new_user = NewUser {
        credential: Credential::PasswordHash(valid.password.hash()?),
        email: valid.email,
        name: valid.name,
    };
    let has_mail_quota = state.throttle.check_mail_quota(new_user.email.as_str()).await?;
    match state.users.register(&new_user, context.traceparent).await? {
        Registration::Created(user) => send_welcome(&state, &user, &context).await?,
        Registration::AlreadyRegistered(user) => {
            send_already_registered(&state, Some(&user), has_mail_quota, &context).await?;
        }
        Registration::Conflict => {
            send_already_registered(&state, None, has_mail_quota, &context).await?;
        }
    }
    let body = MailSent {
        detail: "We have sent a mail with instructions.",
    };
    Ok((StatusCode::ACCEPTED, Json(body)))
}

async fn send_welcome(state: &AccountMails, user: &User, context: &RequestContext) -> Result<(), AuthError> {
    let mail = |token| AccountMail::Welcome { token };
    state
        .send_link(Some(user), LinkPurpose::VerifyEmail, mail, context)
        .await?;
    let user_id = Some(user.id);
    audit::record(&state.users, context, "registered", user_id, user_id, json!({})).await;
    Ok(())
}

/// Tells the owner of the e-mail address that a registration has used it again. `user` is `None` when the
/// account was deleted meanwhile.
async fn send_already_registered(
    state: &AccountMails,
    user: Option<&User>,
    has_mail_quota: bool,
    context: &RequestContext,
) -> Result<(), AuthError> {
    let user_id = user.map(|user| user.id);
    state
        .create_unsent_link(LinkPurpose::VerifyEmail, user_id.unwrap_or(UserId(Uuid::nil())))
        .await?;
    match user.filter(|_| has_mail_quota) {
        Some(user) => {
            let mail = AccountMail::RegistrationRepeated;
            state.mailer.send(user, mail, context).await;
        }
        None => state.mailer.send_decoy(context).await,
    }
    let action = "duplicate_registration";
    audit::record(&state.users, context, action, None, user_id, json!({})).await;
    Ok(())
}
