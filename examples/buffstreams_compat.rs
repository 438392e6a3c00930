//! buffstreams' listener, writer and manager, with its wire format:
//! `cargo run --example buffstreams_compat`
//!
//! | buffstreams | here |
//! |---|---|
//! | `TCPListenerConfig.Callback` | `on_message`, inline |
//! | `ListenTCP` and `StartListening[Async]` | `bind`, then `serve` or `start` |
//! | `TCPWriter.Write` | `write`, or `cast` on the link |
//! | `Manager.Dial`, `.StartListening`, `.Write` | `dial`, `listen`, `write` |
//! | `ErrAlreadyOpened`, `ErrNotOpened` | `AlreadyOpened`, `NotOpened` |

use std::sync::mpsc::channel;
use std::time::Duration;

use bowline::blocking::{Manager, Server};
use bowline::frame::buffstreams::Buffstreams;
use bowline::{Config, ManagerError};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // MaxMessageSize: both sides have to have the same.
    let config = Config::with_framing(Buffstreams::new()).max_message(4096).build()?;
    let manager = Manager::with_defaults(config.clone());
    let (came, comes) = channel();
    let listener = Server::with_config(config.clone()).on_message(move |_, message| {
        // An error is counted and told; the listener goes on.
        came.send(message.body.to_vec()).map_err(|_| "nobody listens any more")
    });
    let server = manager.listen("127.0.0.1:0", listener)?;
    let address = server.local_addr().to_string();

    manager.dial(&address, config.clone())?;
    assert!(matches!(manager.dial(&address, config), Err(ManagerError::AlreadyOpened(_))));
    for text in ["a message", "and another"] {
        let bytes = manager.write(&address, text)?;
        println!("{bytes} bytes written, {:?} came", String::from_utf8(comes.recv()?)?);
    }
    let closed = manager.close_and_wait(Duration::from_secs(1));
    println!("closed, {} undelivered", closed.undelivered.len());
    Ok(())
}
