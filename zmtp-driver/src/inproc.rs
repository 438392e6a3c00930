//! Sockets of one process: a sent message is put into the inbox of the other socket at once, on the sending
//! thread.
//!
//! The names are those of the process, so that sockets of different runtimes find each other. A socket that
//! connects before another one binds waits here. Sockets of one process trust each other: no mechanism is
//! used, and no authenticator is called.
//!
//! Locks: the registry's is taken before a socket's, a socket's before a pipe's. Wakers are called without
//! any.

use std::collections::BTreeMap;
use std::sync::{LazyLock, PoisonError};
use std::task::{Wake, Waker};

use bowline_core::error::Disconnect;
use bowline_core::machine::Machine;
use bowline_driver::clock;
use bowline_driver::sync::{Arc, Weak};
use bowline_zmtp::error::{OptionError, ZmtpError};
use bowline_zmtp::pipe::{Late, Peer, PipeEvent, Role};
use bowline_zmtp::socket::{PipeId, Pipes, SocketEvent};

use crate::core::{Entry, SharedPipe, SocketCore};

/// The state of a pipe to another socket of this process.
pub(crate) struct Inproc {
    /// The name that it connects to; `None` for an accepted pipe.
    name: Option<Arc<str>>,
    /// The name as an endpoint.
    pub(crate) endpoint: Arc<str>,
    pub(crate) joint: Option<Joint>,
}

/// The other side of a joined pipe.
pub(crate) struct Joint {
    pub(crate) pipe: Arc<SharedPipe>,
    core: Weak<SocketCore>,
    id: PipeId,
    /// Called when the pipe has events for its socket.
    news: Waker,
}

/// One side of a joint.
type End = (Arc<SocketCore>, PipeId);

#[derive(Default)]
struct Registry {
    bound: BTreeMap<Arc<str>, Weak<SocketCore>>,
    /// Pipes that connect, in order of arrival.
    waiting: BTreeMap<Arc<str>, Vec<(Weak<SocketCore>, PipeId)>>,
}

static REGISTRY: LazyLock<std::sync::Mutex<Registry>> = LazyLock::new(std::sync::Mutex::default);

impl Entry {
    /// Whether it connects to a name that no socket is bound to.
    pub(crate) fn waits_for_binding(&self) -> bool {
        self.inproc.as_ref().is_some_and(|inproc| inproc.joint.is_none())
    }
}

/// Calls `f` with the registry. Then, without its lock, calls the wakers, and handles the events of new
/// joints.
fn with_registry<R>(f: impl FnOnce(&mut Registry, &mut Changes) -> R) -> R {
    let mut changes = Changes::default();
    let result = f(&mut REGISTRY.lock().unwrap_or_else(PoisonError::into_inner), &mut changes);
    for (core, event) in changes.events {
        core.monitor.tell(event);
    }
    changes.wakers.into_iter().for_each(Waker::wake);
    for (core, id) in changes.joined {
        news(&core, id);
    }
    result
}

#[derive(Default)]
struct Changes {
    /// Reported before the wakers are called.
    events: Vec<(Arc<SocketCore>, SocketEvent)>,
    wakers: Vec<Waker>,
    joined: Vec<End>,
}

/// Binds a socket to a name. `false`: another socket has it.
pub(crate) fn bind(core: &Arc<SocketCore>, name: &str) -> bool {
    with_registry(|registry, changes| {
        let taken = registry.bound.get(name).and_then(Weak::upgrade);
        if taken.is_some_and(|other| !other.is_closing()) {
            return false;
        }
        registry.bound.insert(name.into(), Arc::downgrade(core));
        let endpoint = format!("inproc://{name}").into();
        changes.events.push((Arc::clone(core), SocketEvent::Listening { endpoint }));
        for (dialing, id) in registry.waiting.remove(name).unwrap_or_default() {
            if let Some(dialing) = dialing.upgrade() {
                join(&(dialing, id), core, changes);
            }
        }
        true
    })
}

