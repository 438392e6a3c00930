//! A custom framing: lines of text, driven by a tokio server and a blocking client alike.

use bowline::Config;
use bowline::error::{ConfigError, EncodeError, FrameError};
use bowline::frame::{Framing, Meta, Profile, Step};

/// Lines of text, one message each. The line break is not part of the message.
#[derive(Clone, Debug)]
struct Lines {
    max: usize,
    /// Number of unread bytes that were searched for a line break.
    searched: usize,
}

impl Lines {
    fn new() -> Self {
        Self { max: 1000, searched: 0 }
    }
}

impl Framing for Lines {
    fn profile(&self) -> Profile {
        Profile::messages("lines")
    }

    fn max_message(&self) -> usize {
        self.max
    }

    fn set_max_message(&mut self, bytes: usize) -> Result<(), ConfigError> {
        self.max = bytes;
        Ok(())
    }

    fn next_frame(&mut self, unread: &[u8]) -> Result<Step, FrameError> {
        let found = unread[self.searched..].iter().position(|&byte| byte == b'\n');
        match found.map(|at| at + self.searched) {
            Some(end) if end <= self.max => {
                self.searched = 0;
                Ok(Step::Frame { meta: Meta::default(), extensions: 0..0, body: 0..end, consumed: end + 1 })
            }
            None if unread.len() <= self.max => {
                self.searched = unread.len();
                Ok(Step::Need(unread.len() + 1))
            }
            _ => {
                let (value, limit) = (unread.len() as u64, self.max as u64);
                Err(FrameError::TooLong { field: "line", value, limit })
            }
        }
    }

    fn begin(&self, out: &mut Vec<u8>, meta: &Meta, extensions: &[u8]) -> Result<usize, EncodeError> {
        // A line cannot carry a method, an id or extensions: using them is an error.
        meta.check_plain(extensions)?;
        Ok(out.len())
    }

    fn finish(&self, out: &mut Vec<u8>, mark: usize, _: usize) -> Result<(), EncodeError> {
        if out[mark..].contains(&b'\n') {
            out.truncate(mark);
            return Err(EncodeError::Unsupported { what: "a line break inside of a line" });
        }
        out.push(b'\n');
        Ok(())
    }
}

#[::tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::with_framing(Lines::new()).build()?;
    let server = bowline::tokio::Server::with_config(config.clone())
        .on_message_inline(|context, line| {
            let answer = line.body.to_ascii_uppercase();
            if let Err(refused) = context.try_cast(0, answer) {
                eprintln!("no room for an answer: {refused}");
            }
        })
        .bind("127.0.0.1:0")
        .await?;
    server.start()?;

    let address = server.local_addr().to_string();
    let talk = move || -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let client = bowline::blocking::Client::with_config(&address, config).connect()?;
        for line in ["a framing of one's own", "on every runtime"] {
            let queued = client.cast(0, line)?;
            let answer = client.receive()?;
            println!("line {}: {}", queued.number, String::from_utf8_lossy(&answer));
        }
        client.close();
        Ok(())
    };
    ::tokio::task::spawn_blocking(talk).await?.map_err(|error| error.to_string())?;
    server.shutdown().await;
    Ok(())
}
