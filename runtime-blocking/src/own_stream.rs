//! Streams of the program, on threads.

use std::future::poll_fn;
use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;
use std::task::Poll;

use bowline_core::address::Address;
use bowline_driver::inproc;
use bowline_driver::stream::Stream;

use crate::waiting::block_on;

/// Bytes read at a time.
const PIECE: usize = 16 * 1024;

/// Makes a stream for a link of a blocking reader and a blocking writer: a child process's standard output
/// and input, a serial line. Two threads carry the bytes between them and the link. `name` is the address
/// that the link reports for both sides.
///
/// A message counts as written once the writing thread has taken it: up to 64 KiB may be on their way to the
/// writer then. The writer is flushed whenever nothing more waits, and dropped when the link has finished the
/// connection; the reading thread ends with the reader's end of file, or with its next byte.
///
/// # Errors
/// No thread could be started.
pub fn stream(
    reader: impl Read + Send + 'static,
    writer: impl Write + Send + 'static,
    name: Address,
) -> io::Result<Stream> {
    let (near, far) = inproc::pair(name);
    let far = Arc::new(far);
    let (incoming, outgoing) = (Arc::clone(&far), far);
    std::thread::Builder::new().name("bowline-in".into()).spawn(move || carry_in(reader, &incoming))?;
    std::thread::Builder::new().name("bowline-out".into()).spawn(move || carry_out(writer, &outgoing))?;
    Ok(Stream::Memory(near))
}

fn carry_in(mut reader: impl Read, link: &inproc::Stream) {
    let mut piece = vec![0; PIECE];
    loop {
        let mut rest = match reader.read(&mut piece) {
            Ok(n @ 1..) => &piece[..n],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(_) | Err(_) => return link.shutdown_write(),
        };
        while !rest.is_empty() {
            match link.write_now(&[IoSlice::new(rest)]) {
                Ok(n) => rest = &rest[n..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(|cx| link.poll_writable(cx.waker()))
                }
                // The link has finished the connection.
                Err(_) => return,
            }
        }
    }
}

fn carry_out(mut writer: impl Write, link: &inproc::Stream) {
    let mut piece = vec![0; PIECE];
    loop {
        let carried = match link.read_now(&mut piece) {
            Ok(n @ 1..) => writer.write_all(&piece[..n]),
            Ok(_) => {
                let _ = writer.flush();
                return;
            }
            Err(_) => writer.flush().map(|()| wait(|cx| link.poll_readable(cx.waker()))),
        };
        if carried.is_err() {
            // The stream accepts no more bytes: the link gets the end of the connection.
            return link.shutdown();
        }
    }
}

fn wait(is_ready: impl Fn(&mut std::task::Context<'_>) -> bool) {
    block_on(poll_fn(|cx| if is_ready(cx) { Poll::Ready(()) } else { Poll::Pending }));
}
