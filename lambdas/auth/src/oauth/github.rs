//! GitHub, by its own API: it speaks OAuth 2.0 and no OpenID Connect.

use reqwest::header::ACCEPT;
use secrecy::ExposeSecret;
use serde::{Deserialize, de::DeserializeOwned};

use super::{ClientCredentials, PendingSignIn, ProviderError, ProviderProfile};

/// GitHub, as an application of ours sees it.
pub(crate) struct GitHubProvider {
    http: reqwest::Client,
    site_url: String,
    api_url: String,
    credentials: ClientCredentials,
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct GitHubUser {
    /// It never changes; the login may.
    id: u64,
    login: String,
    name: Option<String>,
}

#[derive(Deserialize)]
struct GitHubEmail {
    email: String,
    primary: bool,
    verified: bool,
}

impl GitHubProvider {
    pub(crate) fn new(
        http: reqwest::Client,
        site_url: String,
        api_url: String,
        credentials: ClientCredentials,
    ) -> Self {
        Self {
            http,
            site_url,
            api_url,
            credentials,
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.credentials.id
    }

    pub(crate) fn authorization_url(&self) -> String {
        format!("{}/login/oauth/authorize", self.site_url)
    }

    pub(crate) async fn fetch_profile(
        &self,
        code: &str,
        callback: &str,
        begun: &PendingSignIn,
    ) -> Result<ProviderProfile, ProviderError> {
        let answer: TokenResponse = self
            .http
            .post(format!("{}/login/oauth/access_token", self.site_url))
            .header(ACCEPT, "application/json")
            .form(&[
                ("client_id", self.credentials.id.as_str()),
                ("client_secret", self.credentials.secret.expose_secret()),
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
            .ok_or(ProviderError::InvalidResponse("it gives no token"))?;
        let account: GitHubUser = self.get_json("/user", &token).await?;
        let emails: Vec<GitHubEmail> = self.get_json("/user/emails", &token).await?;
        let email = emails.into_iter().find(|email| email.primary && email.verified);
        Ok(ProviderProfile {
            subject: account.id.to_string(),
            verified_email: email.map(|email| email.email),
            name: account.name.or(Some(account.login)),
        })
    }

    async fn get_json<T: DeserializeOwned>(&self, path: &str, token: &str) -> Result<T, ProviderError> {
        let answer = self
            .http
            .get(format!("{}{path}", self.api_url))
            .bearer_auth(token)
            .header(ACCEPT, "application/vnd.github+json")
            .send()
            .await?;
        Ok(answer.error_for_status()?.json().await?)
    }
}
