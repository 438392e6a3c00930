//! A broker between clients on tokio and workers on threads: `cargo run --features zmtp --example zmq_broker`
//!
//! Clients (REQ) send requests to the broker's ROUTER; its DEALER distributes them among workers (REP).

use bowline::blocking::zmtp::{Dealer, Proxy, Rep, Router};
use bowline::tokio::zmtp::Req;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (front, back) = (Router::new(), Dealer::new());
    let (clients, workers) = (front.bind("tcp://127.0.0.1:*")?, back.bind("tcp://127.0.0.1:*")?);
    let proxy = Proxy::builder(&front, &back).start()?;

    let workers: Vec<_> = (1..=2)
        .map(|number| {
            let rep = Rep::new();
            rep.connect(&workers)?;
            let socket = rep.clone();
            let working = std::thread::spawn(move || {
                // Until the socket is closed.
                while let Ok(question) = socket.recv() {
                    let answer = format!("worker {number} read {:?}", String::from_utf8_lossy(&question[0]));
                    socket.send(answer).expect("it was asked");
                }
            });
            Ok((rep, working))
        })
        .collect::<Result<_, bowline::zmtp::ConnectError>>()?;

    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        for text in ["one", "two", "three", "four"] {
            let req = Req::new();
            req.connect(&clients)?;
            req.send(text).await?;
            println!("{}", String::from_utf8_lossy(&req.recv().await?[0]));
            req.close().await;
        }
        Ok::<_, Box<dyn std::error::Error>>(())
    })?;

    // It can be paused, resumed and stopped from anywhere.
    proxy.stop();
    let end = proxy.ended();
    println!("{} questions, {} answers", end.stats.forth.messages, end.stats.back.messages);
    assert_eq!((end.stats.forth.messages, end.stats.back.messages), (4, 4));
    for (rep, working) in workers {
        rep.close();
        working.join().map_err(|_| "a worker panicked")?;
    }
    Ok(())
}
