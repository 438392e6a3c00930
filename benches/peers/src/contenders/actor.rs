//! What most write by hand for calls on tokio: a task that writes what a channel brings, a task that
//! reads and completes a oneshot for each reply. Replies come in order, so a queue is the table.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::raw::{BLOCK, Frames, REPLY, REQUEST, block, encode};
use super::raw_tokio::{RawTokio, connect, on_tokio, on_tokio_threads};
use crate::callers::{self, Caller};
use crate::contender::{self, Contender, Ready, body};
use crate::job::{Job, Tally, Work};

pub fn all() -> Vec<Box<dyn Contender>> {
    vec![
        Box::new(Actor { name: "tokio actor by hand", threads: false }),
        Box::new(Actor { name: "tokio actor by hand, multi_thread", threads: true }),
    ]
}

struct Actor {
    name: &'static str,
    /// On the runtime `multi_thread`; else on `current_thread`.
    threads: bool,
}

impl Contender for Actor {
    fn name(&self) -> &'static str {
        self.name
    }

    fn blocks(&self, work: &Work) -> &'static [usize] {
        contender::blocks(work)
    }

    fn fits(&self, work: &Work) -> Result<(), &'static str> {
        match work {
            Work::Calls { .. } => Ok(()),
            Work::Paced { .. } if !self.threads => Ok(()),
            _ => Err("it makes calls"),
        }
    }

    fn serve(&self, job: &Job, ready: Ready) -> Result<Tally> {
        RawTokio::WAITS.serve(job, ready)
    }

    fn drive(&self, job: &Job, server: SocketAddr) -> Result<Tally> {
        let (job, time) = (job.clone(), Duration::from_secs_f64(job.seconds));
        let work = async move {
            let (size, in_flight, per_second) = match job.work {
                Work::Calls { size, in_flight } => (size, in_flight, 0.0),
                Work::Paced { size, per_second } => (size, 0, per_second),
                _ => return Ok(Tally::default()),
            };
            let (read, write) = connect(server).await?.into_split();
            let (requests, waiting) = mpsc::channel(8192);
            let (pending, answered) = mpsc::unbounded_channel();
            tokio::spawn(write_requests(write, waiting, pending, block(&job)));
            tokio::spawn(read_replies(read, answered, size));
            let caller = Handle { requests, message: body(size).into() };
            if in_flight > 0 {
                // Tasks of the runtime, as a program on it has them.
                callers::closed_loop_by(caller, in_flight, time, |caller, loops, nth| {
                    tokio::spawn(callers::call_in_a_loop(caller, loops, nth));
                })
                .await
            } else {
                callers::open_loop(caller, per_second, time, callers::spawn_tokio).await
            }
        };
        if self.threads { on_tokio_threads(work) } else { on_tokio(work) }
    }
}

struct Request {
    message: Arc<[u8]>,
    reply: oneshot::Sender<Vec<u8>>,
}

#[derive(Clone)]
struct Handle {
    requests: mpsc::Sender<Request>,
    message: Arc<[u8]>,
}

impl Caller for Handle {
    async fn call(&self) -> Result<()> {
        let (reply, answered) = oneshot::channel();
        let message = Arc::clone(&self.message);
        self.requests.send(Request { message, reply }).await.ok().context("the actor ended")?;
        std::hint::black_box(answered.await?);
        Ok(())
    }
}

async fn write_requests(
    mut stream: OwnedWriteHalf,
    mut requests: mpsc::Receiver<Request>,
    pending: mpsc::UnboundedSender<oneshot::Sender<Vec<u8>>>,
    block: usize,
) {
    let (mut batch, mut out) = (Vec::new(), Vec::with_capacity(BLOCK));
    while requests.recv_many(&mut batch, 512).await > 0 {
        for request in batch.drain(..) {
            encode(&mut out, REQUEST, 0, &request.message);
            let _ = pending.send(request.reply);
            if out.len() >= block {
                if stream.write_all(&out).await.is_err() {
                    return;
                }
                out.clear();
            }
        }
        if stream.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}

async fn read_replies(
    mut stream: OwnedReadHalf,
    mut answered: mpsc::UnboundedReceiver<oneshot::Sender<Vec<u8>>>,
    size: usize,
) {
    let (mut frames, mut waiting) = (Frames::new(size + REPLY), VecDeque::new());
    while let Ok(n @ 1..) = stream.read(frames.spare()).await {
        frames.filled(n);
        while let Ok(reply) = answered.try_recv() {
            waiting.push_back(reply);
        }
        while let Some(frame) = frames.next() {
            let reply: Option<oneshot::Sender<Vec<u8>>> = waiting.pop_front();
            if let Some(reply) = reply {
                let _ = reply.send(frame[REPLY - 4..].to_vec());
            }
        }
    }
}
