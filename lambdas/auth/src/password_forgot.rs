//! `password-forgot`: has a link sent with which its reader chooses a new password. The answer is the same, and
//! takes as long, whether there is an account or not.

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

/// Makes the function; see [`crate`] for its variables.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let store = bootstrap::sessions_table(&init).await?;
    let forgot = Arc::new(PasswordForgotHandler {
        users: bootstrap::users(&init).await?,
        email_links: bootstrap::email_links(&init, store.clone()),
        throttle: bootstrap::login_throttle(&init, store)?,
        mailer: bootstrap::mailer(&init)?,
    });
    Ok(api_gateway::handler(init.clock, move |request| {
        let forgot = Arc::clone(&forgot);
        async move { forgot.handle(&request).await }
    }))
}

impl PasswordForgotHandler {
    async fn handle(&self, request: &Request) -> Result<Response, AuthError> {
        let body: RequestBody = request.json()?;
        let email = validation::validate_email(&body.email)?;
        let may_mail = self.throttle.check_mail_quota(email.as_str()).await?;
        let user = self.users.find_by_email(&email).await?.map(|found| found.user);
        let user_id = user.as_ref().map(|user| user.id);
        match user.filter(|_| may_mail) {
            Some(user) => {
                let token = self
                    .email_links
                    .create(LinkPurpose::ResetPassword, user.id, &user.email)
                    .await?;
                let link = AccountMail::ResetPassword { token };
                self.mailer.send(&user, link, request).await;
            }
            None => {
                // A link that nobody gets, for as long as a real one takes.
                self.email_links
                    .create(LinkPurpose::ResetPassword, UserId(Uuid::nil()), "")
                    .await?;
                self.mailer.send_decoy(request).await;
            }
        }
        let details = json!({"mailed": may_mail});
        audit::record(
            &self.users,
            request,
            "password_reset_requested",
            None,
            user_id,
            details,
        )
        .await;
        let answer = json!({"detail": "If there is an account, a mail is on its way."});
        Ok(Response::json(StatusCode::ACCEPTED, &answer))
    }
}
