//! Streams of the program.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bowline_core::address::Address;
use bowline_driver::stream::{ByteStream, OwnStream, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Makes a stream for a link of any `AsyncRead` and `AsyncWrite` of tokio: a child process's standard input
/// and output (`tokio::io::join`), a serial line, an encrypted stream. `name` is the address that the link
/// reports for both sides.
///
/// A message counts as written once the stream has taken it; it is flushed after each write.
pub fn stream(stream: impl AsyncRead + AsyncWrite + Send + 'static, name: Address) -> Stream {
    Stream::Own(OwnStream::new(Polled(Box::pin(stream)), name))
}

struct Polled<S>(Pin<Box<S>>);

impl<S: AsyncRead + AsyncWrite + Send> ByteStream for Polled<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        self.0.as_mut().poll_read(cx, &mut buf).map_ok(|()| buf.filled().len())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write_vectored(cx, slices)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_shutdown(cx)
    }
}
