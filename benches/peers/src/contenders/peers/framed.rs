//! `LengthDelimitedCodec` of tokio-util, as most do it who write their own protocol on tokio.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{FutureExt as _, SinkExt, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio_util::codec::{Framed as Codec, LengthDelimitedCodec};

use super::common::{Bodies, accept, block_on, messages_and_calls, one_way, seconds};
use crate::callers::{Caller, closed_loop, open_loop, spawn_tokio};
use crate::contender::{self, Contender, Counter, Ready, body};
use crate::job::{Job, Tally, Work};

/// For reading, and to be collected before it is written: with the defaults of 8 KiB there would
/// be a system call for each 70 messages of 110 bytes.
const BUFFER: usize = 128 * 1024;

/// Between the senders and the task that writes: enough that they need not take turns for each
/// message.
const QUEUE: usize = 1024;

type Link = Codec<TcpStream, LengthDelimitedCodec>;

pub struct Framed;

impl Contender for Framed {
    fn name(&self) -> &'static str {
        "tokio-util Framed"
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        messages_and_calls(work)
    }

    fn blocks(&self, work: &Work) -> &'static [usize] {
        contender::blocks(work)
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        block_on(async {
            let link = link(accept(ready).await?, job);
            match one_way(&job.work) {
                Some((_, senders)) => count(link, senders).await,
                None => echo(link).await,
            }
        })
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        block_on(async {
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            let link = link(stream, job);
            match job.work {
                Work::OneWay { size, senders: 1 } => send(job, link, size).await,
                Work::OneWay { size, senders } => send_shared(job, link, size, senders).await,
                Work::Calls { size, in_flight } => {
                    closed_loop(Client::new(link, size), in_flight, seconds(job), spawn_tokio).await
                }
                Work::Paced { size, per_second } => {
                    open_loop(Client::new(link, size), per_second, seconds(job), spawn_tokio).await
                }
                _ => unreachable!("does not fit"),
            }
        })
    }
}

fn link(stream: TcpStream, job: &Job) -> Link {
    let mut link = Codec::with_capacity(stream, LengthDelimitedCodec::new(), BUFFER);
    link.set_backpressure_boundary(if job.block == 0 { BUFFER } else { job.block });
    link
}

/// Writes what was fed. The codec takes more than one type, so that one has to be named.
async fn flush(link: &mut Link) -> Result<()> {
    Ok(SinkExt::<Bytes>::flush(link).await?)
}

async fn count(mut link: Link, senders: usize) -> Result<Tally> {
    let counter = Counter::default();
    while let Some(message) = link.next().await {
        if counter.message(&message?, senders) {
            break;
        }
    }
    Ok(counter.tally())
}

/// Answers all that has come before it writes.
async fn echo(mut link: Link) -> Result<Tally> {
    while let Some(message) = link.next().await {
        link.feed(message?.freeze()).await?;
        while let Some(Some(message)) = link.next().now_or_never() {
            link.feed(message?.freeze()).await?;
        }
        flush(&mut link).await?;
    }
    Ok(Tally::default())
}

async fn send(job: &Job, mut link: Link, size: usize) -> Result<Tally> {
    for message in Bodies::new(job, size) {
        link.feed(message).await?;
    }
    flush(&mut link).await?;
    Ok(Tally::default())
}

/// Several tasks hand their messages to the one that has the link.
async fn send_shared(job: &Job, mut link: Link, size: usize, senders: usize) -> Result<Tally> {
    let (queue, mut queued) = mpsc::channel(QUEUE);
    for _ in 0..senders {
        let (bodies, queue) = (Bodies::new(job, size), queue.clone());
        spawn_local(async move {
            for message in bodies {
                if queue.send(message).await.is_err() {
                    break;
                }
            }
        });
    }
    drop(queue);
    let mut batch = Vec::with_capacity(QUEUE);
    while queued.recv_many(&mut batch, QUEUE).await > 0 {
        for message in batch.drain(..) {
            link.feed(message).await?;
        }
        if queued.is_empty() {
            flush(&mut link).await?;
        }
    }
    flush(&mut link).await?;
    Ok(Tally::default())
}

/// Calls through an actor: a task writes, a task reads, and whoever calls waits on a oneshot.
#[derive(Clone)]
struct Client {
    calls: mpsc::Sender<Call>,
    body: Bytes,
}

struct Call {
    body: Bytes,
    reply: oneshot::Sender<Bytes>,
}

impl Client {
    fn new(link: Link, size: usize) -> Self {
        let (calls, called) = mpsc::channel(QUEUE);
        let (writer, reader) = link.split();
        let pending = Rc::new(RefCell::new(Pending::default()));
        spawn_local(write_calls(writer, called, Rc::clone(&pending)));
        spawn_local(read_replies(reader, pending));
        Self { calls, body: body(size).into() }
    }
}

impl Caller for Client {
    async fn call(&self) -> Result<()> {
        let (reply, replied) = oneshot::channel();
        self.calls.send(Call { body: self.body.clone(), reply }).await.ok().context("no writer")?;
        replied.await?;
        Ok(())
    }
}

/// Calls by id, which is a place in a list that is used again.
#[derive(Default)]
struct Pending {
    calls: Vec<Option<oneshot::Sender<Bytes>>>,
    free: Vec<usize>,
}

impl Pending {
    fn insert(&mut self, reply: oneshot::Sender<Bytes>) -> u64 {
        if let Some(id) = self.free.pop() {
            self.calls[id] = Some(reply);
            return id as u64;
        }
        self.calls.push(Some(reply));
        self.calls.len() as u64 - 1
    }

    fn take(&mut self, id: u64) -> Option<oneshot::Sender<Bytes>> {
        let id = usize::try_from(id).ok()?;
        let reply = self.calls.get_mut(id)?.take();
        self.free.push(id);
        reply
    }
}

async fn write_calls(
    mut writer: SplitSink<Link, Bytes>,
    mut called: mpsc::Receiver<Call>,
    pending: Rc<RefCell<Pending>>,
) -> Result<()> {
    let mut batch = Vec::with_capacity(QUEUE);
    while called.recv_many(&mut batch, QUEUE).await > 0 {
        for call in batch.drain(..) {
            let id = pending.borrow_mut().insert(call.reply);
            let mut message = BytesMut::with_capacity(8 + call.body.len());
            message.put_u64(id);
            message.put(call.body);
            writer.feed(message.freeze()).await?;
        }
        if called.is_empty() {
            writer.flush().await?;
        }
    }
    Ok(())
}

async fn read_replies(mut reader: SplitStream<Link>, pending: Rc<RefCell<Pending>>) -> Result<()> {
    while let Some(message) = reader.next().await {
        let mut message = message?.freeze();
        let id = message.get_u64();
        if let Some(reply) = pending.borrow_mut().take(id) {
            let _ = reply.send(message);
        }
    }
    Ok(())
}
