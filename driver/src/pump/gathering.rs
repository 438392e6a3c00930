//! Which task runs first: the one that writes, or those that have something to write.

/// Whether the task lets others run first when it is woken: see
/// [`Socket::runs_woken_first`](crate::runtime::Socket::runs_woken_first).
///
/// On such a runtime the first of many ready tasks that sends something would be followed by this one,
/// which would find one message to write; and so for each of them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gathering {
    /// This runtime runs tasks in the order in which they were woken.
    Never,
    /// It slept or has worked.
    Ready,
    /// It is new, or was woken and went to the end of the queue.
    Waited,
}

impl Gathering {
    pub(super) fn new(runs_woken_first: bool) -> Self {
        if runs_woken_first { Self::Waited } else { Self::Never }
    }

    /// Whether the task goes to the end of the queue: every second time.
    pub(super) fn lets_others_first(&mut self) -> bool {
        let (now, next) = match self {
            Self::Never => (false, Self::Never),
            Self::Ready => (true, Self::Waited),
            Self::Waited => (false, Self::Ready),
        };
        *self = next;
        now
    }

    /// The task goes to the end of the queue for another reason.
    pub(super) fn waits(&mut self) {
        if matches!(self, Self::Ready) {
            *self = Self::Waited;
        }
    }
}
