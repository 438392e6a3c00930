//! A custom protocol with its own machine, run by the unchanged runtimes.
//!
//! `Shout` (`machines/shout.rs`) sends lines and gets each back; it has no framing, no calls and no handshake
//! of Bowline's. Only `Machine` and `Application` connect it to the driver.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bowline::SocketOptions;
use bowline::core::machine::{Epoch, Machine};
use bowline::core::supervisor::{DialFailure, ReconnectPolicy, Supervisor};
use bowline::driver::dial::{DialObserver, Dialer};
use bowline::driver::runtime::Runtime;
use bowline::driver::{Application, Flow, LazyGuard, Shared, clock};
use bowline::error::Disconnect;

#[path = "machines/shout.rs"]
mod shout;
#[path = "machines/watchdog.rs"]
mod watchdog;

use shout::{LineReader, Shout};
use watchdog::within;

/// The application: the machine stores what it receives.
struct Ear;

impl Application<Shout<Waker>> for Ear {
    type Session = ();

    fn connected(&self, _: &Arc<Shared<Shout<Waker>>>, _: Epoch, _: Option<bowline::Address>) {}

    fn event(
        &self,
        (): &mut (),
        _: &mut LineReader,
        _: &mut LazyGuard<'_, Shout<Waker>>,
        _: &[u8],
    ) -> Result<Flow, Disconnect> {
        Ok(Flow::Continue)
    }

    fn disconnected(&self, (): (), _: &Disconnect) {}
}

struct Nobody;

impl DialObserver for Nobody {
    fn socket_options(&self) -> SocketOptions {
        SocketOptions::default()
    }

    fn ready(&self, _: Epoch) {}
    fn round_failed(&self, _: &DialFailure) {}
    fn gave_up(&self, _: &Disconnect) {}
}

/// Answers every line in capitals; closes the connection after each third line.
fn shouting_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
            for line in lines.map_while(Result::ok).take(3) {
                let answer = line.to_uppercase() + "\n";
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    address
}

fn supervisor(address: SocketAddr) -> Supervisor {
    let policy = ReconnectPolicy::fixed(Duration::from_millis(1));
    Supervisor::new(vec![address.into()], policy, Duration::from_secs(5), 1)
}

/// Sends ten lines, one after another, over four connections, and receives each back.
async fn converse(shared: &Shared<Shout<Waker>>) {
    for number in 0..10 {
        assert!(shared.with(|machine| machine.say(clock::now(), &format!("line {number}"))));
        let mut ticket = None;
        let hear = |cx: &mut std::task::Context<'_>| {
            shared.with(|machine| machine.poll_hear(&mut ticket, || cx.waker().clone()))
        };
        let heard = std::future::poll_fn(hear).await;
        assert_eq!(heard.as_deref(), Some(&*format!("LINE {number}")));
    }
    shared.with(|machine| machine.close(clock::now(), Duration::ZERO));
}

async fn on<R: Runtime>() {
    let shared = Arc::new(Shared::new(Shout::saying()));
    let supervisor = supervisor(shouting_server());
    let dialed = Arc::clone(&shared);
    R::spawn(async move {
        Dialer::<R, _, _, _>::new(dialed, Arc::new(Ear), Nobody, supervisor).await;
    })
    .expect("a runtime");
    converse(&shared).await;
}

/// A test that hangs ends after so long.
const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn on_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(within(LIMIT, on::<bowline::tokio::Tokio>()));
}

#[test]
fn on_smol() {
    smol::block_on(within(LIMIT, on::<bowline::smol::Smol>()));
}

#[test]
fn on_async_std() {
    async_std::task::block_on(within(LIMIT, on::<bowline::async_std::AsyncStd>()));
}

#[test]
fn on_threads() {
    bowline::blocking::block_on(within(LIMIT, on::<bowline::blocking::Threads>()));
}
