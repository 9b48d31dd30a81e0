//! Takes request paths of the API server apart.

use std::collections::BTreeMap;

/// What a path names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Target {
    /// `/api/v1` or `/apis/<group>/<version>`.
    pub(super) base: String,
    pub(super) plural: String,
    pub(super) namespace: String,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
}

pub(super) fn parse(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let base = match *parts.first()? {
        "api" => 2,
        "apis" => 3,
        _ => return None,
    };
    let (base, rest) = parts.split_at_checked(base)?;
    let (namespace, rest) = match rest {
        // The namespace itself, or a part of it.
        ["namespaces"] | ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => ("", rest),
        ["namespaces", namespace, rest @ ..] => (*namespace, rest),
        rest => ("", rest),
    };
    let owned = |index: usize| rest.get(index).map(|part| (*part).to_owned());
    Some(Target {
        base: format!("/{}", base.join("/")),
        plural: owned(0)?,
        namespace: namespace.to_owned(),
        name: owned(1),
        subresource: owned(2),
    })
}

pub(super) fn query(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(k, v)| (decode(k), decode(v)))
        .collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).unwrap_or_default() as u8;
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let high = hex(bytes.next());
                out.push(high << 4 | hex(bytes.next()));
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_namespaced_objects_of_namespaces_and_of_cluster_scoped_objects_are_told_apart() {
        let show = |path: &str| {
            let t = parse(path).unwrap();
            [
                t.plural,
                t.namespace,
                t.name.unwrap_or_default(),
                t.subresource.unwrap_or_default(),
            ]
            .join(",")
        };
        assert_eq!(
            show("/api/v1/namespaces/a/services/web/status"),
            "services,a,web,status"
        );
        assert_eq!(show("/apis/apps/v1/namespaces/a/deployments"), "deployments,a,,");
        assert_eq!(show("/api/v1/namespaces/a"), "namespaces,,a,");
        assert_eq!(show("/api/v1/namespaces/a/status"), "namespaces,,a,status");
        assert_eq!(show("/api/v1/nodes/n1"), "nodes,,n1,");
        assert_eq!(parse("/version"), None);
    }

    #[test]
    fn query_parameters_are_decoded() {
        let query = query("fieldManager=ccm%2Froute&force=true&watch");
        assert_eq!(query["fieldManager"], "ccm/route");
        assert_eq!(query["force"], "true");
        assert_eq!(query["watch"], "");
    }
}
