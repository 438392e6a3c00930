//! Both sides present certificates that were issued by one private authority: `cargo run --example mutual_tls
//! --features tls`

use bowline::blocking::{Client, Server};
use bowline::tls::{Certificates, Identity, TlsClient, TlsError, TlsServer};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The authority; in production its key is stored elsewhere.
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    let ca = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    let issue = |name: &str| -> Result<Identity, Box<dyn std::error::Error>> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([name.to_owned()])?.signed_by(&key, &issuer)?;
        Ok(Identity::from_pem(certificate.pem(), key.serialize_pem())?)
    };

    let serving =
        TlsServer::builder().identity(issue("localhost")?).client_roots(Certificates::from_pem(&ca)?);
    let serving = serving.build()?;
    let server = Server::builder()
        .tls(&serving)
        .on_request(|request| {
            let certificates = request.peer().secured().map_or(0, |secured| secured.certificates.len());
            Ok(format!("{certificates} certificate of yours"))
        })
        .bind("127.0.0.1:0")?;
    server.start()?;
    let address = format!("tls://localhost:{}", server.local_addr().port());

    let dialing =
        TlsClient::builder().roots(Certificates::from_pem(&ca)?).identity(issue("client-1")?).build()?;
    let client = Client::builder(&address).tls(&dialing).connect()?;
    println!("{}", String::from_utf8_lossy(&client.call(1, b"who am I?")?));

    // A renewed certificate: existing connections continue, new ones use it.
    let renewed =
        TlsServer::builder().identity(issue("localhost")?).client_roots(Certificates::from_pem(&ca)?);
    serving.replace(&renewed.build()?);
    println!("after the change: {}", String::from_utf8_lossy(&client.call(1, b"and now?")?));
    client.close();

    // A client without a certificate is refused.
    let nameless = TlsClient::builder().roots(Certificates::from_pem(&ca)?).build()?;
    let error = Client::builder(&address).tls(&nameless).connect().expect_err("it has none");
    println!("without one: {}", error.cause().and_then(TlsError::of).ok_or("it is an error of TLS")?);
    server.shutdown();
    Ok(())
}