/// Releases the name of a socket; existing connections stay.
pub(crate) fn unbind(core: &Arc<SocketCore>, name: &str) {
    with_registry(|registry, _| {
        if registry.bound.get(name).is_some_and(|bound| std::ptr::eq(bound.as_ptr(), Arc::as_ptr(core))) {
            registry.bound.remove(name);
        }
    });
}

/// Connects a socket to a name, now or when another socket binds it; a ROUTER may set the routing id of its
/// peer.
pub(crate) fn connect(
    core: &Arc<SocketCore>,
    name: &str,
    routing_id: Option<&[u8]>,
) -> Result<PipeId, OptionError> {
    with_registry(|registry, changes| {
        let name: Arc<str> = name.into();
        let endpoint = format!("inproc://{name}").into();
        let inproc = Some(Inproc { name: Some(Arc::clone(&name)), endpoint, joint: None });
        let (id, _) = core.with_wakers(&mut changes.wakers, |state| match routing_id {
            Some(routing_id) => core.add_as_to(state, routing_id, inproc),
            None => Ok(core.add_to(state, Role::Dialing, inproc)),
        })?;
        registry.dial((Arc::clone(core), id), name, changes);
        Ok(id)
    })
}

impl Registry {
    fn dial(&mut self, dialing: End, name: Arc<str>, changes: &mut Changes) {
        let bound = self.bound.get(&name).and_then(Weak::upgrade).filter(|bound| !bound.is_closing());
        match bound {
            Some(bound) => join(&dialing, &bound, changes),
            None => self.waiting.entry(name).or_default().push((Arc::downgrade(&dialing.0), dialing.1)),
        }
    }

    fn forget(&mut self, core: &Arc<SocketCore>, id: PipeId) {
        self.waiting.retain(|_, waiting| {
            waiting.retain(|(other, at)| *at != id || !std::ptr::eq(other.as_ptr(), Arc::as_ptr(core)));
            !waiting.is_empty()
        });
    }
}

/// A pipe that waits for a binding will not be connected any more.
pub(crate) fn retire(core: &Arc<SocketCore>, id: PipeId) {
    with_registry(|registry, changes| {
        registry.forget(core, id);
        let joined = core.with_wakers(&mut changes.wakers, |state| {
            // It may have been joined a moment ago.
            let joined = state.table.pipes.get(&id).is_some_and(|entry| !entry.waits_for_binding());
            if !joined {
                state.table.with(id, |pipe| pipe.give_up(clock::now(), Disconnect::LocalClose));
                state.end(id, &Disconnect::LocalClose);
            }
            joined
        });
        if joined {
            part((core, id), &Disconnect::LocalClose, registry, changes);
        }
    });
}

/// Joins a pipe to a new one of the bound socket.
fn join(dialing: &End, bound: &Arc<SocketCore>, changes: &mut Changes) {
    let (core, id) = dialing;
    let Some((pipe, endpoint)) = core.with_wakers(&mut changes.wakers, |state| {
        let entry = state.table.pipes.get(id)?;
        Some((Arc::clone(&entry.pipe), Arc::clone(&entry.inproc.as_ref()?.endpoint)))
    }) else {
        return;
    };
    let inproc = Inproc { name: None, endpoint, joint: None };
    let (other_id, other) =
        bound.with_wakers(&mut changes.wakers, |state| bound.add_to(state, Role::Accepting, Some(inproc)));
    let peers = pipe.look(|pipe| pipe.join(&bound.options)).and_then(|theirs| {
        let ours = other.look(|pipe| pipe.join(&core.options))?;
        Ok((ours, theirs))
    });
    match peers {
        Ok((ours, theirs)) => {
            let ends = [(Arc::clone(bound), other_id), (Arc::clone(core), *id)];
            attach(&ends[0], (pipe, &ends[1]), ours, changes);
            attach(&ends[1], (other, &ends[0]), theirs, changes);
            changes.joined.extend(ends);
        }
        Err(error) => {
            refuse(bound, other_id, &error, changes);
            refuse(core, *id, &error, changes);
        }
    }
}

