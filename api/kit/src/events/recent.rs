//! What was said lately: bounded in time and in number.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use super::Notice;

type Said = (String, Notice);

pub(super) struct Recent {
    capacity: usize,
    ttl: Duration,
    said: HashMap<Said, Instant>,
    order: VecDeque<(Instant, Said)>,
}

impl Recent {
    pub(super) fn new(capacity: usize, ttl: Duration) -> Self {
        Self {
            capacity,
            ttl,
            said: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Remembers it; false if it is remembered already.
    pub(super) fn insert(&mut self, what: Said, now: Instant) -> bool {
        while self.order.front().is_some_and(|(at, _)| *at + self.ttl <= now) {
            self.forget_oldest();
        }
        if self.said.contains_key(&what) {
            return false;
        }
        if self.said.len() >= self.capacity {
            self.forget_oldest();
        }
        self.said.insert(what.clone(), now);
        self.order.push_back((now, what));
        true
    }

    pub(super) fn remove(&mut self, what: &Said) {
        if let Some(at) = self.said.remove(what) {
            self.order.retain(|(other, key)| *other != at || key != what);
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, what)) = self.order.pop_front() {
            self.said.remove(&what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(note: &str) -> Said {
        ("Service a/web".into(), Notice::normal("Reason", "Action", note))
    }

    #[test]
    fn the_same_is_remembered_until_its_time_is_over() {
        let mut recent = Recent::new(10, Duration::from_secs(600));
        let t = Instant::now();
        assert!(recent.insert(said("a"), t));
        assert!(!recent.insert(said("a"), t + Duration::from_secs(599)));
        assert!(recent.insert(said("a"), t + Duration::from_secs(600)));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut recent = Recent::new(2, Duration::from_secs(600));
        let t = Instant::now();
        assert!(
            ["a", "b", "c"]
                .map(said)
                .into_iter()
                .all(|what| recent.insert(what, t))
        );
        assert!(!recent.insert(said("c"), t));
        assert!(recent.insert(said("a"), t));
        assert_eq!((recent.said.len(), recent.order.len()), (2, 2));
    }

    #[test]
    fn what_could_not_be_written_is_forgotten() {
        let mut recent = Recent::new(2, Duration::from_secs(600));
        let t = Instant::now();
        recent.insert(said("a"), t);
        recent.remove(&said("a"));
        assert!(recent.insert(said("a"), t));
        assert_eq!(recent.order.len(), 1);
    }
}
