//! The keys of the two trust domains: who vouches for customers, and who for our own programs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::paths::Instance;
use crate::python;

/// Who vouches for the bearer of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Domain {
    /// Customers and administrators, towards core-api.
    Customers,
    /// Our own programs, towards stock-service.
    Services,
}

impl Domain {
    const ALL: [Self; 2] = [Self::Customers, Self::Services];

    fn name(self) -> &'static str {
        match self {
            Self::Customers => "customers",
            Self::Services => "services",
        }
    }

    /// The issuer's name in tokens.
    pub fn issuer(self) -> &'static str {
        match self {
            Self::Customers => "https://auth.matsuri.local",
            Self::Services => "https://services.matsuri.local",
        }
    }

    /// The public keys, for those who verify.
    pub fn key_set(self, instance: &Instance) -> PathBuf {
        instance.keys().join(format!("{}.jwks.json", self.name()))
    }

    fn private_key(self, instance: &Instance) -> PathBuf {
        instance.keys().join(format!("{}.pem", self.name()))
    }
}

/// Makes an RSA key in PKCS #8, without a password. ring signs with such keys and does not make them.
const GENERATE: &str = "
import os, sys
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import rsa
key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
pem = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
with os.fdopen(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 'wb') as file:
    file.write(pem)
";

/// Makes the keys that are missing. Returns whether there were any.
///
/// # Errors
/// When a key cannot be made or written.
pub fn prepare(instance: &Instance) -> Result<bool> {
    fs::create_dir_all(instance.keys())?;
    fs::set_permissions(instance.keys(), fs::Permissions::from_mode(0o700))?;
    let mut made = false;
    for domain in Domain::ALL {
        // The set is written last: where it stands, its private key is complete.
        if !domain.key_set(instance).exists() {
            generate(&domain.private_key(instance))?;
            let key = SigningKey::read(instance, domain)?;
            fs::write(
                domain.key_set(instance),
                serde_json::to_vec_pretty(&key.public_set())?,
            )?;
            made = true;
        }
    }
    Ok(made)
}

fn generate(path: &Path) -> Result<()> {
    let output = Command::new(python::SYSTEM.command("python"))
        .args(["-c", GENERATE])
        .arg(path)
        .output()
        .context("cannot run the environment's python")?;
    if !output.status.success() {
        bail!(
            "no key was made: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// A private key, able to sign tokens.
#[derive(Debug)]
pub struct SigningKey {
    pair: RsaKeyPair,
}

impl SigningKey {
    /// Reads the private key of a trust domain.
    ///
    /// # Errors
    /// When there is none yet, or it is not an RSA key in PKCS #8.
    pub fn read(instance: &Instance, domain: Domain) -> Result<Self> {
        let path = domain.private_key(instance);
        let pem = fs::read_to_string(&path)
            .with_context(|| format!("there is no key {}; run `cargo xtask up` first", path.display()))?;
        let pair = RsaKeyPair::from_pkcs8(&decode_pem(&pem)?)
            .map_err(|reason| anyhow::anyhow!("{} is no usable RSA key: {reason}", path.display()))?;
        Ok(Self { pair })
    }

    /// The key's number: its RFC 7638 thumbprint.
    pub fn id(&self) -> String {
        let (modulus, exponent) = self.public_numbers();
        thumbprint(&modulus, &exponent)
    }

    /// Signs claims as a compact JWT.
    ///
    /// # Errors
    /// When the operating system has no randomness for the signature's blinding.
    pub fn sign(&self, claims: &Value) -> Result<String> {
        let header = json!({ "alg": "RS256", "kid": self.id(), "typ": "JWT" });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(&header), encode(claims));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message.as_bytes(),
                &mut signature,
            )
            .map_err(|_| anyhow::anyhow!("the token could not be signed"))?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn public_set(&self) -> Value {
        let (modulus, exponent) = self.public_numbers();
        json!({ "keys": [
            { "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id(), "n": modulus, "e": exponent }
        ] })
    }

    fn public_numbers(&self) -> (String, String) {
        let numbers: PublicKeyComponents<Vec<u8>> = self.pair.public().into();
        (
            URL_SAFE_NO_PAD.encode(numbers.n),
            URL_SAFE_NO_PAD.encode(numbers.e),
        )
    }
}

/// RFC 7638: the digest of the required members, in the order of their names, without white space.
fn thumbprint(modulus: &str, exponent: &str) -> String {
    let members = format!(r#"{{"e":"{exponent}","kty":"RSA","n":"{modulus}"}}"#);
    URL_SAFE_NO_PAD.encode(Sha256::digest(members.as_bytes()))
}

fn decode_pem(pem: &str) -> Result<Vec<u8>> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body.trim()).context("the key is not PEM")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7638, section 3.1.
    #[test]
    fn the_thumbprint_is_that_of_the_standard() {
        let modulus = concat!(
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4",
            "n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0",
            "zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-c",
            "sFCur-kEgU8awapJzKnqDKgw",
        );
        assert_eq!(
            thumbprint(modulus, "AQAB"),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }
}
