//! The certificate of the local PostgreSQL. A CA of its own signs it, because clients verify it as they
//! verify the certificate of RDS. The private key of the CA is not kept.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};

use crate::instance::Instance;
use crate::keys::write_private_file;

/// The addresses of the server: `postgres` is its name in docker-compose.yml.
const HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "postgres"];

/// The certificate of the CA, which clients trust.
pub fn ca_file(instance: &Instance) -> PathBuf {
    instance.keys_dir().join("database-ca.pem")
}

pub fn certificate_file(instance: &Instance) -> PathBuf {
    instance.keys_dir().join("database-cert.pem")
}

pub fn key_file(instance: &Instance) -> PathBuf {
    instance.keys_dir().join("database-key.pem")
}

/// Creates the files if they are missing. Returns whether they were.
///
/// # Errors
/// When they cannot be created.
pub fn create_missing(instance: &Instance) -> Result<bool> {
    if ca_file(instance).exists() {
        return Ok(false);
    }
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.distinguished_name = common_name("Matsuri local database CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_certificate = ca.self_signed(&ca_key)?;

    let key = KeyPair::generate()?;
    let mut server = CertificateParams::new(HOSTS.map(str::to_owned))?;
    server.distinguished_name = common_name("Matsuri local database");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = server.signed_by(&key, &Issuer::new(ca, ca_key))?;

    fs::create_dir_all(instance.keys_dir())?;
    write_private_file(&key_file(instance), &key.serialize_pem())?;
    write_file(&certificate_file(instance), &certificate.pem())?;
    // Written last: if it exists, the others are complete.
    write_file(&ca_file(instance), &ca_certificate.pem())?;
    Ok(true)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished_name = DistinguishedName::new();
    distinguished_name.push(DnType::CommonName, name);
    distinguished_name
}

fn write_file(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}
