//! Who is asking: mutual TLS, and the fleet that a client certificate stands for.
//!
//! The certificate alone decides which snapshot a client sees. What the client says about itself (node id, cluster)
//! is for the log. Key and certificates come in as data and can be replaced while the server runs.

use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::cache::{FleetKey, InvalidFleetKey};

/// A fleet's certificate carries one URI: this and the fleet's key.
const URI_PREFIX: &str = "spiffe://kubelb/fleet/";

/// The URI that a fleet's client certificate has to carry.
pub fn fleet_uri(fleet: &FleetKey) -> String {
    format!("{URI_PREFIX}{fleet}")
}

/// Why TLS material cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM, or nothing of the kind in it.
    #[error("failed to read {what}")]
    Pem {
        /// Which input.
        what: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// No certificate that clients could be checked against.
    #[error("there is no client CA certificate")]
    NoClientCa,
    /// A client CA certificate is unusable.
    #[error("failed to use a client CA certificate")]
    ClientCa(#[source] rustls::Error),
    /// The set of client CA certificates is unusable.
    #[error("failed to build the client certificate verifier")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// Certificate and key do not belong together, or are of an unknown kind.
    #[error("failed to use the server certificate and key")]
    Server(#[source] rustls::Error),
}

/// What the server presents and whom it trusts.
#[derive(Debug)]
pub struct TlsMaterial {
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    client_cas: Vec<CertificateDer<'static>>,
}

impl TlsMaterial {
    /// Reads PEM. `client_cas` are bundles, all of which are trusted: while a CA is replaced, that is the old one and
    /// the new one.
    pub fn from_pem(certificates: &[u8], key: &[u8], client_cas: &[&[u8]]) -> Result<Self, TlsError> {
        let read = |pem: &[u8], what| {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
            all.map_err(|source| TlsError::Pem { what, source })
        };
        let key = PrivateKeyDer::from_pem_slice(key);
        let mut trusted = Vec::new();
        for bundle in client_cas {
            trusted.extend(read(bundle, "client CA certificates")?);
        }
        Ok(Self {
            certificates: read(certificates, "the server certificate")?,
            key: key.map_err(|source| TlsError::Pem {
                what: "the server key",
                source,
            })?,
            client_cas: trusted,
        })
    }

    fn server_config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        // Named rather than the process default, which belongs to whoever owns `main`.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for ca in &self.client_cas {
            roots.add(ca.clone()).map_err(TlsError::ClientCa)?;
        }
        if roots.is_empty() {
            return Err(TlsError::NoClientCa);
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsError::Server)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.certificates.clone(), self.key.clone_key())
            .map_err(TlsError::Server)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session brings the client's certificate along unchecked, so a CA that has been taken out would
        // stay trusted for as long as tickets live.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}

/// The TLS configuration in force. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Tls {
    current: Arc<watch::Sender<Arc<ServerConfig>>>,
}

impl Tls {
    /// Checks the material and starts with it.
    pub fn new(material: &TlsMaterial) -> Result<Self, TlsError> {
        Ok(Self {
            current: Arc::new(watch::Sender::new(material.server_config()?)),
        })
    }

    /// New connections use this from now on. If it is unusable, the old material stays in force. Open streams go on
    /// until their maximum age, which is when a certificate of a withdrawn CA stops working.
    pub fn reload(&self, material: &TlsMaterial) -> Result<(), TlsError> {
        self.current.send_replace(material.server_config()?);
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        self.current.borrow().clone().into()
    }
}

/// Why a client that a trusted CA vouches for is still nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// It did not present a certificate.
    #[error("the client presented no certificate")]
    NoCertificate,
    /// The certificate cannot be read.
    #[error("the client certificate cannot be read")]
    Malformed,
    /// It names no fleet, or more than one.
    #[error("the client certificate must carry exactly one URI, and carries {0}")]
    NotOneUri(usize),
    /// Its URI is not one of ours.
    #[error("the client certificate's URI does not name a fleet")]
    NotAFleet,
    /// The part of the URI that names the fleet is malformed.
    #[error(transparent)]
    Key(#[from] InvalidFleetKey),
}

impl IdentityError {
    /// A word for a metric label.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Malformed | Self::NotOneUri(_) | Self::NotAFleet | Self::Key(_) => {
                "no_fleet_in_certificate"
            }
        }
    }
}

/// The fleet that a verified certificate chain stands for.
pub fn fleet_of(chain: Option<&[CertificateDer<'_>]>) -> Result<FleetKey, IdentityError> {
    let leaf = chain
        .and_then(|chain| chain.first())
        .ok_or(IdentityError::NoCertificate)?;
    let (_, certificate) = X509Certificate::from_der(leaf).map_err(|_| IdentityError::Malformed)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| IdentityError::Malformed)?;
    let names = names.map_or(&[] as &[_], |extension| extension.value.general_names.as_slice());
    let uris: Vec<&str> = names
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect();
    // SPIFFE: "An X.509 SVID MUST contain exactly one URI SAN". With two, which one counts would be anybody's guess.
    let [uri] = uris.as_slice() else {
        return Err(IdentityError::NotOneUri(uris.len()));
    };
    let key = uri.strip_prefix(URI_PREFIX).ok_or(IdentityError::NotAFleet)?;
    Ok(key.parse()?)
}
