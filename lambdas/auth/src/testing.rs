//! Helpers for the unit tests of this crate.

use aws_lc_rs::{encoding::AsDer, rsa};
use base64::{Engine, prelude::BASE64_STANDARD};

/// Generates an RSA key, encoded as PKCS#8 in PEM.
pub fn private_key_pem() -> String {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("aws-lc generates 2048-bit RSA keys");
    let der = pair.as_der().expect("a generated key can be encoded as PKCS#8");
    let text = BASE64_STANDARD.encode(der.as_ref());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}
