//! The HTTP client for stock-service and the payment provider.

use std::sync::Arc;

use reqwest::ClientBuilder;
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

/// A client builder that trusts Mozilla's root certificates. They are compiled in: by default the client
/// would read and parse the system's certificates at each cold start.
pub(crate) fn client_builder() -> ClientBuilder {
    let roots = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs supports TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder().tls_backend_preconfigured(tls)
}
