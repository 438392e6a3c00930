//! Sockets without system calls: in-process streams, and streams of the program. They are the same on every
//! runtime.

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use bowline_core::address::Address;
use bowline_core::config::SocketOptions;

use crate::inproc;
use crate::runtime::{Socket, Wire};
use crate::shared::WriteNow;
use crate::stream::OwnStream;

/// A connected stream without a descriptor.
#[derive(Debug)]
pub enum SoftSocket {
    /// Through memory.
    Memory(inproc::Stream),
    /// A stream of the program.
    Own(OwnStream),
}

impl WriteNow for SoftSocket {
    fn write_now(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Memory(stream) => stream.write_now(slices),
            Self::Own(stream) => stream.write_now(slices),
        }
    }
}

impl Wire for SoftSocket {
    fn read_now(&self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Memory(stream) => stream.read_now(buf),
            Self::Own(stream) => stream.read_now(buf),
        }
    }

    /// None of the options applies to them.
    fn apply(&self, _: &SocketOptions) -> io::Result<()> {
        Ok(())
    }

    fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Memory(stream) => {
                stream.shutdown_write();
                Ok(())
            }
            Self::Own(stream) => stream.shutdown_write(),
        }
    }

    fn peer_addr(&self) -> io::Result<Address> {
        match self {
            Self::Memory(stream) => Ok(stream.address()),
            Self::Own(stream) => Ok(stream.name()),
        }
    }

    fn local_addr(&self) -> io::Result<Address> {
        self.peer_addr()
    }
}

impl Socket for SoftSocket {
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Memory(stream) => ready_if(stream.poll_readable(cx.waker())),
            Self::Own(stream) => stream.poll_readable(cx.waker()),
        }
    }

    fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Memory(stream) => ready_if(stream.poll_writable(cx.waker())),
            Self::Own(stream) => stream.poll_writable(cx.waker()),
        }
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Memory(_) => Poll::Ready(Ok(())),
            Self::Own(stream) => stream.poll_flush(cx.waker()),
        }
    }
}

fn ready_if(ready: bool) -> Poll<io::Result<()>> {
    if ready { Poll::Ready(Ok(())) } else { Poll::Pending }
}
