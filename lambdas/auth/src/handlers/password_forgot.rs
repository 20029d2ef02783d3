//! `password-forgot`: sends a link for choosing a new password.
//!
//! The response and its duration are the same whether the e-mail address has an account or not.

use std::sync::Arc;

use axum::http::StatusCode;
use domain::UserId;
use events::AccountMail;
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

struct PasswordForgotHandler {
    users: Users,
    email_links: EmailLinks,
    throttle: LoginThrottle,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    email: String,
}

/// Creates the function. The crate documentation lists its environment variables.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let sessions_table = bootstrap::sessions_table(&context).await?;
    let handler = Arc::new(PasswordForgotHandler {
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

impl PasswordForgotHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let body: RequestBody = request.json()?;
        let email = validation::validate_email(&body.email)?;
        let has_mail_quota = self.throttle.check_mail_quota(email.as_str()).await?;
        let credentials = self.users.find_by_email(&email).await?;
        let user = credentials.map(|credentials| credentials.user);
        let user_id = user.as_ref().map(|user| user.id);
        match user.filter(|_| has_mail_quota) {
            Some(user) => {
                let token = self
                    .email_links
                    .create(LinkPurpose::ResetPassword, user.id, &user.email)
                    .await?;
                let mail = AccountMail::ResetPassword { token };
                self.mailer.send(&user, mail, request).await;
            }
            None => {
                // This link is never sent. Its creation takes as long as that of a real one.
                self.email_links
                    .create(LinkPurpose::ResetPassword, UserId(Uuid::nil()), "")
                    .await?;
                self.mailer.send_decoy(request).await;
            }
        }
        let action = "password_reset_requested";
        let details = json!({"mailed": has_mail_quota});
        audit::record(&self.users, request, action, None, user_id, details).await;
        let body = json!({"detail": "If there is an account, a mail is on its way."});
        Ok(Response::json(StatusCode::ACCEPTED, &body))
    }
}
