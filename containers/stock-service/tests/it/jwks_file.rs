//! Rotation of the keys of service tokens in the JWKS file.

use std::{fs, path::Path};

use domain::Clock;
use serde_json::{Value, json};
use stock_service::jwks_file::JwksFile;
use tokens::{ServiceSigningKey, ServiceTokenIssuer, TokenError, TokenVerifier};

use crate::support::{AUDIENCE, ISSUER, generate_key, new_id};

fn token_of(key: &ServiceSigningKey) -> String {
    let issuer = ServiceTokenIssuer::new(key, ISSUER, AUDIENCE, "saga", Clock::system()).unwrap();
    issuer.token().unwrap()
}

/// Replaces the file as a whole, as operators do.
fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

fn jwks(keys: &[&Value]) -> String {
    json!({"keys": keys}).to_string()
}

#[tokio::test]
async fn a_key_that_is_added_to_the_file_is_accepted_without_a_restart() {
    let (old, old_public) = generate_key("old");
    let (new, new_public) = generate_key("new");
    let path = std::env::temp_dir().join(format!("{}.jwks.json", new_id()));
    replace(&path, &jwks(&[&old_public]));
    let (verifier, requests) = TokenVerifier::with_key_refresh(ISSUER, AUDIENCE, Clock::system());
    let file = JwksFile::load(path.clone(), verifier.clone()).unwrap();
    tokio::spawn(file.follow(requests));
    let verify = async |key| verifier.verify_with_refresh(&token_of(key)).await;
    assert!(verify(&old).await.is_ok());
    assert_eq!(verify(&new).await.unwrap_err(), TokenError::UnknownKey);

    // Both keys are valid while the saga's functions start to sign with the new one.
    replace(&path, &jwks(&[&old_public, &new_public]));
    assert!(verify(&new).await.is_ok());
    assert!(verify(&old).await.is_ok());

    // The keys stay in use when the file is damaged. An unknown key makes the service read it.
    replace(&path, "{}");
    let (unknown, _) = generate_key("unknown");
    assert_eq!(verify(&unknown).await.unwrap_err(), TokenError::UnknownKey);
    assert!(verify(&new).await.is_ok());
    assert!(verify(&old).await.is_ok());

    replace(&path, &jwks(&[&new_public]));
    assert_eq!(verify(&unknown).await.unwrap_err(), TokenError::UnknownKey);
    assert!(verify(&new).await.is_ok());
    assert_eq!(verify(&old).await.unwrap_err(), TokenError::UnknownKey);
    fs::remove_file(path).unwrap();
}

#[test]
fn an_unusable_file_is_an_error_that_names_it() {
    let path = std::env::temp_dir().join(format!("{}.jwks.json", new_id()));
    let load = || {
        let (verifier, _) = TokenVerifier::with_key_refresh(ISSUER, AUDIENCE, Clock::system());
        JwksFile::load(path.clone(), verifier).unwrap_err().to_string()
    };
    assert_eq!(load(), format!("cannot read {}", path.display()));
    fs::write(&path, r#"{"keys": []}"#).unwrap();
    assert_eq!(load(), format!("{} is not a valid JWKS", path.display()));
    fs::remove_file(path).unwrap();
}
