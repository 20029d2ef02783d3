//! Sign-in with GitHub, which supports OAuth 2.0 but not OpenID Connect: the profile comes from its REST API.

use reqwest::header::ACCEPT;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};

use super::{PendingSignIn, ProviderError, ProviderProfile};

pub(crate) struct GitHubProvider {
    http: reqwest::Client,
    site_url: String,
    api_url: String,
    client_id: String,
}

#[derive(Deserialize)]
struct TokenResponse {
    /// Absent in an error response.
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct GitHubUser {
    /// The id never changes. The login may.
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
    pub(crate) fn new(http: reqwest::Client, site_url: String, api_url: String, client_id: String) -> Self {
        Self {
            http,
            site_url,
            api_url,
            client_id,
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) fn authorization_url(&self) -> String {
        format!("{}/login/oauth/authorize", self.site_url)
    }

    pub(crate) async fn fetch_profile(
        &self,
        code: &str,
        callback_url: &str,
        pending: &PendingSignIn,
        client_secret: &SecretString,
    ) -> Result<ProviderProfile, ProviderError> {
        let response: TokenResponse = self
            .http
            .post(format!("{}/login/oauth/access_token", self.site_url))
            .header(ACCEPT, "application/json")
            .form(&[
                ("client_id", self.client_id.as_str()),
                ("client_secret", client_secret.expose_secret()),
                ("code", code),
                ("redirect_uri", callback_url),
                ("code_verifier", pending.code_verifier.as_str()),
            ])
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        // GitHub answers an invalid code with status 200 and an error in the body.
        let token = response.access_token.ok_or(ProviderError::InvalidResponse(
            "the token response has no access token",
        ))?;
        let user: GitHubUser = self.get_json("/user", &token).await?;
        let emails: Vec<GitHubEmail> = self.get_json("/user/emails", &token).await?;
        let email = emails.into_iter().find(|email| email.primary && email.verified);
        Ok(ProviderProfile {
            subject: user.id.to_string(),
            verified_email: email.map(|email| email.email),
            name: user.name.or(Some(user.login)),
        })
    }

    async fn get_json<T: DeserializeOwned>(&self, path: &str, token: &str) -> Result<T, ProviderError> {
        let response = self
            .http
            .get(format!("{}{path}", self.api_url))
            .bearer_auth(token)
            .header(ACCEPT, "application/vnd.github+json")
            .send()
            .await?;
        Ok(response.error_for_status()?.json().await?)
    }
}
