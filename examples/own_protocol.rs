//! A custom protocol on every runtime: `cargo run --example own_protocol`.
//!
//! The protocol is a state machine without sockets, clocks and threads (`tests/machines/shout.rs`): one end
//! sends lines, the other returns each in capitals. Here a server of it listens on plain threads, with the
//! limits of every server, and two clients dial it, one on tokio and one on threads. The lines of a broken
//! connection are sent again on the next one.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bowline::blocking::{Threads, block_on};
use bowline::core::machine::{Epoch, Machine};
use bowline::core::supervisor::{DialFailure, ReconnectPolicy, Supervisor};
use bowline::driver::accept::{Accepted, Acceptor, Door, Service};
use bowline::driver::dial::{DialObserver, Dialer};
use bowline::driver::gate::Gate;
use bowline::driver::runtime::Runtime;
use bowline::driver::{Application, Flow, LazyGuard, PeerId, Shared, clock};
use bowline::error::Disconnect;
use bowline::tokio::Tokio;
use bowline::{AcceptLimits, Address, SocketOptions};

#[path = "../tests/machines/shout.rs"]
mod shout;
use shout::{LineReader, Shout};

type End = Shout<Waker>;

/// The handling of events: none, because the machine stores the lines.
struct App;

impl Application<End> for App {
    type Session = ();

    fn connected(&self, _: &Arc<Shared<End>>, _: Epoch, remote: Option<Address>) {
        println!("connected with {}", remote.map_or_else(|| "?".to_owned(), |remote| remote.to_string()));
    }

    fn event(
        &self,
        (): &mut (),
        _: &mut LineReader,
        _: &mut LazyGuard<'_, End>,
        _: &[u8],
    ) -> Result<Flow, Disconnect> {
        Ok(Flow::Continue)
    }

    fn disconnected(&self, (): (), cause: &Disconnect) {
        println!("disconnected: {cause}");
    }
}

/// The accepting side: serves each connection.
struct Answers;

impl Service for Answers {
    type Machine = End;
    type App = App;
    type Peer = Arc<Shared<End>>;

    fn shared(peer: &Self::Peer) -> &Arc<Shared<End>> {
        peer
    }

    fn accept(&self) -> Accepted<Self> {
        let peer = Arc::new(Shared::new(Shout::answering()));
        Accepted { id: PeerId::unique(), peer, app: Arc::new(App), has_handshake: false }
    }
}

/// The dialing side: observes the attempts.
struct Observer;

impl DialObserver for Observer {
    fn socket_options(&self) -> SocketOptions {
        SocketOptions::default()
    }

    fn ready(&self, _: Epoch) {}

    fn round_failed(&self, failure: &DialFailure) {
        println!("not connected: {failure}");
    }

    fn gave_up(&self, _: &Disconnect) {}
}

/// A client, identical on every runtime; only spawning its task depends on the runtime.
async fn converse<R: Runtime>(server: &Address, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let shared = Arc::new(Shared::new(Shout::saying()));
    let policy = ReconnectPolicy::default();
    let supervisor = Supervisor::new(vec![server.clone().into()], policy, Duration::from_secs(5), 1);
    let dialer = Dialer::<R, _, _, _>::new(Arc::clone(&shared), Arc::new(App), Observer, supervisor);
    R::spawn(dialer)?;
    for number in 1..=3 {
        let is_said = shared.with(|end| end.say(clock::now(), &format!("line {number} from {name}")));
        assert!(is_said, "three lines fit in the queue");
        let mut ticket = None;
        let heard = poll_fn(|cx| shared.with(|end| end.poll_hear(&mut ticket, || cx.waker().clone()))).await;
        println!("{name} heard: {}", heard.ok_or("the link closed")?);
    }
    shared.with(|end| end.close(clock::now(), Duration::ZERO));
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let door = Door::new(Gate::new(AcceptLimits::default(), Duration::from_secs(60)), Answers);
    let server = Acceptor::<Threads, Answers>::bind(door, "127.0.0.1:0", SocketOptions::default())?;
    server.start()?;
    block_on(converse::<Threads>(server.local_addr(), "a thread"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(converse::<Tokio>(server.local_addr(), "a task of tokio"))?;
    server.begin_shutdown(Duration::from_secs(1));
    println!("{} connections were cut off", block_on(server.stopped()));
    Ok(())
}
