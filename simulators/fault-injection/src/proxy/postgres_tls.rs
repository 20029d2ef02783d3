//! Encryption on both sides of the PostgreSQL proxy. The proxy has to read the messages that rules match, so
//! it shows clients the certificate of the database and connects to the database itself.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName,
        pem::{self, PemObject as _},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// The message with which a client asks for encryption, before the handshake. The server answers `S`.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// The certificate that the proxy shows to clients, and the CA that it expects of the database.
#[derive(Clone)]
pub struct PostgresTls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

/// The files of the certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PostgresTlsError {
    #[error("cannot read {0}")]
    Pem(PathBuf, #[source] pem::Error),
    #[error("the certificates or the key are invalid")]
    Rustls(#[from] rustls::Error),
}

impl PostgresTls {
    /// Reads `database-ca.pem`, `database-cert.pem` and `database-key.pem` from a folder.
    pub fn from_dir(dir: &Path) -> Result<Self, PostgresTlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in read_certificates(&dir.join("database-ca.pem"))? {
            roots.add(certificate)?;
        }
        let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = server_config(provider, dir)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }

    /// Encrypts the connection of a client, as the database does. Fails if the client asks for anything else.
    pub async fn accept(&self, mut client: TcpStream) -> io::Result<server::TlsStream<TcpStream>> {
        let mut request = [0; SSL_REQUEST.len()];
        client.read_exact(&mut request).await?;
        if request != SSL_REQUEST {
            return Err(io::Error::other("the client does not ask for encryption"));
        }
        client.write_all(b"S").await?;
        self.acceptor.accept(client).await
    }

    /// Encrypts a connection to the database, whose certificate must name `host`.
    pub async fn connect(
        &self,
        host: &str,
        mut database: TcpStream,
    ) -> io::Result<client::TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        database.write_all(&SSL_REQUEST).await?;
        if database.read_u8().await? != b'S' {
            return Err(io::Error::other("the database does not support encryption"));
        }
        self.connector.connect(name, database).await
    }
}

fn server_config(provider: Arc<CryptoProvider>, dir: &Path) -> Result<ServerConfig, PostgresTlsError> {
    let key_file = dir.join("database-key.pem");
    let key =
        PrivateKeyDer::from_pem_file(&key_file).map_err(|error| PostgresTlsError::Pem(key_file, error))?;
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(read_certificates(&dir.join("database-cert.pem"))?, key)?)
}

fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PostgresTlsError> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| PostgresTlsError::Pem(file.to_owned(), error))
}
