//! Tokens of a tenant's service account, signed by the hub's own key: what a real one looks like at another time.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use testbed::Lab;

/// The token in a kubeconfig: the one word in it that begins as every token does.
pub fn token_of(kubeconfig: &str) -> String {
    let words = kubeconfig.split(|letter: char| letter.is_whitespace() || letter == '"');
    words.filter(|word| word.starts_with("eyJ")).collect()
}

/// The kubeconfig with another token.
pub fn with_token(kubeconfig: &str, token: &str) -> String {
    kubeconfig.replace(&token_of(kubeconfig), token)
}

/// The claims of a token.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// The same token with another life, in seconds since 1970. The key never leaves the hub's node.
pub fn with_life(lab: &Lab, token: &str, issued_at: i64, expires_at: i64) -> String {
    let mut claims = claims(token);
    for (claim, moment) in [("iat", issued_at), ("nbf", issued_at), ("exp", expires_at)] {
        claims[claim] = moment.into();
    }
    let header = token.split('.').next().unwrap();
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let script = format!(
        "printf %s '{signed}' | openssl dgst -sha256 -sign /etc/kubernetes/pki/sa.key -binary | base64 -w0"
    );
    let signature = lab.in_node(&lab.control_plane("hub"), &script).unwrap();
    let signature = URL_SAFE_NO_PAD.encode(STANDARD.decode(signature.trim()).unwrap());
    format!("{signed}.{signature}")
}

/// Seconds since 1970.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_secs()).unwrap()
}
