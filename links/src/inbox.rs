//! What a link has to tell its application elsewhere than where its connection is read: in order, and
//! one at a time.
//!
//! Messages wait in the link's own receive queue, whose bounds and flow control hold up the sender.
//! Beside it stand the connections that came and went, each with its place among the messages. A
//! [`Consumer`] takes both: a task, which is started when there is something to tell for the first time, and
//! ends with the link.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bowline_core::error::{Disconnect, Status};
use bowline_core::frame::Framing;
use bowline_core::link::{Line, Message, State, WaitTicket};
use bowline_driver::observe;
use bowline_driver::runtime::Runtime;
use bowline_driver::style::Returns;
use bowline_driver::sync::{Arc, AtomicBool, Mutex, Ordering};
use bowline_driver::workers::{BoxTask, FAIR_SHARE, Workers, Yield};

use crate::handler::{Handled, Handlers};
use crate::peer::Peer;
use crate::peer_core::PeerCore;

/// So many ends and beginnings of connections wait to be told, at most. Beyond, a connection that
/// comes is reported as if the last one had not ended.
const MOST_NEWS: usize = 32;

/// What a link has to tell its application.
pub(crate) struct Inbox<F: Framing> {
    peer: PeerCore<F>,
    handlers: Arc<Handlers<F>>,
    workers: Arc<dyn Workers>,
    /// There is a consumer.
    runs: AtomicBool,
    /// A consumer was dropped before its time: its runtime ends, or has no thread.
    lost: AtomicBool,
    state: Mutex<InboxState>,
}

#[derive(Default)]
struct InboxState {
    /// What came of connections, behind so many messages.
    news: VecDeque<(u64, News)>,
    /// Wakes the consumer.
    waker: Option<Waker>,
    /// Dropped when everything was told.
    keep: Vec<Box<dyn Send>>,
}

/// What came of a connection.
pub(crate) enum News {
    /// One is ready.
    Connected,
    /// The one that was ready is gone.
    Gone(Disconnect),
}

/// Handles the messages of links, each with a task of its own.
pub(crate) trait Consume<F: Framing>: Send + Sync {
    fn consumer(self: Arc<Self>, of: Consumer<F>) -> BoxTask;
}

impl<F: Framing> Inbox<F> {
    /// `None` where all handlers are called in place.
    pub(crate) fn new(peer: &PeerCore<F>, handlers: &Arc<Handlers<F>>) -> Option<Arc<Self>> {
        let workers = Arc::clone(handlers.workers_of_inbox()?);
        if handlers.on_message.is_ordinary() {
            peer.shared().with(|link| link.handle_messages());
        }
        let (peer, handlers, state) = (peer.clone(), Arc::clone(handlers), Mutex::default());
        let (runs, lost) = (AtomicBool::new(false), AtomicBool::new(false));
        Some(Arc::new(Self { peer, handlers, workers, runs, lost, state }))
    }

    /// Whether there is a consumer that takes what waits; otherwise [start](Self::start) one.
    pub(crate) fn runs(&self) -> bool {
        self.runs.load(Ordering::Acquire)
    }

    /// Whether nothing will take messages any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Starts a consumer, unless there is one.
    pub(crate) fn start(self: &Arc<Self>) {
        if self.is_lost() || self.runs.swap(true, Ordering::AcqRel) {
            return;
        }
        let consumer = Consumer { inbox: Arc::clone(self), ticket: None, is_done: false };
        let task = match self.handlers.on_message.ordinary() {
            Some(consume) => Arc::clone(consume).consumer(consumer),
            None => Box::pin(consumer.tell_all()),
        };
        // One that cannot be run says so when it is dropped.
        let _ = self.workers.spawn(self.peer.id().0, task);
    }

