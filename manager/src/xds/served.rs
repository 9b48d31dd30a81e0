//! What is served of each LoadBalancer of a namespace.

use std::collections::BTreeSet;

use l4_xds::{ContentVersion, LoadBalancerId};

/// What is served of one LoadBalancer, all of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Generation of the spec that it was made from.
    pub generation: i64,
    /// What Envoys acknowledge.
    pub content: ContentVersion,
}

/// What is served, in the order of ids. Most of it is as it was before, and shares its text with that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServedById(Vec<(LoadBalancerId, Served)>);

impl FromIterator<(LoadBalancerId, Served)> for ServedById {
    fn from_iter<I: IntoIterator<Item = (LoadBalancerId, Served)>>(served: I) -> Self {
        let mut all: Vec<_> = served.into_iter().collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self(all)
    }
}

impl ServedById {
    /// What is served of this one.
    #[must_use]
    pub fn get(&self, id: &LoadBalancerId) -> Option<&Served> {
        let found = self.0.binary_search_by(|(other, _)| other.cmp(id)).ok()?;
        self.0.get(found).map(|(_, served)| served)
    }

    /// Of how many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is served.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it.
    pub fn iter(&self) -> impl Iterator<Item = (&LoadBalancerId, &Served)> {
        self.0.iter().map(|(id, served)| (id, served))
    }

    /// Those of which something else is served than before, and those of which only one of both serves something.
    #[must_use]
    pub fn changed_since(&self, before: &Self) -> BTreeSet<LoadBalancerId> {
        let mut changed = BTreeSet::new();
        let mut before = before.0.iter().peekable();
        for now in &self.0 {
            while let Some((gone, _)) = before.next_if(|(id, _)| *id < now.0) {
                changed.insert(gone.clone());
            }
            let old = before.next_if(|(id, _)| *id == now.0);
            if old.is_none_or(|(_, served)| *served != now.1) {
                changed.insert(now.0.clone());
            }
        }
        changed.extend(before.map(|(gone, _)| gone.clone()));
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> LoadBalancerId {
        LoadBalancerId::new("tenant-a", name).unwrap()
    }

    fn served<const N: usize>(all: [(&str, &str); N]) -> ServedById {
        let served = |(name, content)| {
            let content = ContentVersion::from(content);
            (
                id(name),
                Served {
                    generation: 1,
                    content,
                },
            )
        };
        all.map(served).into_iter().collect()
    }

    #[test]
    fn what_came_what_went_and_what_is_another_has_changed() {
        let before = served([("a", "1"), ("b", "1"), ("d", "1"), ("f", "1")]);
        let now = served([("f", "1"), ("d", "2"), ("c", "1"), ("b", "1")]);
        assert_eq!(now.changed_since(&before), ["a", "c", "d"].map(id).into());
        assert_eq!(before.changed_since(&now), ["a", "c", "d"].map(id).into());
        assert_eq!(now.changed_since(&now), BTreeSet::new());
        assert_eq!(served([]).changed_since(&before).len(), 4);
    }

    #[test]
    fn each_is_found() {
        let all = served([("c", "3"), ("a", "1"), ("b", "2")]);
        let content = |name| all.get(&id(name)).map(|served| served.content.to_string());
        assert_eq!(content("a").as_deref(), Some("1"));
        assert_eq!(content("c").as_deref(), Some("3"));
        assert_eq!(content("d"), None);
    }
}
