//! A server with a self-signed certificate, and a client that trusts it: `cargo run --example tls --features
//! tls`

use bowline::tls::{Certificates, Identity, TlsClient, TlsError, TlsServer};
use bowline::tokio::{Client, Server};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Self-signed: a client that trusts it as a root trusts no other certificate.
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());

    let server = Server::builder()
        .tls(TlsServer::builder().identity(Identity::from_pem(&certificate, &key)?).build()?)
        .on_request(|request| async move { Ok(request.into_body()) })
        .bind("127.0.0.1:0")
        .await?;
    server.start()?;
    let address = format!("tls://localhost:{}", server.local_addr().port());

    let trusting = TlsClient::builder().roots(Certificates::from_pem(&certificate)?).build()?;
    let client = Client::builder(&address).tls(&trusting).connect().await?;
    println!("the answer: {}", String::from_utf8_lossy(&client.call(1, b"for nobody else").await?));
    let secured = client.secured().ok_or("it is secured")?;
    println!("{}, {} certificate", secured.version, secured.certificates.len());
    client.close().await;

    // The certificate is for a name, so that a connection by address fails.
    let error =
        Client::builder(server.local_addr()).tls(&trusting).connect().await.expect_err("another name");
    let why = error.cause().and_then(TlsError::of).ok_or("it is an error of TLS")?;
    println!("by its address: {why}; worth another try: {}", error.is_retryable());
    server.shutdown().await;
    Ok(())
}
