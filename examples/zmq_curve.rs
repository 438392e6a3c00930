//! Encryption and authentication by keys: `cargo run --features curve --example zmq_curve`

use std::time::Duration;

use bowline::blocking::zmtp::{Pull, Push};
use bowline::zmtp::mechanism::Mechanism;
use bowline::zmtp::{generate_secret_key, z85};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (server, client, stranger) = (generate_secret_key()?, generate_secret_key()?, generate_secret_key()?);
    let (server_key, client_key) = (server.public_key(), client.public_key());
    println!("the server's public key: {}", z85::encode(&server_key)?);

    // A server must state which clients it accepts; it cannot be built otherwise.
    let pull = Pull::builder()
        .options(|options| {
            options.mechanism(Mechanism::CurveServer { secret_key: server }).allowed_keys([client_key])
        })
        .open()?;
    let endpoint = pull.bind("tcp://127.0.0.1:*")?;

    let with = |secret_key| {
        let mechanism = Mechanism::CurveClient { secret_key, server_key };
        Push::builder().options(|options| options.mechanism(mechanism)).open()
    };
    let push = with(client)?;
    push.connect_ready(&endpoint)?;
    push.send(["for your", "eyes only"])?;
    let message = pull.recv()?;
    println!("{} {}", String::from_utf8_lossy(&message[0]), String::from_utf8_lossy(&message[1]));

    // A client with an unknown key fails in the handshake.
    let other = with(stranger)?;
    other.connect(&endpoint)?;
    let refused = other.send_timeout("let me in", Duration::from_millis(200)).expect_err("it is not let in");
    println!("a stranger: {refused}");
    push.close();
    Ok(())
}
