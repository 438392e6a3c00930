//! buffstreams' listener, writer and manager, with its wire format:
//! `cargo run --example buffstreams_compat`
//!
//! | buffstreams | here |
//! |---|---|
//! | `TCPListenerConfig.Callback` | `on_message` |
//! | `ListenTCP` and `StartListening[Async]` | `bind`, then `serve` or `start` |
//! | `TCPWriter.Write` | `write`, or `cast` on the link |
//! | `Manager.Dial`, `.StartListening`, `.Write` | `dial`, `listen`, `write` |
//! | `ErrAlreadyOpened`, `ErrNotOpened` | `AlreadyOpened`, `NotOpened` |
//!
//! A write to a listener that is gone does not fail at once: the link reconnects until `cast_timeout` has
//! passed, and then the message is returned in the error. A client that receives pushes has to call
//! `receive`: unreceived messages wait in its read queue, and a full queue blocks the sender (or drops
//! messages, with `read_overflow`).

use std::sync::mpsc::channel;
use std::time::Duration;

use bowline::blocking::{Manager, Server};
use bowline::frame::buffstreams::Buffstreams;
use bowline::{Config, ManagerError, Overflow, ReconnectPolicy};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // MaxMessageSize: both sides must use the same value.
    let config = Config::with_framing(Buffstreams::new())
        .max_message(4096)
        .reconnect(ReconnectPolicy::fixed(Duration::from_millis(20)))
        .cast_timeout(Duration::from_millis(200))
        .read_overflow(Overflow::DropOldest)
        .build()?;
    let manager = Manager::with_defaults(config.clone());
    let (came, comes) = channel();
    let listener = Server::with_config(config.clone()).on_message(move |_, message| {
        // An error is counted and reported; the listener continues.
        came.send(message.to_vec()).map_err(|_| "nobody listens any more")
    });
    let server = manager.listen("127.0.0.1:0", listener)?;
    let address = server.local_addr().to_string();

    manager.dial(&address, config.clone())?;
    assert!(matches!(manager.dial(&address, config), Err(ManagerError::AlreadyOpened(_))));
    for text in ["a message", "and another"] {
        let bytes = manager.write(&address, text)?;
        println!("{bytes} bytes written, {:?} came", String::from_utf8(comes.recv()?)?);
    }
    // The client of the link receives pushes.
    let link = manager.client(&address).ok_or("it was dialed")?;
    let _ = server.broadcast(0, "a push");
    println!("{:?} came back", String::from_utf8(link.receive()?.to_vec())?);

    // After the listener is closed, a message that cannot be written is returned.
    manager.close_listener(&address)?;
    while link.is_open() {
        let _ = link.next_event_timeout(Duration::from_secs(1))?;
    }
    match manager.write(&address, "to nobody") {
        Err(ManagerError::Cast(error)) => {
            println!("{error}");
            println!("it is back: {:?}", error.into_body().map(|body| body.to_vec().len()));
        }
        other => println!("{other:?}"),
    }
    let closed = manager.close_and_wait(Duration::from_secs(1));
    println!("closed, {} undelivered", closed.undelivered.len());
    Ok(())
}
