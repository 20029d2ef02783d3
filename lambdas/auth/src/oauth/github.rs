//! GitHub, by its own API: it speaks OAuth 2.0 and no OpenID Connect.

use reqwest::header::ACCEPT;
use secrecy::ExposeSecret;
use serde::{Deserialize, de::DeserializeOwned};

use super::{Begun, Client, Profile, ProviderError};

/// GitHub, as an application of ours sees it.
pub(crate) struct GitHub {
    http: reqwest::Client,
    site: String,
    api: String,
    client: Client,
}

#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Account {
    /// It never changes; the login may.
    id: u64,
    login: String,
    name: Option<String>,
}

#[derive(Deserialize)]
struct Email {
    email: String,
    primary: bool,
    verified: bool,
}

impl GitHub {
    pub(crate) fn new(http: reqwest::Client, site: String, api: String, client: Client) -> Self {
        Self {
            http,
            site,
            api,
            client,
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.client.id
    }

    pub(crate) fn door(&self) -> String {
        format!("{}/login/oauth/authorize", self.site)
    }

    pub(crate) async fn profile(
        &self,
        code: &str,
        callback: &str,
        begun: &Begun,
    ) -> Result<Profile, ProviderError> {
        let answer: Answer = self
            .http
            .post(format!("{}/login/oauth/access_token", self.site))
            .header(ACCEPT, "application/json")
            .form(&[
                ("client_id", self.client.id.as_str()),
                ("client_secret", self.client.secret.expose_secret()),
                ("code", code),
                ("redirect_uri", callback),
                ("code_verifier", begun.verifier.as_str()),
            ])
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        // A code that is wrong is answered with 200 and an error.
        let token = answer
            .access_token
            .ok_or(ProviderError::Invalid("it gives no token"))?;
        let account: Account = self.get("/user", &token).await?;
        let emails: Vec<Email> = self.get("/user/emails", &token).await?;
        let email = emails.into_iter().find(|email| email.primary && email.verified);
        Ok(Profile {
            subject: account.id.to_string(),
            verified_email: email.map(|email| email.email),
            name: account.name.or(Some(account.login)),
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, token: &str) -> Result<T, ProviderError> {
        let answer = self
            .http
            .get(format!("{}{path}", self.api))
            .bearer_auth(token)
            .header(ACCEPT, "application/vnd.github+json")
            .send()
            .await?;
        Ok(answer.error_for_status()?.json().await?)
    }
}
