//! `email-verify`: with `{"token"}`, verifies the e-mail address that a link was sent to; with `{"email"}`,
//! sends such a link again.

use std::sync::Arc;

use axum::http::StatusCode;
use domain::UserId;
use events::AccountMail;
use http_server::FieldError;
use lambda_shared::{FunctionContext, Handler, InitError};
use serde::Deserialize;
use serde_json::json;
use users::Users;
use uuid::Uuid;

use crate::{
    AuthError,
    api_gateway::{self, Request, Response},
    audit, bootstrap,
    email_link::{EmailLinks, LinkPurpose},
    login_throttle::LoginThrottle,
    mailer::Mailer,
    validation,
};

struct EmailVerifyHandler {
    users: Users,
    email_links: EmailLinks,
    throttle: LoginThrottle,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    token: Option<String>,
    email: Option<String>,
}

/// Creates the function. The crate documentation lists its environment variables.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let sessions_table = bootstrap::sessions_table(&context).await?;
    let handler = Arc::new(EmailVerifyHandler {
        users: bootstrap::users(&context).await?,
        email_links: bootstrap::email_links(&context, sessions_table.clone()),
        throttle: bootstrap::login_throttle(&context, sessions_table)?,
        mailer: bootstrap::mailer(&context)?,
    });
    let cloudfront = bootstrap::cloudfront(&context).await?;
    Ok(api_gateway::handler(context.clock, cloudfront, move |request| {
        let handler = Arc::clone(&handler);
        async move { handler.handle(&request).await }
    }))
}

impl EmailVerifyHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let body: RequestBody = request.json()?;
        match (body.token, body.email) {
            (Some(token), None) => self.verify_email(&token, request).await,
            (None, Some(email)) => self.resend_link(&email, request).await,
            _ => Err(AuthError::InvalidBody(vec![FieldError {
                pointer: String::new(),
                detail: "send either the `token` of a link, or the `email` to send a link to".to_owned(),
            }])),
        }
    }

    async fn verify_email(&self, token: &str, request: &Request) -> Result<Response, AuthError> {
        let link = self.email_links.consume(LinkPurpose::VerifyEmail, token).await?;
        let link = link.ok_or(AuthError::InvalidLink)?;
        let user = self.users.find_by_id(link.user_id).await?;
        let user = user
            .filter(|user| link.matches_email(&user.email))
            .ok_or(AuthError::InvalidLink)?;
        if !self.users.mark_email_verified(user.id, &user.email).await? {
            return Err(AuthError::InvalidLink);
        }
        let user_id = Some(user.id);
        audit::record(
            &self.users,
            request,
            "email_verified",
            user_id,
            user_id,
            json!({}),
        )
        .await;
        Ok(Response::empty(StatusCode::NO_CONTENT))
    }

    /// The response and its duration are the same whether the e-mail address has an account or not.
    async fn resend_link(&self, email: &str, request: &Request) -> Result<Response, AuthError> {
        let email = validation::validate_email(email)?;
        let has_mail_quota = self.throttle.check_mail_quota(email.as_str()).await?;
        let credentials = self.users.find_by_email(&email).await?;
        let user = credentials.map(|credentials| credentials.user);
        match user.filter(|user| has_mail_quota && user.email_verified_at.is_none()) {
            Some(user) => {
                let token = self
                    .email_links
                    .create(LinkPurpose::VerifyEmail, user.id, &user.email)
                    .await?;
                let mail = AccountMail::VerifyAddress { token };
                self.mailer.send(&user, mail, request).await;
            }
            None => {
                // This link is never sent. Its creation takes as long as that of a real one.
                self.email_links
                    .create(LinkPurpose::VerifyEmail, UserId(Uuid::nil()), "")
                    .await?;
                self.mailer.send_decoy(request).await;
            }
        }
        let body = json!({"detail": "If the address has to be verified, a mail is on its way."});
        Ok(Response::json(StatusCode::ACCEPTED, &body))
    }
}
