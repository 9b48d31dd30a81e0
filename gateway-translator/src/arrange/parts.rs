//! From what a route has at each place to hub routes: one for all that is alike, so almost always one.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::precedence::{Held, MatchIndex, Place};
use crate::target::attachment::Attachment;
use crate::target::{RouteContent, RuleContent};

/// A hub route: what is served of a route on some of its listeners.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Part {
    attachments: Vec<Attachment>,
    hostnames: Vec<String>,
    without: BTreeSet<MatchIndex>,
}

/// The parts of a route. None where nothing of it is served anywhere.
pub(crate) fn parts(content: &RouteContent, held: &[(Place, Held)]) -> Vec<Part> {
    let is_whole = |held: &Held| match held {
        Held::Nothing => true,
        Held::Elsewhere => false,
        Held::AllBut(lost) => lost.is_empty(),
    };
    if held.iter().all(|(_, held)| is_whole(held)) {
        return vec![Part {
            attachments: content.attachments.clone(),
            hostnames: content.hostnames.clone(),
            without: BTreeSet::new(),
        }];
    }
    let matches = content
        .rules
        .iter()
        .map(|rule| rule.match_keys.len())
        .sum::<usize>();
    let mut by_listener: BTreeMap<(&Attachment, &BTreeSet<MatchIndex>), Vec<String>> = BTreeMap::new();
    for (place, held) in held {
        if let Held::AllBut(without) = held
            && (without.len() < matches || matches == 0)
        {
            let names = by_listener.entry((&place.at, without)).or_default();
            names.extend(place.hostname.clone());
        }
    }
    let mut alike: BTreeMap<(&BTreeSet<MatchIndex>, Vec<String>), Vec<Attachment>> = BTreeMap::new();
    for ((at, without), hostnames) in by_listener {
        alike.entry((without, hostnames)).or_default().push(at.clone());
    }
    let part = |((without, hostnames), attachments): ((&BTreeSet<MatchIndex>, Vec<String>), _)| Part {
        attachments,
        hostnames,
        without: without.clone(),
    };
    let mut parts: Vec<Part> = alike.into_iter().map(part).collect();
    // The largest keeps the route's own name, so that little moves when a part comes or goes.
    parts.sort_by_key(|part| {
        let size = part.attachments.len() * part.hostnames.len().max(1);
        (part.without.len(), std::cmp::Reverse(size))
    });
    parts
}

impl Part {
    /// The listeners that it is on.
    pub(crate) fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// `spec` of the hub route.
    pub(crate) fn spec(&self, content: &RouteContent, namespace: &str) -> Value {
        let Self {
            attachments,
            hostnames,
            without,
        } = self;
        let references: Vec<Value> = attachments.iter().map(|at| at.parent_ref(namespace)).collect();
        let mut spec = Map::new();
        spec.insert("parentRefs".to_owned(), references.into());
        if !hostnames.is_empty() {
            spec.insert("hostnames".to_owned(), hostnames.clone().into());
        }
        let rules: Vec<Value> = content
            .rules
            .iter()
            .enumerate()
            .filter_map(|(index, rule)| rule_without(index, rule, without))
            .collect();
        if !rules.is_empty() {
            spec.insert("rules".to_owned(), rules.into());
        }
        spec.into()
    }
}

/// A rule without some of its matches; none where it would match nothing.
fn rule_without(index: usize, rule: &RuleContent, without: &BTreeSet<MatchIndex>) -> Option<Value> {
    let is_kept = |at: &usize| !without.contains(&(index, *at));
    let kept = (0..rule.match_keys.len()).filter(is_kept).count();
    if kept == rule.match_keys.len() {
        return Some(rule.value.clone());
    }
    if kept == 0 {
        return None;
    }
    let mut value = rule.value.clone();
    if let Some(matches) = value.get_mut("matches").and_then(Value::as_array_mut) {
        let mut at = 0;
        matches.retain(|_| {
            at += 1;
            is_kept(&(at - 1))
        });
    }
    Some(value)
}
