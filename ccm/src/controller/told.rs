//! What was told already: a problem that stands is told once, not with every run.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Whether something that stood when the process started is new, which an earlier process may have told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// New: it is told.
    Fresh,
    /// Told by an earlier process.
    Stale,
    /// To be asked again the next time.
    Unknown,
}

/// Remembers what the last run found. Pure but for its memory.
#[derive(Debug)]
pub struct Told<T> {
    memory: Mutex<Option<Memory<T>>>,
}

#[derive(Debug)]
struct Memory<T> {
    last: BTreeSet<T>,
    /// What stands since the first run, and of which it is not known yet whether an earlier process told it.
    unknown: BTreeSet<T>,
}

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self {
            memory: Mutex::new(None),
        }
    }
}

impl<T: Ord + Clone> Told<T> {
    /// What of `now` was not found by the run before. `freshness` decides about what the first run of the process
    /// finds, when it is not known what an earlier process told; it is asked again as long as it cannot say.
    pub fn news(&self, now: impl IntoIterator<Item = T>, freshness: impl Fn(&T) -> Freshness) -> Vec<T> {
        let now: BTreeSet<T> = now.into_iter().collect();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let mut news = Vec::new();
        let mut unknown = BTreeSet::new();
        for item in &now {
            let in_question = memory.as_ref().is_none_or(|before| before.unknown.contains(item));
            let is_known = memory.as_ref().is_some_and(|before| before.last.contains(item));
            match (in_question, is_known) {
                (true, _) => match freshness(item) {
                    Freshness::Fresh => news.push(item.clone()),
                    Freshness::Stale => {}
                    Freshness::Unknown => {
                        unknown.insert(item.clone());
                    }
                },
                (false, true) => {}
                (false, false) => news.push(item.clone()),
            }
        }
        *memory = Some(Memory { last: now, unknown });
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [&str; 0] = [];

    #[test]
    fn a_standing_problem_is_told_once_and_again_when_it_comes_back() {
        let told = Told::default();
        let fresh = |_: &&str| Freshness::Fresh;
        assert_eq!(told.news(["a"], fresh), ["a"]);
        assert_eq!(told.news(["a", "b"], fresh), ["b"]);
        assert_eq!(told.news(["b"], fresh), NOTHING);
        assert_eq!(told.news(["a", "b"], fresh), ["a"]);
    }

    #[test]
    fn the_first_run_tells_only_what_is_fresh() {
        let told = Told::default();
        let only_b = |item: &&str| match *item {
            "b" => Freshness::Fresh,
            _ => Freshness::Stale,
        };
        assert_eq!(told.news(["a", "b"], only_b), ["b"]);
        assert_eq!(told.news(["a", "b"], |_| Freshness::Fresh), NOTHING);
    }

    #[test]
    fn what_the_first_run_cannot_judge_is_judged_by_a_later_one_and_once() {
        let told = Told::default();
        let unknown = |_: &&str| Freshness::Unknown;
        assert_eq!(told.news(["a", "b"], unknown), NOTHING);
        assert_eq!(told.news(["a", "b", "later"], unknown), ["later"]);
        let only_b = |item: &&str| match *item {
            "b" => Freshness::Fresh,
            _ => Freshness::Stale,
        };
        assert_eq!(told.news(["a", "b"], only_b), ["b"]);
        assert_eq!(told.news(["a", "b"], |_| Freshness::Fresh), NOTHING);
    }
}
