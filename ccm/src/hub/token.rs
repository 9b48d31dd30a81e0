//! When the credential in use was issued and when it ends. Pure.
//!
//! The token is read, not verified: only the hub can do that. A token that is no JWT has no known life.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::Deserialize;

/// Life of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Issued.
    pub issued_at: Timestamp,
    /// Ends.
    pub expires_at: Timestamp,
}

#[derive(Deserialize)]
struct Claims {
    iat: i64,
    exp: i64,
}

impl Life {
    /// The life that a JWT says it has.
    #[must_use]
    pub fn of_jwt(token: &str) -> Option<Self> {
        let payload = URL_SAFE_NO_PAD
            .decode(token.trim().split('.').nth(1)?.trim_end_matches('='))
            .ok()?;
        let Claims { iat, exp } = serde_json::from_slice(&payload).ok()?;
        let life = Self {
            issued_at: Timestamp::from_second(iat).ok()?,
            expires_at: Timestamp::from_second(exp).ok()?,
        };
        (life.issued_at < life.expires_at).then_some(life)
    }

    /// True when half of it is over.
    #[must_use]
    pub fn is_half_over(&self, now: Timestamp) -> bool {
        let (from, to) = (self.issued_at.as_second(), self.expires_at.as_second());
        now.as_second() >= from + (to - from) / 2
    }
}

/// True when the newer credential that the hub offers is to be fetched.
///
/// Not before half of our own's life is over, so that a hub that issues often does not cause a write here each
/// time. A credential that says nothing of its life is exchanged at once.
#[must_use]
pub fn is_fetch_due(own: Option<Life>, newest_issued_at: Option<Timestamp>, now: Timestamp) -> bool {
    let Some(newest) = newest_issued_at else {
        return false;
    };
    own.is_none_or(|own| newest > own.issued_at && own.is_half_over(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn jwt(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_jwt_tells_its_life() {
        let life = Life::of_jwt(&jwt(r#"{"iat": 100, "exp": 300, "sub": "x"}"#)).unwrap();
        assert_eq!(
            life,
            Life {
                issued_at: at(100),
                expires_at: at(300)
            }
        );
        assert!(!life.is_half_over(at(199)));
        assert!(life.is_half_over(at(200)));
    }

    #[test]
    fn what_is_no_jwt_has_no_life() {
        for token in ["", "opaque", "a.b.c", &jwt("{}"), &jwt(r#"{"iat": 5, "exp": 5}"#)] {
            assert_eq!(Life::of_jwt(token), None, "{token}");
        }
    }

    #[test]
    fn a_newer_credential_is_fetched_after_half_of_the_own_life() {
        let own = Some(Life {
            issued_at: at(0),
            expires_at: at(100),
        });
        assert!(!is_fetch_due(own, Some(at(40)), at(49)));
        assert!(is_fetch_due(own, Some(at(40)), at(50)));
        assert!(!is_fetch_due(own, Some(at(0)), at(99)));
        assert!(!is_fetch_due(own, None, at(99)));
        assert!(is_fetch_due(None, Some(at(1)), at(2)));
    }
}