/// The sockets are incompatible.
fn refuse(core: &Arc<SocketCore>, id: PipeId, error: &ZmtpError, changes: &mut Changes) {
    core.with_wakers(&mut changes.wakers, |state| {
        state.table.with(id, |pipe| {
            pipe.part();
            pipe.give_up(clock::now(), error.clone().into());
        });
        state.socket.note_refused(id, error.clone());
        state.end(id, &error.clone().into());
    });
}

/// From now on the socket's messages go to the other side.
fn attach(
    (core, id): &End,
    (pipe, (other, other_id)): (Arc<SharedPipe>, &End),
    peer: Arc<Peer>,
    changes: &mut Changes,
) {
    let news = Waker::from(Arc::new(News { core: Arc::downgrade(core), id: *id }));
    let joint = Joint { pipe, core: Arc::downgrade(other), id: *other_id, news };
    core.with_wakers(&mut changes.wakers, |state| {
        // Messages that waited for a peer go first.
        let mut waiting = Vec::new();
        state.table.with(*id, |pipe| pipe.take_unsent(|message| waiting.push(message)));
        if let Some(inproc) = state.table.pipes.get_mut(id).and_then(|entry| entry.inproc.as_mut()) {
            inproc.joint = Some(joint);
        }
        let mut refused = Vec::new();
        for message in waiting {
            let parts: Vec<_> = message.iter().cloned().map(Into::into).collect();
            let sent = state.table.with_out(*id, |pipe| pipe.send_beyond_limit(&[], &parts));
            if sent != Some(Ok(())) {
                refused.push(message);
            }
        }
        state.handle(*id, PipeEvent::Ready(peer));
        // They exceed its limits, or it is about to close: other peers may get them, or they are dropped,
        // which is reported.
        if !refused.is_empty() {
            state.socket.collect_late(&mut state.table, *id, refused, Late::default());
        }
    });
}

/// Called by the other socket, when a pipe has events.
struct News {
    core: Weak<SocketCore>,
    id: PipeId,
}

impl Wake for News {
    fn wake(self: Arc<Self>) {
        if let Some(core) = self.core.upgrade() {
            news(&core, self.id);
        }
    }
}

/// Passes the events of a joined pipe to the socket.
fn news(core: &Arc<SocketCore>, id: PipeId) {
    loop {
        let mut wakers = Vec::new();
        let ended = core.with_wakers(&mut wakers, |state| {
            let joint = state.table.pipes.get(&id).and_then(|entry| entry.inproc.as_ref()?.joint.as_ref());
            let waker = joint.map(|joint| joint.news.clone())?;
            let news = state.table.with(id, |pipe| pipe.take_news(waker)).flatten()?;
            let kind = state.socket.kind();
            let controls = news.controls(kind, |event| state.handle(id, event));
            if news.has_messages {
                state.handle(id, PipeEvent::Messages { count: 1, was_empty: true });
            }
            Some(controls.err().map(Disconnect::from).or(news.ended))
        });
        wakers.into_iter().for_each(Waker::wake);
        match ended {
            None => return,
            Some(None) => {}
            Some(Some(cause)) => {
                return with_registry(|registry, changes| part((core, id), &cause, registry, changes));
            }
        }
    }
}

/// Separates two sockets. The one that connected waits for the name to be bound again, unless it was closed
/// or refused.
fn part(
    (core, id): (&Arc<SocketCore>, PipeId),
    cause: &Disconnect,
    registry: &mut Registry,
    changes: &mut Changes,
) {
    let Some(joint) = core.with_wakers(&mut changes.wakers, |state| {
        state.table.pipes.get_mut(&id).and_then(|entry| entry.inproc.as_mut()?.joint.take())
    }) else {
        return;
    };
    let is_refusal = ZmtpError::of(cause).is_some();
    leave((core, id), cause, true, registry, changes);
    if let Some(other) = joint.core.upgrade() {
        let theirs = if is_refusal { cause.clone() } else { Disconnect::PeerClosed };
        other.with_wakers(&mut changes.wakers, |state| {
            state.table.pipes.get_mut(&joint.id).and_then(|entry| entry.inproc.as_mut()?.joint.take())
        });
        leave((&other, joint.id), &theirs, is_refusal, registry, changes);
    }
}

