//! Another protocol, another machine: the runtimes drive it without knowing.
//!
//! `Shout` sends lines and gets each back; it has no framing, no calls and no handshake of
//! Bowline's. Only `Machine` and `Application` join it to the driver.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bowline::SocketOptions;
use bowline::core::Batch;
use bowline::core::machine::{Access, Ending, Machine, Next, Reason, Wake};
use bowline::core::recv_buf::RecvBuf;
use bowline::core::supervisor::{DialFailure, Epoch, ReconnectPolicy, Supervisor};
use bowline::core::time::Instant;
use bowline::driver::dial::{DialObserver, Dialer};
use bowline::driver::runtime::Runtime;
use bowline::driver::{Application, Flow, LazyGuard, Shared, clock};
use bowline::error::{Disconnect, FrameError, PeerError};

/// Lines out, lines in.
#[derive(Debug, Default)]
struct Shout {
    connected: bool,
    closed: bool,
    lent: bool,
    to_send: Vec<u8>,
    /// Lines without an answer yet: said again on the next connection.
    unanswered: VecDeque<String>,
    heard: VecDeque<String>,
    waiting: Vec<Waker>,
    tokens: Vec<Waker>,
    wake: Wake,
}

impl Shout {
    fn say(&mut self, line: &str) {
        self.to_send.extend_from_slice(line.as_bytes());
        self.to_send.push(b'\n');
        self.unanswered.push_back(line.to_owned());
        self.wake.write = true;
    }

    fn poll_hear(&mut self, waker: &Waker) -> Poll<Option<String>> {
        match self.heard.pop_front() {
            Some(line) => Poll::Ready(Some(line)),
            None if self.closed => Poll::Ready(None),
            None => {
                self.waiting.push(waker.clone());
                Poll::Pending
            }
        }
    }
}

impl Machine for Shout {
    type Token = Waker;
    /// How much of the unread bytes was searched.
    type Reader = LineReader;
    type Event<'b> = &'b [u8];

    fn handle_connected(&mut self, _: Instant, _: Epoch) -> LineReader {
        self.connected = true;
        LineReader::default()
    }

    fn begin_input(_: &mut LineReader, _: &mut impl Access<Self>, _: Instant, _: usize) {}

    fn next_event<'b>(
        reader: &mut LineReader,
        _: &mut impl Access<Self>,
        _: Instant,
        buf: &'b mut RecvBuf,
    ) -> Result<Next<&'b [u8]>, PeerError> {
        buf.consume(std::mem::take(&mut reader.lent));
        match buf.unread().iter().position(|&byte| byte == b'\n') {
            Some(end) => {
                reader.lent = end + 1;
                Ok(Next::Event(&buf.unread()[..end]))
            }
            None if buf.unread().len() > 1000 => {
                let value = buf.unread().len() as u64;
                Err(FrameError::TooLong { field: "line", value, limit: 1000 }.into())
            }
            None => Ok(Next::NeedData),
        }
    }

    fn end_input(reader: &mut LineReader, _: &mut impl Access<Self>, _: Instant, buf: &mut RecvBuf) {
        buf.consume(std::mem::take(&mut reader.lent));
    }

    fn handle_eof(_: &mut LineReader, _: &RecvBuf) -> Result<(), PeerError> {
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.connected
    }

    fn handle_disconnected(&mut self, _: Instant, _: Option<Batch>, _: Disconnect) {
        self.connected = false;
        self.lent = false;
        self.to_send.clear();
        for line in &self.unanswered {
            self.to_send.extend_from_slice(line.as_bytes());
            self.to_send.push(b'\n');
        }
    }

    fn begin_write(&mut self, _: Instant) -> Option<Batch> {
        if self.lent || !self.connected || self.to_send.is_empty() {
            return None;
        }
        self.lent = true;
        Some(Batch::from_bytes(&std::mem::take(&mut self.to_send)))
    }

    fn end_write(&mut self, _: Instant, _: Batch) -> bool {
        self.lent = false;
        !self.to_send.is_empty()
    }

    fn poll_timeout(&mut self) -> Option<(Instant, Reason)> {
        None
    }

    fn handle_timeout(&mut self, _: Instant) {}

    fn poll_ending(&mut self, _: Instant) -> Option<Ending> {
        self.closed.then_some(Ending::Abort(Disconnect::LocalClose))
    }

    fn close(&mut self, now: Instant, _: Duration) {
        self.give_up(now, Disconnect::LocalClose);
    }

    fn is_closed(&self) -> bool {
        self.closed
    }

    fn give_up(&mut self, _: Instant, _: Disconnect) {
        self.closed = true;
        self.wake = Wake { write: true, attend: true };
        self.tokens.append(&mut self.waiting);
    }

    fn take_wake(&mut self) -> Wake {
        std::mem::take(&mut self.wake)
    }

    fn take_tokens(&mut self, into: &mut Vec<Waker>) {
        into.append(&mut self.tokens);
    }
}

#[derive(Debug, Default)]
struct LineReader {
    lent: usize,
}

/// Keeps what was heard.
struct Ear;

impl Application<Shout> for Ear {
    type Session = ();

    fn connected(&self, _: &Arc<Shared<Shout>>, _: Epoch, _: Option<bowline::Address>) {}

    fn event(
        &self,
        (): &mut (),
        _: &mut LineReader,
        access: &mut LazyGuard<'_, Shout>,
        line: &[u8],
    ) -> Result<Flow, Disconnect> {
        let machine = access.machine();
        machine.unanswered.pop_front();
        machine.heard.push_back(String::from_utf8_lossy(line).into_owned());
        let mut waiting = std::mem::take(&mut machine.waiting);
        machine.tokens.append(&mut waiting);
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

/// Answers every line in capitals; hangs up after each third.
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

/// Says ten lines, one after the other, over four connections, and hears each back.
async fn converse(shared: &Shared<Shout>) {
    for number in 0..10 {
        shared.with(|machine| machine.say(&format!("line {number}")));
        let heard = std::future::poll_fn(|cx| shared.with(|machine| machine.poll_hear(cx.waker()))).await;
        assert_eq!(heard.as_deref(), Some(&*format!("LINE {number}")));
    }
    shared.with(|machine| machine.close(clock::now(), Duration::ZERO));
}

async fn on<R: Runtime>() {
    let shared = Arc::new(Shared::new(Shout::default()));
    let supervisor = supervisor(shouting_server());
    let dialed = Arc::clone(&shared);
    R::spawn(async move {
        Dialer::<R, _, _, _>::new(dialed, Arc::new(Ear), Nobody, supervisor).await;
    })
    .expect("a runtime");
    converse(&shared).await;
}

fn within_ten_seconds(test: impl Future<Output = ()> + Send + 'static) -> impl Future<Output = ()> {
    // A conversation that hangs would hang the test: the timer ends the process instead.
    let done = Arc::new(());
    let watched = Arc::downgrade(&done);
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(10));
        if watched.upgrade().is_some() {
            eprintln!("the conversation hangs");
            std::process::exit(1);
        }
    });
    async move {
        test.await;
        drop(done);
    }
}

#[test]
fn on_tokio() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(within_ten_seconds(on::<bowline::tokio::Tokio>()));
}

#[test]
fn on_smol() {
    smol::block_on(within_ten_seconds(on::<bowline::smol::Smol>()));
}

#[test]
fn on_async_std() {
    async_std::task::block_on(within_ten_seconds(on::<bowline::async_std::AsyncStd>()));
}

#[test]
fn on_threads() {
    bowline::blocking::block_on(within_ten_seconds(on::<bowline::blocking::Threads>()));
}
