//! The reading side of a connection: parser, buffer, application.

use std::task::Waker;

use bowline_core::Batch;
use bowline_core::address::Address;
use bowline_core::error::Disconnect;
use bowline_core::layer::Secured;
use bowline_core::machine::{Machine, Next};
use bowline_core::recv_buf::RecvBuf;
use bowline_core::supervisor::Epoch;
use bowline_core::time::Instant;

use crate::app::{Application, Flow};
use crate::layered::Pile;
use crate::sync::Arc;
use crate::{Shared, clock};

/// The size of a hello, or of some heartbeats.
const LITTLE: usize = 64;
/// Bytes of answers that are written before all received requests are answered, so that both sides work at
/// the same time.
pub const PILE_OF_ANSWERS: Pile = Pile::new(8 * 1024);

/// The reading side of a connection: parser, buffer, application.
///
/// Used by a [`Pump`](crate::pump::Pump) to read, or by a caller that waits for its reply: see
/// [`Connection`](crate::connection::Connection).
pub(crate) struct Intake<M: Machine<Token = Waker>, A: Application<M>> {
    shared: Arc<Shared<M>>,
    app: Arc<A>,
    session: A::Session,
    reader: M::Reader,
    buf: RecvBuf,
    tokens: Vec<Waker>,
    /// The machine takes no input for now.
    paused: bool,
    /// The last input was small: a hello, a heartbeat.
    quiet: bool,
    /// There is a layer over the socket.
    is_layered: bool,
}

impl<M: Machine<Token = Waker>, A: Application<M>> std::fmt::Debug for Intake<M, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake").field("buf", &self.buf.capacity()).finish_non_exhaustive()
    }
}

impl<M: Machine<Token = Waker>, A: Application<M>> Intake<M, A> {
    /// Tells the machine and the application about a new connection with these addresses. `buf` contains the
    /// bytes that were read from it already.
    pub(crate) fn connect(
        shared: &Arc<Shared<M>>,
        app: &Arc<A>,
        epoch: Epoch,
        [remote, local]: [Option<Address>; 2],
        buf: RecvBuf,
    ) -> Self {
        if let Some(local) = local {
            app.local_addr(local);
        }
        let reader = shared.with(|machine| machine.handle_connected(clock::now(), epoch));
        let session = app.connected(shared, epoch, remote);
        let (shared, app, tokens) = (Arc::clone(shared), Arc::clone(app), Vec::new());
        Self { shared, app, session, reader, buf, tokens, paused: false, quiet: true, is_layered: false }
    }

    /// The layer's properties of the peer; called before anything is read.
    pub(crate) fn secured(&mut self, secured: Arc<Secured>) {
        self.app.secured(&mut self.session, secured);
    }

    /// Sets whether there is a layer over the socket; called before anything is read.
    pub(crate) fn set_layered(&mut self, is_layered: bool) {
        self.is_layered = is_layered;
    }

    /// Room to read into.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        self.buf.spare()
    }

    /// `n` bytes were read into [`spare`](Self::spare) by `now` (0: only resume after a pause). Handles all
    /// of them, unless the machine pauses: see [`is_paused`](Self::is_paused).
    ///
    /// # Errors
    /// The peer broke the protocol.
    pub(crate) fn filled(&mut self, now: Instant, n: usize) -> Result<(), Disconnect> {
        if n > 0 {
            self.buf.filled(n);
        }
        let Self { shared, app, session, reader, buf, tokens, paused, quiet, is_layered } = self;
        let pile = PILE_OF_ANSWERS.bytes(*is_layered);
        *quiet = n <= LITTLE;
        let mut guard = shared.lazy(tokens);
        M::begin_input(reader, &mut guard, now, n);
        let all = loop {
            let event = match M::next_event(reader, &mut guard, now, buf) {
                Ok(Next::Event(event)) => event,
                Ok(Next::NeedData) => break Ok(true),
                Ok(Next::Paused) => break Ok(false),
                Err(error) => break Err(error.into()),
            };
            match app.event(session, reader, &mut guard, event) {
                Ok(Flow::Continue) => {}
                Ok(Flow::Refuse) => {
                    if !M::refuse(reader, buf) {
                        break Ok(false);
                    }
                }
                Err(cause) => break Err(cause),
            }
            if M::flush_answers(reader, &mut guard, pile) {
                guard.release();
                shared.write_inline();
            }
        };
        M::end_input(reader, &mut guard, now, buf);
        *paused = !all?;
        Ok(())
    }

    /// The machine takes nothing more for now.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// The machine takes input again: call [`filled`](Self::filled) to hand over what waits.
    pub(crate) fn resume(&mut self) {
        self.paused = false;
    }

    /// The peer ended its stream: returns why the connection is over.
    pub(crate) fn end_of_stream(&mut self) -> Disconnect {
        match M::handle_eof(&mut self.reader, &self.buf) {
            Ok(()) => Disconnect::PeerClosed,
            Err(error) => error.into(),
        }
    }

    /// The connection is over. `lent` is the batch that was being written.
    pub(crate) fn disconnect(self, lent: Option<Batch>, cause: &Disconnect) {
        self.shared.set_connection(None);
        let Self { shared, app, mut session, mut reader, mut buf, mut tokens, .. } = self;
        let (now, mut guard, mut any) = (clock::now(), shared.lazy(&mut tokens), false);
        while let Some(event) = M::next_leftover(&mut reader, &mut guard, now, &mut buf, cause) {
            any = true;
            if !matches!(app.event(&mut session, &mut reader, &mut guard, event), Ok(Flow::Continue)) {
                break;
            }
        }
        if any {
            M::end_input(&mut reader, &mut guard, now, &mut buf);
        }
        drop(guard);
        shared.with(|machine| {
            let now = clock::now();
            machine.retire_reader(now, reader, buf);
            machine.handle_disconnected(now, lent, cause.clone());
        });
        app.disconnected(session, cause);
    }

    /// Frees the receive buffer while it is empty, and what the machine keeps for messages to come.
    pub(crate) fn release_memory(&mut self) {
        let Self { shared, reader, buf, tokens, .. } = self;
        M::release_memory(reader, &mut shared.lazy(tokens), buf);
    }

    /// There is nothing to read now. A connection with little traffic keeps no buffer while it waits; a busy
    /// one does, until a heartbeat is due.
    pub(crate) fn nothing_now(&mut self) {
        if self.quiet {
            self.buf.release_if_small();
        }
    }
}
