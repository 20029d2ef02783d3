//! The state of the functions that send mails with links or redeem such links.

use std::sync::Arc;

use domain::UserId;
use events::{AccountMail, LinkToken};
use lambda_shared::{FunctionContext, InitError};
use serde::Serialize;
use users::{User, Users};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    AuthError, bootstrap,
    email_link::{EmailLinks, LinkPurpose},
    http::RequestContext,
    login_throttle::LoginThrottle,
    mailer::Mailer,
};

/// The response to a request for a mail. It is the same whether a mail is sent or not.
#[derive(Serialize, ToSchema)]
pub struct MailSent {
    /// A message for the user.
    pub detail: &'static str,
}

/// The accounts, the links that were mailed to them, and the mailer.
pub struct AccountMails {
    pub users: Users,
    pub email_links: EmailLinks,
    pub throttle: LoginThrottle,
    pub mailer: Mailer,
}

impl AccountMails {
    pub async fn from_context(context: &FunctionContext) -> Result<Arc<Self>, InitError> {
        let sessions_table = bootstrap::sessions_table(context).await?;
        Ok(Arc::new(Self {
            users: bootstrap::users(context).await?,
            email_links: bootstrap::email_links(context, sessions_table.clone()),
            throttle: bootstrap::login_throttle(context, sessions_table)?,
            mailer: bootstrap::mailer(context)?,
        }))
    }

    /// Sends a mail with a link to `user`. Takes as long without a user, and then sends nothing.
    pub async fn send_link(
        &self,
        user: Option<&User>,
        purpose: LinkPurpose,
        mail: impl FnOnce(LinkToken) -> AccountMail,
        context: &RequestContext,
    ) -> Result<(), AuthError> {
        let Some(user) = user else {
            self.create_unsent_link(purpose, UserId(Uuid::nil())).await?;
            self.mailer.send_decoy(context).await;
            return Ok(());
        };
        let token = self.email_links.create(purpose, user.id, &user.email).await?;
        self.mailer.send(user, mail(token), context).await;
        Ok(())
    }

    /// Creates a link that is never sent. Takes as long as the creation of one that is.
    pub async fn create_unsent_link(&self, purpose: LinkPurpose, user_id: UserId) -> Result<(), AuthError> {
        self.email_links.create(purpose, user_id, "").await?;
        Ok(())
    }
}
