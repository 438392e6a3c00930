//! First light.
use bowline::tokio::{Client, Server};

#[tokio::test]
async fn a_call_over_a_socket() {
    let server = Server::builder()
        .on_request(|request| async move { Ok(request.into_body()) })
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    server.start().unwrap();
    let client = Client::connect(&server.local_addr().to_string()).await.unwrap();
    for i in 0..1000_u32 {
        let reply = client.call(1, &i.to_be_bytes()).await.unwrap();
        assert_eq!(&reply[..], i.to_be_bytes());
    }
    assert!(client.close().await.is_empty());
    server.shutdown().await;
}

#[test]
fn a_call_from_a_thread() {
    use bowline::blocking::{Client, Server};
    let server = Server::builder().on_request(|request| Ok(request.into_body())).bind("127.0.0.1:0").unwrap();
    server.start().unwrap();
    let client = Client::connect(&server.local_addr().to_string()).unwrap();
    let start = std::time::Instant::now();
    for i in 0..1000_u32 {
        let reply = client.call(1, &i.to_be_bytes()).unwrap();
        assert_eq!(&reply[..], i.to_be_bytes());
    }
    eprintln!("{:?}", start.elapsed());
    assert!(client.close().is_empty());
    eprintln!("closed {:?}", start.elapsed());
    server.shutdown();
    eprintln!("shut {:?}", start.elapsed());
}

#[test]
fn a_call_on_smol() {
    use bowline::smol::{Client, Server};
    smol::block_on(async {
        let server = Server::builder()
            .on_request(|request| async move { Ok(request.into_body()) })
            .bind("127.0.0.1:0")
            .await
            .unwrap();
        server.start().unwrap();
        let client = Client::connect(&server.local_addr().to_string()).await.unwrap();
        assert_eq!(&client.call(1, b"x").await.unwrap()[..], b"x");
        assert!(client.close().await.is_empty());
        server.shutdown().await;
    });
}

#[test]
fn a_call_on_async_std() {
    use bowline::async_std::{Client, Server};
    async_std::task::block_on(async {
        let server = Server::builder()
            .on_request(|request| async move { Ok(request.into_body()) })
            .bind("127.0.0.1:0")
            .await
            .unwrap();
        server.start().unwrap();
        let client = Client::connect(&server.local_addr().to_string()).await.unwrap();
        assert_eq!(&client.call(1, b"x").await.unwrap()[..], b"x");
        assert!(client.close().await.is_empty());
        server.shutdown().await;
    });
}
