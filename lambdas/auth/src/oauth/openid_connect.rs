//! Sign-in with an OpenID Connect provider. The endpoints come from the provider's discovery document.

use domain::Clock;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, jwk::JwkSet};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, de::DeserializeOwned};

use super::{PendingSignIn, ProviderError, ProviderProfile};

/// The tolerated difference between the provider's clock and ours.
const CLOCK_SKEW_SECONDS: i64 = 60;

pub(crate) struct OpenIdConnectProvider {
    http: reqwest::Client,
    issuer: String,
    client_id: String,
    clock: Clock,
}

/// The used part of the discovery document (OpenID Connect Discovery 1.0).
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
    /// A provider that omits the claim has not verified the address.
    #[serde(default)]
    email_verified: bool,
    name: Option<String>,
}

impl OpenIdConnectProvider {
    pub(crate) fn new(http: reqwest::Client, issuer: String, client_id: String, clock: Clock) -> Self {
        Self {
            http,
            issuer,
            client_id,
            clock,
        }
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.client_id
    }

    pub(crate) async fn authorization_endpoint(&self) -> Result<String, ProviderError> {
        Ok(self.fetch_discovery_document().await?.authorization_endpoint)
    }

    pub(crate) async fn fetch_profile(
        &self,
        code: &str,
        callback_url: &str,
        pending: &PendingSignIn,
        client_secret: &SecretString,
    ) -> Result<ProviderProfile, ProviderError> {
        let discovery = self.fetch_discovery_document().await?;
        let response: TokenResponse = self
            .http
            .post(&discovery.token_endpoint)
            .form(&[
                ("grant_type", "authorization_code"),
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
        let jwks: JwkSet = self.get_json(&discovery.jwks_uri).await?;
        let claims = self.verify_id_token(&response.id_token, &jwks, &discovery.issuer)?;
        // The nonce rejects an ID token that was issued for another sign-in.
        if claims.nonce.as_deref() != Some(&*pending.nonce) {
            return Err(ProviderError::InvalidResponse(
                "the ID token belongs to another sign-in",
            ));
        }
        Ok(ProviderProfile {
            subject: claims.sub,
            verified_email: claims.email.filter(|_| claims.email_verified),
            name: claims.name,
        })
    }

    async fn fetch_discovery_document(&self) -> Result<DiscoveryDocument, ProviderError> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer);
        let discovery: DiscoveryDocument = self.get_json(&url).await?;
        if discovery.issuer.trim_end_matches('/') != self.issuer {
            return Err(ProviderError::InvalidResponse(
                "the discovery document names another issuer",
            ));
        }
        Ok(discovery)
    }

    fn verify_id_token(
        &self,
        token: &str,
        jwks: &JwkSet,
        issuer: &str,
    ) -> Result<IdTokenClaims, ProviderError> {
        let header = decode_header(token)?;
        let jwk = match &header.kid {
            Some(kid) => jwks.find(kid),
            // A JWKS with a single key needs no key id (OpenID Connect Core, 10.1).
            None => jwks.keys.first().filter(|_| jwks.keys.len() == 1),
        };
        let key = DecodingKey::from_jwk(jwk.ok_or(ProviderError::InvalidResponse(
            "the JWKS does not contain the key of the ID token",
        ))?)?;
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[&self.client_id]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The crate would read the system clock. The check below uses ours.
        validation.validate_exp = false;
        let claims = decode::<IdTokenClaims>(token, &key, &validation)?.claims;
        if claims.exp + CLOCK_SKEW_SECONDS <= self.clock.now().timestamp() {
            return Err(ProviderError::InvalidResponse("the ID token has expired"));
        }
        Ok(claims)
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
