//! What two persistent maps differ in. Costs as much as that, where one was made from the other.

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

/// Keys of what is in `now` and not as it was in `before`, and of what is gone.
pub(crate) fn changed_keys<K, V>(before: &OrdMap<K, V>, now: &OrdMap<K, V>) -> impl Iterator<Item = K>
where
    K: Ord + Clone,
    V: PartialEq + Clone,
{
    before.diff(now).map(|item| match item {
        DiffItem::Add(key, _) | DiffItem::Remove(key, _) => key.clone(),
        DiffItem::Update { new: (key, _), .. } => key.clone(),
    })
}
