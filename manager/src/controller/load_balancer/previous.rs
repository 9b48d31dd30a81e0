//! What the last run remembered of each LoadBalancer, met again in the order of ids.
//!
//! Runs go over all LoadBalancers of a namespace in one order, so what belongs to the next one is the next that was
//! remembered: nothing is looked up, and ids that are clones are told apart without being read.

use std::cmp::Ordering;
use std::iter::Peekable;
use std::vec::IntoIter;

use l4_xds::LoadBalancerId;

/// Something about one LoadBalancer.
pub trait About {
    /// Which one.
    fn id(&self) -> &LoadBalancerId;
}

/// What was remembered and was not asked for yet.
#[derive(Debug)]
pub struct Previous<T>(Peekable<IntoIter<T>>);

impl<T> Previous<T> {
    /// All that was remembered, in the order of ids.
    #[must_use]
    pub fn of(remembered: Vec<T>) -> Self {
        Self(remembered.into_iter().peekable())
    }

    /// What was remembered of the one to which `compare` compares. They are asked for in the order of ids: what comes
    /// before this one is forgotten.
    pub fn take_by(&mut self, compare: impl Fn(&T) -> Ordering) -> Option<T> {
        while self.0.next_if(|old| compare(old).is_lt()).is_some() {}
        self.0.next_if(|old| compare(old).is_eq())
    }
}

impl<T: About> Previous<T> {
    /// What was remembered of this one.
    pub fn take(&mut self, id: &LoadBalancerId) -> Option<T> {
        self.take_by(|old| old.id().cmp(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl About for LoadBalancerId {
        fn id(&self) -> &LoadBalancerId {
            self
        }
    }

    fn id(name: &str) -> LoadBalancerId {
        LoadBalancerId::new("tenant-a", name).unwrap()
    }

    #[test]
    fn each_is_found_whatever_came_and_went_in_between() {
        let mut previous = Previous::of(["b", "c", "e", "f"].map(id).to_vec());
        let mut knows = |name| previous.take(&id(name)).is_some();
        assert!(!knows("a"));
        assert!(knows("b"));
        assert!(!knows("d"), "it came");
        assert!(knows("e"), "c went");
        assert!(!knows("e"), "it was taken");
        assert!(knows("f"));
        assert!(!knows("g"));
    }
}
