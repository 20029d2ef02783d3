//! For this package's own tests.

use aws_lc_rs::{encoding::AsDer, rsa};
use base64::{Engine, prelude::BASE64_STANDARD};

/// A new RSA key in PKCS#8 and PEM.
pub fn private_key_pem() -> String {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).expect("RSA keys can be made");
    let der = pair.as_der().expect("a key has a form");
    let text = BASE64_STANDARD.encode(der.as_ref());
    format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----\n")
}
