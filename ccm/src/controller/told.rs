//! What was told already: a problem that stands is told once, not with every run.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Remembers what the last run found. Pure but for its memory.
#[derive(Debug)]
pub struct Told<T> {
    last: Mutex<Option<BTreeSet<T>>>,
}

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self {
            last: Mutex::new(None),
        }
    }
}

impl<T: Ord + Clone> Told<T> {
    /// What of `now` was not found by the run before. `is_fresh` decides for the first run of the process, when
    /// it is not known what an earlier process told.
    pub fn news(&self, now: impl IntoIterator<Item = T>, is_fresh: impl Fn(&T) -> bool) -> Vec<T> {
        let now: BTreeSet<T> = now.into_iter().collect();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let news = match &*last {
            Some(last) => now.difference(last).cloned().collect(),
            None => now.iter().filter(|item| is_fresh(item)).cloned().collect(),
        };
        *last = Some(now);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_problem_is_told_once_and_again_when_it_comes_back() {
        let told = Told::default();
        assert_eq!(told.news(["a"], |_| true), ["a"]);
        assert_eq!(told.news(["a", "b"], |_| true), ["b"]);
        assert_eq!(told.news(["b"], |_| true), Vec::<&str>::new());
        assert_eq!(told.news(["a", "b"], |_| true), ["a"]);
    }

    #[test]
    fn the_first_run_tells_only_what_is_fresh() {
        let told = Told::default();
        assert_eq!(told.news(["a", "b"], |item| *item == "b"), ["b"]);
        assert_eq!(told.news(["a", "b"], |_| true), Vec::<&str>::new());
    }
}
