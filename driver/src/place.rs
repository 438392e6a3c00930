//! Where the tasks of a client or server run.

use std::future::Future;
use std::pin::pin;

use crate::sync::Arc;

/// A group of threads that a program made for a runtime, and that may run the tasks of one client or server:
/// an I/O group.
pub trait Group: Clone + Send + Sync + 'static {
    /// Calls `work`, once: tasks that it spawns run in this group.
    fn within(&self, work: &mut dyn FnMut());
}

type Within = Arc<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

/// Where the tasks of a client or a server run: in a group, or where they are made.
#[derive(Clone, Default)]
pub struct Place(Option<Within>);

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Place").field(&self.0.is_some()).finish()
    }
}

impl Place {
    /// In that group.
    #[must_use]
    pub fn of(group: &impl Group) -> Self {
        let group = group.clone();
        Self(Some(Arc::new(move |work| group.within(work))))
    }

    /// Calls `work`, whose tasks run there.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let Some(within) = &self.0 else { return work() };
        let (mut work, mut output) = (Some(work), None);
        within(&mut || output = work.take().map(|work| work()));
        match (output, work) {
            (Some(output), _) => output,
            // The group did not call it, although its contract says so.
            (None, Some(work)) => work(),
            (None, None) => unreachable!("it was called, and returned"),
        }
    }

    /// Polls a future there.
    pub async fn poll_within<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        std::future::poll_fn(|cx| self.within(|| future.as_mut().poll(cx))).await
    }
}