    /// A connection came or went, by turns.
    pub(crate) fn push(self: &Arc<Self>, news: News) {
        if self.handlers.on_connect.is_none() && self.handlers.on_disconnect.is_none() {
            return;
        }
        let at = self.peer.shared().with(|link| link.messages_kept());
        let mut state = self.state.lock();
        if matches!(news, News::Connected)
            && state.news.len() >= MOST_NEWS
            && let Some((_, News::Gone(_))) = state.news.back()
        {
            // The application goes on with the peer as if it had been connected all the time.
            state.news.pop_back();
            drop(state);
            self.release(&news);
            return;
        }
        state.news.push_back((at, news));
        let waker = state.waker.take();
        drop(state);
        match waker {
            Some(waker) => waker.wake(),
            None if self.is_lost() => self.tell_in_place(),
            None => self.start(),
        }
    }

    /// The link is over: `what` is dropped when everything was told.
    pub(crate) fn keep(&self, what: Box<dyn Send>) {
        let mut state = self.state.lock();
        if self.runs() {
            state.keep.push(what);
        } else {
            drop(state);
            drop(what);
        }
    }

    /// What was held until the application knows of its peer goes on.
    fn release(&self, news: &News) {
        if let (News::Connected, Some(messages)) = (news, self.handlers.held_by_connect()) {
            self.peer.shared().with(|link| link.release_held(messages));
        }
    }

    fn tell(&self, news: &News) {
        let Handlers { on_connect, on_disconnect, .. } = &*self.handlers;
        let called = catch_unwind(AssertUnwindSafe(|| match (news, on_connect, on_disconnect) {
            (News::Connected, Some(on_connect), _) => on_connect(&self.peer),
            (News::Gone(cause), _, Some(on_disconnect)) => on_disconnect(&self.peer, cause),
            _ => {}
        }));
        self.release(news);
        if called.is_err() {
            self.failed(Status::PANICKED);
        }
    }

    fn failed(&self, status: Status) {
        self.peer.shared().with(|link| link.note_failure(status));
        observe::handler_failed(self.peer.id(), status);
    }

    /// There is no consumer, and will be none.
    fn tell_in_place(&self) {
        loop {
            let next = self.state.lock().news.pop_front();
            let Some((_, news)) = next else { return };
            self.tell(&news);
        }
    }
}

/// Takes what a link has to tell.
pub(crate) struct Consumer<F: Framing> {
    inbox: Arc<Inbox<F>>,
    ticket: Option<WaitTicket>,
    is_done: bool,
}

/// What is to be told next.
enum Next {
    /// The message that was asked for.
    Message,
    News(News),
}

/// What a look at the link said.
enum Looked {
    Message,
    NewsAreDue,
    Nothing,
    IsOver,
}

impl<F: Framing> Consumer<F> {
    /// Tells of connections only.
    async fn tell_all(mut self) {
        let mut message = Message::empty();
        while let Some(next) = poll_fn(|cx| self.poll_next(&mut message, cx)).await {
            if let Next::News(news) = next {
                self.inbox.tell(&news);
            }
        }
    }

    /// A message is received in place: each move of one costs as much as the lock. `None`: everything was told, and the
    /// link is over (or takes no messages).
    fn poll_next(&mut self, message: &mut Message, cx: &mut Context<'_>) -> Poll<Option<Next>> {
        let Self { inbox, ticket, is_done } = self;
        loop {
            let due = {
                let mut state = inbox.state.lock();
                if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    state.waker = Some(cx.waker().clone());
                }
                state.news.front().map(|(at, _)| *at)
            };
            let handles = inbox.handlers.on_message.is_ordinary();
            let looked = inbox.peer.shared().with(|link| {
                link.end_handling();
                if due.is_some_and(|at| link.messages_taken() >= at || !handles) {
                    return Looked::NewsAreDue;
                }
                if handles && link.take_to_handle(message, ticket, || cx.waker().clone()) {
                    Looked::Message
                } else if !handles || link.state() == State::Closed {
                    // A consumer that tells of connections only is started again when there is another.
                    Looked::IsOver
                } else {
                    Looked::Nothing
                }
            });
            match looked {
                Looked::Message => return Poll::Ready(Some(Next::Message)),
                Looked::NewsAreDue => {
                    if let Some((_, news)) = inbox.state.lock().news.pop_front() {
                        return Poll::Ready(Some(Next::News(news)));
                    }
                }
                Looked::Nothing => return Poll::Pending,
                Looked::IsOver => {
                    if inbox.end() {
                        *is_done = true;
                        return Poll::Ready(None);
                    }
                }
            }
        }
    }
}

