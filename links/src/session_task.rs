//! Sessions on async runtimes: one accepted connection after another of the same peer.

use std::task::{Context, Poll};

use bowline_core::frame::Framing;
use bowline_core::supervisor::Epoch;
use bowline_driver::accept::Door;
use bowline_driver::app::Application;
use bowline_driver::clock;
use bowline_driver::gate::Admission;
use bowline_driver::layered::Layered;
use bowline_driver::pump::{Alarm, Pump};
use bowline_driver::runtime::Runtime;
use bowline_driver::sync::Arc;

use crate::link_service::LinkService;
use crate::peer_core::PeerCore;
use crate::sessions::{Arrival, Detached, Host, ReadGreeting, Sessions, attend_detached};

/// Serves a connection that may belong to a session: gives it to the task of that session, or serves it and
/// those that follow it.
pub(crate) async fn serve_session<R: Runtime, F: Framing>(
    door: Arc<Door<LinkService<F>>>,
    sessions: Arc<Sessions<Layered<R::Socket>, F>>,
    socket: Layered<R::Socket>,
    admission: Admission,
) {
    let greeted = ReadGreeting::new(&sessions, &door, (socket, admission), R::timer()).await;
    let Some((mut arrival, found)) = greeted else { return };
    if let Some(host) = found {
        host.give(arrival);
        return;
    }
    let Some((mut inside, app)) = door.enter() else { return };
    let peer = inside.peer().clone();
    let host = sessions.host(door.service().config(), &peer);
    let mut epoch = Epoch::FIRST;
    let mut alarm = Alarm::new(R::timer());
    loop {
        let Arrival { socket, greeting, buf, since, admission } = arrival.unboxed();
        let mut pump = Pump::greeted(peer.shared(), &app, (socket, buf), epoch);
        peer.shared().with(|link| link.greeted(since, greeting));
        if let Some(host) = &host {
            host.connected();
        }
        let cause = std::future::poll_fn(|cx| {
            let ended = pump.poll(cx, &mut alarm);
            inside.note_driven();
            ended
        })
        .await;
        drop(pump);
        drop(admission);
        inside.note_disconnected();
        let next = match &host {
            Some(host) => std::future::poll_fn(|cx| poll_detached(cx, &peer, host, &mut alarm)).await,
            None => None,
        };
        match next {
            Some(next) => {
                (arrival, epoch) = (next, epoch.next());
                door.service().challenge(&peer);
            }
            None => {
                if let Some(host) = &host {
                    sessions.remove(host);
                }
                app.ended(&cause);
                return;
            }
        }
    }
}

/// Waits while the session has no connection: for the next one, or `None` when the link is closed.
fn poll_detached<S: Send + 'static, F: Framing, T: bowline_driver::runtime::Timer>(
    cx: &mut Context<'_>,
    peer: &PeerCore<F>,
    host: &Host<S, F>,
    alarm: &mut Alarm<T>,
) -> Poll<Option<Box<Arrival<S, F>>>> {
    loop {
        match attend_detached(peer, host, cx.waker()) {
            Detached::Next(arrival) => return Poll::Ready(Some(arrival)),
            Detached::Over => return Poll::Ready(None),
            Detached::Sleep(Some(at)) if at <= clock::now() || alarm.poll(cx, at) => {}
            Detached::Sleep(_) => return Poll::Pending,
        }
    }
}
