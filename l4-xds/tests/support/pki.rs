//! Certificates made on the spot.

use l4_xds::identity::{TlsMaterial, fleet_uri};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};

/// The name that the control plane's certificate carries.
pub const SERVER_NAME: &str = "xds.kubelb.test";

/// A certificate with its key, as PEM.
#[derive(Debug, Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

pub struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn pem(&self) -> String {
        self.0.pem()
    }

    pub fn server(&self) -> Pair {
        self.issue(
            vec![SanType::DnsName(SERVER_NAME.try_into().unwrap())],
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// A client certificate for a fleet.
    pub fn fleet(&self, fleet: &str) -> Pair {
        self.client(&[&fleet_uri(&fleet.parse().unwrap())])
    }

    /// A client certificate with these URIs.
    pub fn client(&self, uris: &[&str]) -> Pair {
        let sans = uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()))
            .collect();
        self.issue(sans, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// What a server needs that has its certificate from here and trusts `clients`.
    pub fn material(&self, clients: &[&Ca]) -> TlsMaterial {
        let Pair { certificate, key } = self.server();
        let pems: Vec<String> = clients.iter().map(|ca| ca.pem()).collect();
        let bundles: Vec<&[u8]> = pems.iter().map(|pem| pem.as_bytes()).collect();
        TlsMaterial::from_pem(certificate.as_bytes(), key.as_bytes(), &bundles).unwrap()
    }

    fn issue(&self, sans: Vec<SanType>, usage: ExtendedKeyUsagePurpose) -> Pair {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.subject_alt_names = sans;
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}
