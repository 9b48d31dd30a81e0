//! Which certificates and keys reach the hub: those that Envoy takes, and no others.
//!
//! The certificates are of 2026 and good for a hundred years. What is expected of each is what `envoy --mode validate`
//! said of a listener that shows it.

use api::v1alpha1::SyncSecret;
use gateway_translator::translate_secret;
use k8s_openapi::ByteString;
use serde_json::json;

use crate::support::certificate_file;

/// What is said of a certificate with its key, or nothing.
fn problem(certificate: &str, key: &str) -> Option<String> {
    let mut secret: SyncSecret = serde_json::from_value(json!({
        "metadata": {"namespace": "tenant-a", "name": "uid-cert"}, "spec": {"type": "kubernetes.io/tls"}}))
    .unwrap();
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    secret.spec.data = [("tls.crt", certificate), ("tls.key", key)]
        .map(|(name, text)| (name.to_owned(), bytes(text)))
        .into();
    let made = translate_secret(&secret, "a", "tenant-a");
    made.err().map(|problem| problem.message)
}

fn problem_of(name: &str) -> Option<String> {
    problem(
        &certificate_file(&format!("{name}.crt")),
        &certificate_file(&format!("{name}.key")),
    )
}

#[test]
fn every_kind_of_certificate_that_envoy_takes_reaches_the_hub() {
    for name in [
        "p256", "p384", "p521", "ed25519", "rsa2048", "san-only", "cn-only", "sec1",
    ] {
        assert_eq!(problem_of(name), None, "{name}");
    }
    let pkcs1 = problem(&certificate_file("rsa2048.crt"), &certificate_file("pkcs1.key"));
    assert_eq!(pkcs1, None);
}

#[test]
fn a_certificate_that_envoy_would_refuse_is_refused_with_what_is_wrong_with_it() {
    let key = certificate_file("p256.key");
    for (name, what) in [
        (
            "rsa1024",
            "tls.crt has an RSA key of 1024 bits, and 2048 are the fewest",
        ),
        (
            "rsa2047",
            "tls.crt has an RSA key of 2047 bits, and 2048 are the fewest",
        ),
        (
            "p224",
            "tls.crt has an EC key on another curve than P-256, P-384 and P-521",
        ),
        ("nameless", "tls.crt has a certificate that has no name"),
        ("email-only", "tls.crt has a certificate that has no name"),
        (
            "must-staple",
            "tls.crt has a certificate that asks for an OCSP response, of which there is none",
        ),
    ] {
        let said = problem(&certificate_file(&format!("{name}.crt")), &key);
        assert_eq!(said, Some(format!("SyncSecret uid-cert: {what}.")), "{name}");
    }
}

#[test]
fn text_that_is_no_certificate_or_no_key_is_refused() {
    let (certificate, key) = (certificate_file("p256.crt"), certificate_file("p256.key"));
    let broken = certificate.replace("MII", "AII");
    let cut = certificate.lines().take(4).collect::<Vec<_>>().join("\n");
    let no_key = "-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----\n";
    for (certificate, key, what) in [
        ("hello", key.as_str(), "tls.crt has no certificate"),
        ("", &key, "tls.crt has no certificate"),
        (&cut, &key, "tls.crt is not PEM"),
        (&broken, &key, "tls.crt has a certificate that cannot be read"),
        (
            &format!("{certificate}{broken}"),
            &key,
            "tls.crt has a certificate that cannot be read",
        ),
        (&certificate, "hello", "tls.key has no private key"),
        (&certificate, &certificate, "tls.key has no private key"),
        (
            &certificate,
            no_key,
            "tls.key has a private key that cannot be read",
        ),
    ] {
        assert_eq!(
            problem(certificate, key),
            Some(format!("SyncSecret uid-cert: {what}."))
        );
    }
}

#[test]
fn what_stands_around_certificates_and_keys_does_no_harm() {
    let (certificate, key) = (certificate_file("p256.crt"), certificate_file("p256.key"));
    let chain = format!(
        "subject=CN=own\n{certificate}\n# issuer\n{}",
        certificate_file("p384.crt")
    );
    assert_eq!(problem(&chain.replace('\n', "\r\n"), &key), None);
    // Only the server's own certificate is Envoy's business.
    let weak_issuer = format!("{certificate}{}", certificate_file("rsa1024.crt"));
    assert_eq!(problem(&weak_issuer, &key), None);
}
