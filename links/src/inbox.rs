//! Callbacks that a link makes outside of the reading task or thread: in order, one at a time.
//!
//! Messages wait in the link's own receive queue, whose bounds and flow control slow the sender down. Beside
//! it, the inbox keeps the connections that came and went, each with its position among the messages. A
//! [`Consumer`] takes both: a task that is started when there is something to report for the first time, and
//! that ends with the link.

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

/// At most this many ends and beginnings of connections are kept. Beyond that, a new connection is treated as
/// if the last one had not ended.
const MOST_NEWS: usize = 32;

/// The callbacks that a link still has to make.
pub(crate) struct Inbox<F: Framing> {
    peer: PeerCore<F>,
    handlers: Arc<Handlers<F>>,
    workers: Arc<dyn Workers>,
    /// A consumer exists.
    runs: AtomicBool,
    /// A consumer was dropped too early: its runtime ends, or has no thread for it.
    lost: AtomicBool,
    state: Mutex<InboxState>,
}

#[derive(Default)]
struct InboxState {
    /// Connection events, each with the number of messages before it.
    news: VecDeque<(u64, News)>,
    /// Wakes the consumer.
    waker: Option<Waker>,
    /// Dropped when all callbacks have been made.
    keep: Vec<Box<dyn Send>>,
}

/// A connection event.
pub(crate) enum News {
    /// A connection is ready.
    Connected,
    /// The connection that was ready has ended.
    Gone(Disconnect),
}

/// Handles the messages of links, with one task for each link.
pub(crate) trait Consume<F: Framing>: Send + Sync {
    fn consumer(self: Arc<Self>, of: Consumer<F>) -> BoxTask;
}

impl<F: Framing> Inbox<F> {
    /// `None` if all handlers are called where the connection is read.
    pub(crate) fn new(peer: &PeerCore<F>, handlers: &Arc<Handlers<F>>) -> Option<Arc<Self>> {
        let workers = Arc::clone(handlers.workers_of_inbox()?);
        if handlers.on_message.is_ordinary() {
            peer.shared().with(|link| link.handle_messages());
        }
        let (peer, handlers, state) = (peer.clone(), Arc::clone(handlers), Mutex::default());
        let (runs, lost) = (AtomicBool::new(false), AtomicBool::new(false));
        Some(Arc::new(Self { peer, handlers, workers, runs, lost, state }))
    }

    /// Whether a consumer exists; if not, [start](Self::start) one.
    pub(crate) fn runs(&self) -> bool {
        self.runs.load(Ordering::Acquire)
    }

    /// Whether no consumer will take messages any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Starts a consumer, unless one exists.
    pub(crate) fn start(self: &Arc<Self>) {
        if self.is_lost() || self.runs.swap(true, Ordering::AcqRel) {
            return;
        }
        let consumer = Consumer { inbox: Arc::clone(self), ticket: None, is_done: false };
        let task = match self.handlers.on_message.ordinary() {
            Some(consume) => Arc::clone(consume).consumer(consumer),
            None => Box::pin(consumer.tell_all()),
        };
        // A consumer that cannot be run reports that when it is dropped.
        let _ = self.workers.spawn(self.peer.id().0, task);
    }

    /// Records that a connection came or went; the two alternate.
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
            // For the application the peer has been connected all the time.
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

    /// The link is over: `what` is dropped when all callbacks have been made.
    pub(crate) fn keep(&self, what: Box<dyn Send>) {
        let mut state = self.state.lock();
        if self.runs() {
            state.keep.push(what);
        } else {
            drop(state);
            drop(what);
        }
    }

    /// Releases the requests and messages that were held until `on_connect` returned.
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

    /// There is no consumer, and there will be none: makes the callbacks here.
    fn tell_in_place(&self) {
        loop {
            let next = self.state.lock().news.pop_front();
            let Some((_, news)) = next else { return };
            self.tell(&news);
        }
    }
}

/// The task that makes the callbacks of a link.
pub(crate) struct Consumer<F: Framing> {
    inbox: Arc<Inbox<F>>,
    ticket: Option<WaitTicket>,
    is_done: bool,
}

/// The next callback.
enum Next {
    /// The requested message.
    Message,
    News(News),
}

/// The result of a look at the link's queue.
enum Looked {
    Message,
    NewsAreDue,
    Nothing,
    IsOver,
}

impl<F: Framing> Consumer<F> {
    /// Reports connections only.
    async fn tell_all(mut self) {
        let mut message = Message::empty();
        while let Some(next) = poll_fn(|cx| self.poll_next(&mut message, cx)).await {
            if let Next::News(news) = next {
                self.inbox.tell(&news);
            }
        }
    }

    /// Receives a message in place, because each move of one costs as much as the lock. `None`: everything has been
    /// handed over, and the link is over (or takes no messages).
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
                    // A consumer that reports connections only is started again for the next event.
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
    /// The consumer found nothing to do, and will find no messages: it ends, unless something arrived
    /// meanwhile.
    fn end(&self) -> bool {
        let mut state = self.state.lock();
        if !state.news.is_empty() {
            return false;
        }
        state.waker = None;
        // Not a plain store: `start` swaps as well, and the two operations need one order.
        self.runs.swap(false, Ordering::AcqRel);
        // A reader that queued a message before this swap saw a consumer and started none: look again. The
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
    /// Dropped by its runtime, or never run: received messages are dropped, connection events are reported
    /// here.
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

/// A message handler of the program.
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

/// Runs one handler to its end, and catches a panic in its call or in its future.
async fn handle<Fut>(call: impl FnOnce() -> Fut) -> Result<(), Status>
where
    Fut: Future<Output: Handled>,
{
    let Ok(future) = catch_unwind(AssertUnwindSafe(call)) else { return Err(Status::PANICKED) };
    let mut future = pin!(future);
    poll_fn(|cx| {
        // The conversion of the return value is the program's code: inside the catch.
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
