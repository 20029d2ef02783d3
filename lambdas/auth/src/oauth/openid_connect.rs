//! A provider of OpenID Connect, found by its discovery document.

use domain::Clock;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use secrecy::ExposeSecret;
use serde::{Deserialize, de::DeserializeOwned};

use super::{ClientCredentials, PendingSignIn, ProviderError, ProviderProfile};

/// How far the provider's clock and ours may be apart, in seconds.
const CLOCK_SKEW_SECONDS: i64 = 60;

/// A provider, as a client of its sees it.
pub(crate) struct OpenIdConnectProvider {
    http: reqwest::Client,
    issuer: String,
    credentials: ClientCredentials,
    clock: Clock,
}

/// As much of the discovery document as is used.
#[derive(Deserialize)]
struct DiscoveryDocument {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct TokenResponse {
    id_token: String,
}

#[derive(Deserialize)]
struct IdTokenClaims {
    sub: String,
    exp: i64,
    nonce: Option<String>,
    email: Option<String>,
    /// A provider that does not say so has not.
    #[serde(default)]
    email_verified: bool,
    name: Option<String>,
}

impl OpenIdConnectProvider {
    pub(crate) fn new(
        http: reqwest::Client,
        issuer: String,
        credentials: ClientCredentials,
        clock: Clock,
    ) -> Self {
        Self {
            http,
            issuer,
            credentials,
            clock,
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.credentials.id
    }

    pub(crate) async fn authorization_endpoint(&self) -> Result<String, ProviderError> {
        Ok(self.fetch_discovery_document().await?.authorization_endpoint)
    }

    pub(crate) async fn fetch_profile(
        &self,
        code: &str,
        callback: &str,
        begun: &PendingSignIn,
    ) -> Result<ProviderProfile, ProviderError> {
        let configuration = self.fetch_discovery_document().await?;
        let answer: TokenResponse = self
            .http
            .post(&configuration.token_endpoint)
            .form(&[
                ("grant_type", "authorization_code"),
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
        let keys: JwkSet = self.get_json(&configuration.jwks_uri).await?;
        let told = self.verify_id_token(&answer.id_token, &keys, &configuration.issuer)?;
        // A token of another sign-in has another nonce.
        if told.nonce.as_deref() != Some(&*begun.nonce) {
            return Err(ProviderError::InvalidResponse("its token is of another sign-in"));
        }
        Ok(ProviderProfile {
            subject: told.sub,
            verified_email: told.email.filter(|_| told.email_verified),
            name: told.name,
        })
    }

    async fn fetch_discovery_document(&self) -> Result<DiscoveryDocument, ProviderError> {
        let document = format!("{}/.well-known/openid-configuration", self.issuer);
        let configuration: DiscoveryDocument = self.get_json(&document).await?;
        if configuration.issuer.trim_end_matches('/') != self.issuer {
            return Err(ProviderError::InvalidResponse("its document is another issuer's"));
        }
        Ok(configuration)
    }

    fn verify_id_token(
        &self,
        token: &str,
        keys: &JwkSet,
        issuer: &str,
    ) -> Result<IdTokenClaims, ProviderError> {
        let header = decode_header(token)?;
        let key = match &header.kid {
            Some(kid) => keys.find(kid),
            // With one key there is no need to name it (OpenID Connect Core, 10.1).
            None => keys.keys.first().filter(|_| keys.keys.len() == 1),
        };
        let key =
            DecodingKey::from_jwk(key.ok_or(ProviderError::InvalidResponse("its token's key is unknown"))?)?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[&self.credentials.id]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Time is ours to ask for.
        validation.validate_exp = false;
        let told = decode::<IdTokenClaims>(token, &key, &validation)?.claims;
        if told.exp + CLOCK_SKEW_SECONDS <= self.clock.now().timestamp() {
            return Err(ProviderError::InvalidResponse("its token has expired"));
        }
        Ok(told)
    }

    async fn get_json<T: DeserializeOwned>(&self, url: &str) -> Result<T, ProviderError> {
        Ok(self
            .http
            .get(url)
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?)
    }
}
