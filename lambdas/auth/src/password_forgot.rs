//! `password-forgot`: has a link sent with which its reader chooses a new password. The answer is the same, and
//! takes as long, whether there is an account or not.

use std::sync::Arc;

use axum::http::StatusCode;
use domain::UserId;
use events::AccountMail;
use lambda_shared::{Handler, Init, InitError};
use serde::Deserialize;
use serde_json::json;
use users::Users;
use uuid::Uuid;

use crate::{
    AuthError, fields,
    guard::Guard,
    http::{self, Reply, Request},
    journal,
    links::{Links, Purpose},
    mailer::Mailer,
    start,
};

struct PasswordForgot {
    users: Users,
    links: Links,
    guard: Guard,
    mailer: Mailer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    email: String,
}

/// Makes the function; see [`crate`] for its variables.
pub async fn start(init: Init) -> Result<Handler, InitError> {
    let store = start::store(&init).await?;
    let forgot = Arc::new(PasswordForgot {
        users: start::users(&init).await?,
        links: start::links(&init, store.clone()),
        guard: start::guard(&init, store)?,
        mailer: start::mailer(&init)?,
    });
    Ok(http::handler(init.clock, move |request| {
        let forgot = Arc::clone(&forgot);
        async move { forgot.answer(&request).await }
    }))
}

impl PasswordForgot {
    async fn answer(&self, request: &Request) -> Result<Reply, AuthError> {
        let body: Body = request.json()?;
        let email = fields::email(&body.email)?;
        let may_mail = self.guard.may_mail(email.as_str()).await?;
        let user = self.users.find_by_email(&email).await?.map(|found| found.user);
        let user_id = user.as_ref().map(|user| user.id);
        match user.filter(|_| may_mail) {
            Some(user) => {
                let token = self.links.issue(Purpose::Reset, user.id, &user.email).await?;
                let link = AccountMail::ResetPassword { token };
                self.mailer.tell(&user, link, request).await;
            }
            None => {
                // A link that nobody gets, for as long as a real one takes.
                self.links.issue(Purpose::Reset, UserId(Uuid::nil()), "").await?;
                self.mailer.tell_nobody(request).await;
            }
        }
        let details = json!({"mailed": may_mail});
        journal::note(&self.users, request, "password_forgotten", None, user_id, details).await;
        let answer = json!({"detail": "If there is an account, a mail is on its way."});
        Ok(Reply::json(StatusCode::ACCEPTED, &answer))
    }
}
