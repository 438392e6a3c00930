//! An accepted connection in the handshake of its layer: within the limits of all handshakes, and one piece
//! of work at a time.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bowline_core::address::Address;
use bowline_core::error::Disconnect;
use bowline_core::layer::Layer;
use bowline_core::time::Instant;

use super::Service;
use super::acceptor::Acceptor;
use super::door::Seated;
use crate::clock;
use crate::error::disconnect;
use crate::gate::Admission;
use crate::heavy::Turn;
use crate::layered::{Layered, Progress};
use crate::pump::Alarm;
use crate::runtime::{Runtime, Wire};

/// The task of a connection until its handshake is done. Afterwards another task serves the connection.
pub(super) struct Securing<R: Runtime, S: Service> {
    acceptor: Acceptor<R, S>,
    connection: Option<(Layered<R::Socket>, Admission)>,
    from: Address,
    limit: Duration,
    deadline: Instant,
    alarm: Option<Alarm<R::Timer>>,
    /// A handshake takes as much processor time as thousands of messages: each piece of it waits for its
    /// turn.
    turn: Turn,
    /// What it waits for before its next piece.
    progress: Progress,
    // Dropped with the task, in this order.
    seated: Seated<S>,
}

impl<R: Runtime, S: Service> Securing<R, S> {
    /// `None`: the server is shutting down.
    pub(super) fn new(
        acceptor: Acceptor<R, S>,
        (socket, layer): (R::Socket, Box<dyn Layer>),
        admission: Admission,
        from: &Address,
        limit: Duration,
    ) -> Option<Self> {
        let seated = acceptor.door().begin_securing()?;
        let turn = acceptor.door().gate().memory().turn_of(seated.number());
        let connection = Some((Layered::with(socket, layer), admission));
        let deadline = clock::now() + limit;
        let (from, alarm, progress) = (from.clone(), None, Progress::Reads);
        Some(Self { acceptor, connection, from, limit, deadline, alarm, turn, progress, seated })
    }

    /// Ready when the handshake is done or failed.
    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Disconnect>> {
        let Some((socket, _)) = &self.connection else { return Poll::Ready(Err(Disconnect::LocalClose)) };
        loop {
            match socket.poll_progress(self.progress, cx) {
                Ok(Poll::Ready(())) => {}
                Ok(Poll::Pending) => break,
                Err(error) => return Poll::Ready(Err(disconnect(error))),
            }
            if self.turn.poll(cx).is_pending() {
                // It is called after all ready tasks had their turn.
                break;
            }
            let step = socket.handshake_step();
            self.turn.end();
            self.seated.note_held(socket.held());
            match step {
                Ok(Some(Progress::Done)) => return Poll::Ready(Ok(())),
                Ok(Some(progress)) => self.progress = progress,
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(disconnect(error))),
            }
        }
        let alarm = self.alarm.get_or_insert_with(|| Alarm::new(R::timer()));
        alarm.poll_until(cx, self.deadline).map(|()| Err(Disconnect::ConnectTimeout { limit: self.limit }))
    }
}

// Nothing in it is pinned in place.
impl<R: Runtime, S: Service> Unpin for Securing<R, S> {}

impl<R: Runtime, S: Service> Future for Securing<R, S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.seated.is_evicted(cx.waker()) {
            this.connection = None;
            return Poll::Ready(());
        }
        let Poll::Ready(done) = this.poll_handshake(cx) else { return Poll::Pending };
        let connection = this.connection.take();
        match (done, connection) {
            (Ok(()), Some((socket, admission))) => {
                // The link's own handshake begins: this one is over.
                this.seated.leave();
                this.acceptor.serve_layered(socket, admission);
            }
            (Err(cause), connection) => {
                drop(connection);
                this.acceptor.door().insecure(&this.from, cause);
            }
            (Ok(()), None) => {}
        }
        Poll::Ready(())
    }
}
