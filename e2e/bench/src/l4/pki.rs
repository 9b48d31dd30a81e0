//! Certificates and kubeconfigs of one API server, made on the spot. They are good for nothing else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde_json::json;

/// An authority whose files are in one folder.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    dir: PathBuf,
}

/// Files of a certificate.
pub struct Pair {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn new(dir: &Path) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = params("bench", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        write(&dir.join("ca.crt"), &certificate.pem())?;
        Ok(Self {
            issuer: Issuer::new(params, key),
            dir: dir.to_owned(),
        })
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// For a server at this address.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn server(&self, address: &str) -> Result<Pair> {
        let mut params = params("server", &[]);
        params.subject_alt_names = CertificateParams::new(vec![address.to_owned()])?.subject_alt_names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue("server", &params)
    }

    /// For a user of the API server, in these groups.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn client(&self, file: &str, user: &str, groups: &[&str]) -> Result<Pair> {
        let mut params = params(user, groups);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(file, &params)
    }

    /// The key with which the API server signs tokens, and its public half.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn token_keys(&self) -> Result<(PathBuf, PathBuf)> {
        let pair = KeyPair::generate()?;
        let (private, public) = (self.dir.join("tokens.key"), self.dir.join("tokens.pub"));
        write(&private, &pair.serialize_pem())?;
        write(&public, &pair.public_key_pem())?;
        Ok((private, public))
    }

    /// A kubeconfig for a user of the API server.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn kubeconfig(&self, server: &str, file: &str, user: &str, groups: &[&str]) -> Result<PathBuf> {
        let Pair { certificate, key } = self.client(file, user, groups)?;
        let text = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {
                "server": server, "certificate-authority": self.certificate(),
            }}],
            "users": [{"name": "bench", "user": {"client-certificate": certificate, "client-key": key}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        });
        let path = self.dir.join(format!("{file}.kubeconfig"));
        write(&path, &format!("{text:#}"))?;
        Ok(path)
    }

    fn issue(&self, file: &str, params: &CertificateParams) -> Result<Pair> {
        let pair = KeyPair::generate()?;
        let signed = params.signed_by(&pair, &self.issuer)?;
        let (certificate, key) = (
            self.dir.join(format!("{file}.crt")),
            self.dir.join(format!("{file}.key")),
        );
        write(&certificate, &signed.pem())?;
        write(&key, &pair.serialize_pem())?;
        Ok(Pair { certificate, key })
    }
}

/// The API server takes the common name for the user and each organization for a group.
fn params(name: &str, groups: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    for group in groups {
        subject.push(DnType::OrganizationName, *group);
    }
    params.distinguished_name = subject;
    params
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
