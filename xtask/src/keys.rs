//! The secrets of a local system: the signing keys of user tokens, the signing key of service tokens, the
//! refresh token pepper, the key of unsubscribe links, and PostgreSQL's certificate. They are created once in
//! the instance's folder; a deployment copies them to Secrets Manager, except the certificate.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::rsa::PublicKeyComponents;
use ring::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::instance::Instance;
use crate::signing_keys::{NewKey, SigningKeys};
use crate::{postgres, python};

/// The issuer (`iss`) of service tokens. The issuer of user tokens is the URL of the API gateway.
pub const SERVICE_TOKEN_ISSUER: &str = "https://services.matsuri.local";

/// A Python script that generates an RSA key in PKCS #8, without a password. ring can sign with RSA keys but
/// not generate them. User tokens use RS256, because API Gateway verifies no other algorithm; service tokens
/// never reach API Gateway and use EdDSA.
const GENERATE_RSA_SCRIPT: &str = "
import sys
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import rsa
key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
sys.stdout.buffer.write(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
";

/// The JWKS with the public key of service tokens.
pub fn service_jwks_file(instance: &Instance) -> PathBuf {
    instance.keys_dir().join("services.jwks.json")
}

fn service_private_key_file(instance: &Instance) -> PathBuf {
    instance.keys_dir().join("services.pem")
}

/// The signing keys of user tokens, in the format of the secret `ecommerce/user-signing-keys`.
fn user_signing_keys_file(instance: &Instance) -> PathBuf {
    instance.keys_dir().join("user-signing-keys.json")
}

/// The pepper from which the next refresh token is derived, in the format of the secret
/// `ecommerce/refresh-pepper`.
fn refresh_pepper_file(instance: &Instance) -> PathBuf {
    instance.keys_dir().join("refresh-pepper")
}

/// The key that signs unsubscribe links, in the format of the secret `ecommerce/unsubscribe-keys`.
fn unsubscribe_keys_file(instance: &Instance) -> PathBuf {
    instance.keys_dir().join("unsubscribe-keys")
}

/// All files that a deployment copies to Secrets Manager.
pub fn secret_files(instance: &Instance) -> [PathBuf; 4] {
    [
        service_jwks_file(instance),
        user_signing_keys_file(instance),
        refresh_pepper_file(instance),
        unsubscribe_keys_file(instance),
    ]
}

/// Creates the missing keys. Returns whether any was missing.
///
/// # Errors
/// When a key cannot be generated or written.
pub fn create_missing(instance: &Instance) -> Result<bool> {
    fs::create_dir_all(instance.keys_dir())?;
    fs::set_permissions(instance.keys_dir(), fs::Permissions::from_mode(0o700))?;
    let mut missing: Vec<PathBuf> = secret_files(instance)
        .into_iter()
        .filter(|file| !file.exists())
        .collect();
    // An earlier version of this tool used another algorithm; such a key cannot be loaded and is replaced.
    if ServiceTokenKey::load(instance).is_err() && !missing.contains(&service_jwks_file(instance)) {
        missing.push(service_jwks_file(instance));
    }
    // The JWKS is written last: if it exists, the private key is complete.
    if missing.contains(&service_jwks_file(instance)) {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| no_randomness_error())?;
        let pem = encode_pem(der.as_ref());
        write_private_file(&service_private_key_file(instance), &pem)?;
        let jwks = ServiceTokenKey::from_pem(&pem)?.jwks();
        fs::write(service_jwks_file(instance), serde_json::to_vec_pretty(&jwks)?)?;
    }
    if missing.contains(&user_signing_keys_file(instance)) {
        let keys = SigningKeys::initial(
            SystemTime::now().into(),
            [generate_user_key()?, generate_user_key()?],
        );
        save_user_signing_keys(instance, &keys)?;
    }
    for file in [refresh_pepper_file(instance), unsubscribe_keys_file(instance)] {
        if missing.contains(&file) {
            write_private_file(&file, &random_key()?)?;
        }
    }
    let certificate_was_missing = postgres::create_missing_certificate(instance)?;
    Ok(certificate_was_missing || !missing.is_empty())
}

/// Generates a signing key for user tokens.
///
/// # Errors
/// When Python cannot generate the key.
pub fn generate_user_key() -> Result<NewKey> {
    let private_key_pem = generate_rsa_pem()?;
    Ok(NewKey {
        kid: UserTokenKey::from_pem(&private_key_pem)?.kid(),
        private_key_pem,
    })
}

/// Writes the signing keys of user tokens to the file that the next deployment copies to Secrets Manager.
///
/// # Errors
/// When they cannot be written.
pub fn save_user_signing_keys(instance: &Instance, keys: &SigningKeys) -> Result<()> {
    write_private_file(
        &user_signing_keys_file(instance),
        &serde_json::to_string_pretty(keys)?,
    )
}

/// 32 random bytes in base64.
fn random_key() -> Result<String> {
    let mut key = [0; 32];
    let filled = SystemRandom::new().fill(&mut key);
    filled.map_err(|_| no_randomness_error())?;
    Ok(STANDARD.encode(key))
}

