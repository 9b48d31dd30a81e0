//! The allow-list: typed models of the resources that tenants write, one file a kind.
//!
//! These types are all of a resource that can reach the hub. A field that no type here has makes the whole
//! resource refused, so that nothing a tenant wrote is dropped without a word. What the types do not check,
//! such as how many rules a route has, the hub's own API server checks when the object is applied.

pub(crate) mod filters;
pub(crate) mod gateway;
pub(crate) mod grpc_route;
pub(crate) mod http_route;
pub(crate) mod l4_route;
pub(crate) mod matches;
pub(crate) mod route;

use std::fmt;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::verdict::Problem;

/// Reads a part of a resource. `at` is the path of that part, for messages.
pub(crate) fn parse<T: DeserializeOwned>(at: &str, value: &Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." {
            at.to_owned()
        } else {
            format!("{at}.{path}")
        };
        Problem::unsupported(format!("{path}: {}.", error.inner()))
    })
}

/// A field that others understand and that is not needed here: known, but never passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "IgnoredAny")]
pub(crate) struct Unused;

impl From<IgnoredAny> for Unused {
    fn from(_: IgnoredAny) -> Self {
        Self
    }
}

/// A field that is refused with its own message where it is there at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Refused(bool);

impl<'de> Deserialize<'de> for Refused {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<IgnoredAny>::deserialize(deserializer).map(|value| Self(value.is_some()))
    }
}

impl Refused {
    /// An error where the field is there.
    pub(crate) fn check(self, path: impl fmt::Display, why: &str) -> Result<(), Problem> {
        if self.0 {
            Err(Problem::unsupported(format!("{path} {why}.")))
        } else {
            Ok(())
        }
    }
}

/// JSON of one of the models. They hold nothing that JSON cannot.
pub(crate) fn to_json<T: Serialize>(model: &T) -> Result<Value, Problem> {
    serde_json::to_value(model).map_err(|error| Problem::unsupported(format!("spec: {error}.")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::http_route::HttpRule;
    use super::route::RouteSpec;
    use super::*;

    #[test]
    fn an_unknown_field_is_refused_with_its_path() {
        let spec = json!({"rules": [{}, {"matches": [{"path": {"value": "/", "caseSensitive": false}}]}]});
        let problem = parse::<RouteSpec<HttpRule>>("spec", &spec).unwrap_err();
        assert!(
            problem.message.starts_with("spec.rules[1].matches[0].path"),
            "{}",
            problem.message
        );
        assert!(problem.message.contains("caseSensitive"), "{}", problem.message);
    }

    #[test]
    fn a_null_is_no_field() {
        assert!(
            parse::<RouteSpec<HttpRule>>("spec", &json!({"rules": [{"sessionPersistence": null}]})).is_ok()
        );
    }
}
