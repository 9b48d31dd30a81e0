//! Objects as they were made the last time, so that only what has changed is made again.

use std::collections::HashMap;
use std::hash::Hash;

use crate::object::Object;

/// What objects were made from, and the objects. It changes what the making costs, never what comes of it.
#[derive(Debug)]
pub struct Rendered<K, T>(HashMap<K, (T, Object)>);

impl<K, T> Default for Rendered<K, T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Hash + Eq + Clone, T: PartialEq + Clone> Rendered<K, T> {
    /// Makes objects; where what one is made from equals that of the last time, it is the same one. Remembers these
    /// and no others.
    ///
    /// # Errors
    /// The first that `make` gives. Then nothing is remembered.
    pub fn render<'a, E>(
        &mut self,
        sources: impl IntoIterator<Item = (K, &'a T)>,
        make: impl Fn(&K, &T) -> Result<Object, E>,
    ) -> Result<Vec<Object>, E>
    where
        T: 'a,
    {
        let mut before = std::mem::take(&mut self.0);
        let mut now = HashMap::with_capacity(before.len());
        let mut objects = Vec::with_capacity(before.len());
        for (key, source) in sources {
            let entry = match before.remove(&key) {
                Some(entry) if entry.0 == *source => entry,
                _ => (source.clone(), make(&key, source)?),
            };
            objects.push(entry.1.clone());
            now.insert(key, entry);
        }
        self.0 = now;
        Ok(objects)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use kube::core::ApiResource;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_has_changed_is_made_again() {
        let made = Cell::new(0);
        let mut rendered = Rendered::<&str, u32>::default();
        let mut run = |sources: [(&'static str, &u32); 2]| {
            let make = |name: &&str, content: &u32| {
                made.set(made.get() + 1);
                let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&());
                let value = json!({"metadata": {"name": name}, "spec": content});
                Ok::<_, Infallible>(Object::from_value(value, &resource).unwrap())
            };
            rendered.render(sources, make).unwrap()
        };
        let first = run([("a", &1), ("b", &2)]);
        let second = run([("a", &1), ("b", &3)]);
        assert_eq!(made.get(), 3);
        assert!(first[0].is(&second[0]));
        assert_eq!(second[1].value()["spec"], 3);
        assert_ne!(first[1], second[1]);
    }
}