impl<F: Framing> Inbox<F> {
    /// The consumer found nothing to tell, and will find no messages: it ends, unless something came
    /// meanwhile.
    fn end(&self) -> bool {
        let mut state = self.state.lock();
        if !state.news.is_empty() {
            return false;
        }
        state.waker = None;
        // Not a plain store: `start` swaps as well, and the two are in one order.
        self.runs.swap(false, Ordering::AcqRel);
        // A reader that queued a message before this store saw a consumer, and started none: look again. The
        // lock is held meanwhile, so that `keep` does not see the state in between.
        let has_more =
            self.handlers.on_message.is_ordinary() && self.peer.shared().look(|link| link.unhandled() > 0);
        if has_more {
            return self.runs.swap(true, Ordering::AcqRel);
        }
        let keep = std::mem::take(&mut state.keep);
        drop(state);
        drop(keep);
        true
    }
}

impl<F: Framing> Drop for Consumer<F> {
    /// Dropped by its runtime, or never run: nothing is forgotten.
    fn drop(&mut self) {
        let inbox = &self.inbox;
        let ticket = self.ticket.take();
        if self.is_done {
            return;
        }
        inbox.lost.store(true, Ordering::Release);
        inbox.peer.shared().with(|link| {
            if let Some(ticket) = ticket {
                link.leave(Line::Receive, ticket);
            }
            link.end_handling();
            link.drop_received();
        });
        let keep = {
            let mut state = inbox.state.lock();
            state.waker = None;
            inbox.runs.store(false, Ordering::Release);
            std::mem::take(&mut state.keep)
        };
        inbox.tell_in_place();
        drop(keep);
    }
}

/// A message handler of a user's.
pub(crate) struct MessageHandler<R, H, T> {
    handler: H,
    types: PhantomData<fn() -> (R, T)>,
}

impl<R, H, T> MessageHandler<R, H, T> {
    pub(crate) fn new(handler: H) -> Self {
        Self { handler, types: PhantomData }
    }
}

impl<R, F, H, T> Consume<F> for MessageHandler<R, H, T>
where
    R: Runtime<Style: Returns<T, Output: Handled>>,
    F: Framing,
    H: Fn(Peer<R, F>, Message) -> T + Send + Sync + 'static,
    T: 'static,
{
    fn consumer(self: Arc<Self>, mut of: Consumer<F>) -> BoxTask {
        Box::pin(async move {
            let mut told: u32 = 0;
            loop {
                let mut message = Message::empty();
                let Some(next) = poll_fn(|cx| of.poll_next(&mut message, cx)).await else { break };
                match next {
                    Next::News(news) => of.inbox.tell(&news),
                    Next::Message => {
                        let peer = of.inbox.peer.clone().into();
                        let handled = handle(|| R::Style::finish((self.handler)(peer, message))).await;
                        if let Err(status) = handled {
                            of.inbox.failed(status);
                        }
                    }
                }
                told = told.wrapping_add(1);
                if told.is_multiple_of(FAIR_SHARE) {
                    Yield::default().await;
                }
            }
        })
    }
}

/// Runs one handler to its end, whether it panics when it is called or later.
async fn handle<Fut>(call: impl FnOnce() -> Fut) -> Result<(), Status>
where
    Fut: Future<Output: Handled>,
{
    let Ok(future) = catch_unwind(AssertUnwindSafe(call)) else { return Err(Status::PANICKED) };
    let mut future = pin!(future);
    poll_fn(|cx| {
        // What the handler returns becomes a result by code of its own.
        let poll = || future.as_mut().poll(cx).map(Handled::into_result);
        match catch_unwind(AssertUnwindSafe(poll)) {
            Ok(polled) => polled.map(|result| result.map_err(|failure| failure.status)),
            Err(_) => Poll::Ready(Err(Status::PANICKED)),
        }
    })
    .await
}

#[cfg(all(test, bowline_loom))]
mod models;