/// One side of an ended joint.
fn leave(
    (core, id): (&Arc<SocketCore>, PipeId),
    cause: &Disconnect,
    is_last: bool,
    registry: &mut Registry,
    changes: &mut Changes,
) {
    let name = core.with_wakers(&mut changes.wakers, |state| {
        let name = state.table.pipes.get(&id).and_then(|entry| entry.inproc.as_ref()?.name.clone());
        let name = name.filter(|_| !is_last && !state.is_closing);
        if name.is_some() {
            // First, because messages that were given back may be sent over it again.
            state.table.with(id, |pipe| pipe.part());
            state.socket.disconnected(&mut state.table, id, cause.clone());
            state.note_change();
        } else {
            state.table.with(id, |pipe| {
                pipe.part();
                pipe.give_up(clock::now(), cause.clone());
            });
            state.end(id, cause);
        }
        name
    });
    if let Some(name) = name {
        registry.dial((Arc::clone(core), id), name, changes);
    }
}

#[cfg(test)]
mod tests {
    use bowline_zmtp::message::Message;
    use bowline_zmtp::options::Options;
    use bowline_zmtp::socket::Drop;
    use bowline_zmtp::socket_type::SocketType;
    use std::time::Duration;

    use super::*;
    use crate::lifetime::for_tests;

    fn send(push: &SocketCore, length: usize) {
        let sent = push.try_send(|socket, table| socket.send(table, &[vec![b'x'; length].into()]));
        assert_eq!(sent, Ok(()), "{length} bytes");
    }

    fn lengths(pull: &SocketCore) -> Vec<usize> {
        let mut message = Message::new();
        let received =
            || pull.try_receive(|state| state.receive(&mut message)).ok().map(|_| message[0].len());
        std::iter::from_fn(received).collect()
    }

    fn unfit(push: &SocketCore) -> usize {
        let events = std::iter::from_fn(|| push.monitor.take());
        let of = |event| match event {
            SocketEvent::Dropped { count, why: Drop::Unfit, .. } => count,
            _ => 0,
        };
        events.map(of).sum()
    }

    #[test]
    fn what_is_too_long_for_a_socket_that_binds_later_is_told_and_holds_nothing_up() {
        let push = for_tests(Options::new(SocketType::Push).immediate(false));
        let pull = for_tests(Options::new(SocketType::Pull).max_message(10));
        connect(&push, "binds-later", None).unwrap();
        for length in [5, 50, 6] {
            send(&push, length);
        }
        assert!(bind(&pull, "binds-later"));
        assert_eq!(lengths(&pull), [5, 6]);
        send(&push, 7);
        assert_eq!((lengths(&pull), unfit(&push)), (vec![7], 1));
    }

    #[test]
    fn what_came_back_and_is_too_long_for_the_others_is_told_and_holds_nothing_up() {
        let push = for_tests(Options::new(SocketType::Push).immediate(false));
        let pull = for_tests(Options::new(SocketType::Pull).max_message(10));
        assert!(bind(&pull, "takes-little"));
        // There is no peer: the message waits, and is given back when the pipe is retired.
        let id = connect(&push, "nobody", None).unwrap();
        send(&push, 50);
        connect(&push, "takes-little", None).unwrap();
        push.close_pipe(id);
        send(&push, 8);
        assert_eq!((lengths(&pull), unfit(&push)), (vec![8], 1));
        push.begin_close(Duration::ZERO);
    }
}
