//! Streams of the program.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_core::address::Address;
use bowline_driver::stream::{ByteStream, OwnStream, Stream};
use futures_io::{AsyncRead, AsyncWrite};

/// Makes a stream for a link of any `AsyncRead` and `AsyncWrite` of the crate `futures`: a child process's
/// standard input and output, a serial line, an encrypted stream. `name` is the address that the link reports
/// for both sides.
///
/// Its `poll_close` has to end the writing side: that of smol's streams does; that of `async_io::Async` and
/// of async-std's streams does not.
/// `async_io::Async` and of async-std's streams does not.
///
/// A message counts as written once the stream has taken it; it is flushed after each write.
pub fn stream(stream: impl AsyncRead + AsyncWrite + Send + 'static, name: Address) -> Stream {
    Stream::Own(OwnStream::new(Polled(Box::pin(stream)), name))
}

struct Polled<S>(Pin<Box<S>>);

impl<S: AsyncRead + AsyncWrite + Send> ByteStream for Polled<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_read(cx, buf)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write_vectored(cx, slices)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_close(cx)
    }
}
