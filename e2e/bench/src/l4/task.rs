//! Work that goes on beside the rest and ends with who began it.

use tokio::task::JoinHandle;

/// Dropped, it ends.
pub struct Task(JoinHandle<()>);

impl Task {
    /// Begins.
    pub fn begin(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