fn generate_rsa_pem() -> Result<String> {
    let output = Command::new(python::LOCAL_SYSTEM.command("python"))
        .args(["-c", GENERATE_RSA_SCRIPT])
        .output()
        .context("cannot run the Python of .local/venv")?;
    if !output.status.success() {
        bail!(
            "cannot generate an RSA key: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8(output.stdout).context("the generated key is not UTF-8 text")
}

/// Writes a file atomically, readable only by its owner.
///
/// # Errors
/// When it cannot be written.
pub fn write_private_file(path: &Path, content: &str) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let temporary = path.with_extension("new");
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .with_context(context)?;
    file.write_all(content.as_bytes()).with_context(context)?;
    fs::rename(temporary, path).with_context(context)
}

/// A private key that signs user tokens.
#[derive(Debug)]
pub struct UserTokenKey(RsaKeyPair);

impl UserTokenKey {
    /// Loads the key that is active now.
    ///
    /// # Errors
    /// When no keys have been created yet, or none is active.
    pub fn load_active(instance: &Instance) -> Result<Self> {
        let keys: SigningKeys = serde_json::from_str(&read_key_file(&user_signing_keys_file(instance))?)?;
        let key = keys.active_key(SystemTime::now().into());
        Self::from_pem(
            &key.context("no signing key for user tokens is active yet")?
                .private_key_pem,
        )
    }

    fn from_pem(pem: &str) -> Result<Self> {
        let pair = RsaKeyPair::from_pkcs8(&decode_pem(pem)?)
            .map_err(|reason| anyhow::anyhow!("the key is not a usable RSA key: {reason}"))?;
        Ok(Self(pair))
    }

    /// The key id: its RFC 7638 thumbprint.
    fn kid(&self) -> String {
        let components: PublicKeyComponents<Vec<u8>> = self.0.public().into();
        rsa_thumbprint(
            &URL_SAFE_NO_PAD.encode(components.n),
            &URL_SAFE_NO_PAD.encode(components.e),
        )
    }

    /// Signs claims as a compact JWT.
    ///
    /// # Errors
    /// When the operating system provides no randomness for the blinding of the signature.
    pub fn sign(&self, claims: &Value) -> Result<String> {
        let message = signing_input("RS256", &self.kid(), claims);
        let mut signature = vec![0; self.0.public().modulus_len()];
        self.0
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .map_err(|_| no_randomness_error())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// The private key that signs service tokens.
#[derive(Debug)]
pub struct ServiceTokenKey(Ed25519KeyPair);

impl ServiceTokenKey {
    /// # Errors
    /// When no key has been created yet.
    pub fn load(instance: &Instance) -> Result<Self> {
        Self::from_pem(&read_key_file(&service_private_key_file(instance))?)
    }

    fn from_pem(pem: &str) -> Result<Self> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&decode_pem(pem)?)
            .map_err(|reason| anyhow::anyhow!("the key is not a usable Ed25519 key: {reason}"))?;
        Ok(Self(pair))
    }

    fn kid(&self) -> String {
        ed25519_thumbprint(&self.public_key())
    }

    fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.public_key())
    }

    /// Signs claims as a compact JWT.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        let message = signing_input("EdDSA", &self.kid(), claims);
        let signature = self.0.sign(message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn jwks(&self) -> Value {
        json!({ "keys": [
            {
                "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.kid(),
                "x": self.public_key(),
            }
        ] })
    }
}

fn signing_input(algorithm: &str, kid: &str, claims: &Value) -> String {
    let header = json!({ "alg": algorithm, "kid": kid, "typ": "JWT" });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encode(&header), encode(claims))
}

fn no_randomness_error() -> anyhow::Error {
    anyhow::anyhow!("the operating system provides no randomness")
}

fn read_key_file(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the key {}; run `cargo xtask up` first",
            path.display()
        )
    })
}

fn rsa_thumbprint(modulus: &str, exponent: &str) -> String {
    thumbprint(&format!(r#"{{"e":"{exponent}","kty":"RSA","n":"{modulus}"}}"#))
}

fn ed25519_thumbprint(public: &str) -> String {
    thumbprint(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#))
}

/// Computes the thumbprint of RFC 7638: the digest of the required members, in alphabetical order, without
/// white space.
fn thumbprint(members: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(members.as_bytes()))
}

fn encode_pem(der: &[u8]) -> String {
    format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der)
    )
}

fn decode_pem(pem: &str) -> Result<Vec<u8>> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body.trim()).context("the key is not PEM")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7638, section 3.1, and of RFC 8037, appendix A.3.
    #[test]
    fn thumbprints_match_the_examples_of_the_rfcs() {
        let modulus = concat!(
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1",
            "L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4",
            "QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbO",
            "pbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csF",
            "Cur-kEgU8awapJzKnqDKgw",
        );
        assert_eq!(
            rsa_thumbprint(modulus, "AQAB"),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
        assert_eq!(
            ed25519_thumbprint("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"),
            "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        );
    }
}
