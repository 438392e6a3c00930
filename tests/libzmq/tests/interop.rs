//! Bowline's sockets against libzmq's, whichever side binds.

use std::future::Future;
use std::time::Duration;

use bowline::ReconnectPolicy;
use bowline::blocking::Threads;
use bowline::driver::runtime::Runtime;
use bowline::driver::style::{Style, Wait};
use bowline::smol::Smol;
use bowline::tokio::Tokio;
use bowline::zmtp::{Message, SocketEvent, kinds};
use bowline_libzmq::{Context, Kind, Option};
use bowline_zmtp_driver::Socket;

fn done<R: Runtime, Fut: Future>(waited: Wait<R, Fut>) -> impl Future<Output = Fut::Output> {
    R::Style::awaited::<Fut>(waited)
}

fn on_every_runtime(
    tokio: impl Future<Output = ()>,
    smol: impl Future<Output = ()>,
    threads: impl Future<Output = ()>,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(tokio);
    smol::block_on(smol);
    bowline::blocking::block_on(threads);
}

/// What is not there after so long never comes.
const LIMIT: Duration = Duration::from_secs(20);

const SIZES: [usize; 7] = [0, 1, 255, 256, 8_192, 65_536, 8 << 20];

fn parts(message: &Message) -> Vec<Vec<u8>> {
    message.iter().map(|part| part.to_vec()).collect()
}

/// A message of some size and number of parts, of 8 MiB at most.
fn sample(number: usize) -> Vec<Vec<u8>> {
    let beside = if number.is_multiple_of(3) { 0 } else { 4 };
    let size = SIZES[number % SIZES.len()].min((8 << 20) - beside);
    let body = vec![number as u8; size];
    match number % 3 {
        0 => vec![body],
        1 => vec![b"head".to_vec(), body],
        _ => vec![Vec::new(), body, b"tail".to_vec()],
    }
}

fn endpoints(name: &str) -> [String; 2] {
    let path = std::env::temp_dir().join(format!("bowline-libzmq-{}-{name}", std::process::id()));
    ["tcp://127.0.0.1:*".to_owned(), format!("ipc://{}", path.display())]
}

async fn ours_pushes<R: Runtime>(name: &str) {
    for endpoint in endpoints(name) {
        for we_bind in [false, true] {
            let (context, push) = (Context::default(), Socket::<R, kinds::Push>::new());
            let pull = context.socket(Kind::Pull);
            if we_bind {
                pull.connect(&push.bind(&endpoint).expect("free")).expect("an endpoint");
            } else {
                push.connect(&pull.bind(&endpoint).expect("free")).expect("an endpoint");
            }
            for number in 0..42 {
                done::<R, _>(push.send(sample(number))).await.expect("open");
                assert_eq!(pull.recv().expect("a message"), sample(number), "{endpoint}, {number}");
            }
            assert!(done::<R, _>(push.close()).await.is_empty());
        }
    }
}

#[test]
fn we_push_and_libzmq_pulls() {
    on_every_runtime(ours_pushes::<Tokio>("a"), ours_pushes::<Smol>("b"), ours_pushes::<Threads>("c"));
}

async fn ours_pulls<R: Runtime>(name: &str) {
    for endpoint in endpoints(name) {
        for we_bind in [false, true] {
            let (context, pull) = (Context::default(), Socket::<R, kinds::Pull>::new());
            let push = context.socket(Kind::Push);
            if we_bind {
                push.connect(&pull.bind(&endpoint).expect("free")).expect("an endpoint");
            } else {
                pull.connect(&push.bind(&endpoint).expect("free")).expect("an endpoint");
            }
            for number in 0..42 {
                push.send(&sample(number)).expect("there is room");
                let came = done::<R, _>(pull.recv_timeout(LIMIT)).await.expect("open");
                assert_eq!(parts(&came), sample(number), "{endpoint}, {number}");
            }
            done::<R, _>(pull.close()).await;
        }
    }
}

#[test]
fn libzmq_pushes_and_we_pull() {
    on_every_runtime(ours_pulls::<Tokio>("d"), ours_pulls::<Smol>("e"), ours_pulls::<Threads>("f"));
}

async fn ours_asks<R: Runtime>(name: &str) {
    for endpoint in endpoints(name) {
        for we_bind in [false, true] {
            let (context, req) = (Context::default(), Socket::<R, kinds::Req>::new());
            let rep = context.socket(Kind::Rep);
            if we_bind {
                rep.connect(&req.bind(&endpoint).expect("free")).expect("an endpoint");
            } else {
                req.connect(&rep.bind(&endpoint).expect("free")).expect("an endpoint");
            }
            for number in 0..42 {
                done::<R, _>(req.send(sample(number))).await.expect("its turn");
                let question = rep.recv().expect("a question");
                assert_eq!(question, sample(number), "{endpoint}, {number}");
                rep.send(&question).expect("its turn");
                let answer = done::<R, _>(req.recv_timeout(LIMIT)).await.expect("an answer");
                assert_eq!(parts(&answer), question);
            }
            done::<R, _>(req.close()).await;
        }
    }
}

#[test]
fn we_ask_and_libzmq_answers() {
    on_every_runtime(ours_asks::<Tokio>("g"), ours_asks::<Smol>("h"), ours_asks::<Threads>("i"));
}

async fn ours_answers<R: Runtime>(name: &str) {
    for endpoint in endpoints(name) {
        for we_bind in [false, true] {
            let (context, rep) = (Context::default(), Socket::<R, kinds::Rep>::new());
            let req = context.socket(Kind::Req);
            if we_bind {
                req.connect(&rep.bind(&endpoint).expect("free")).expect("an endpoint");
            } else {
                rep.connect(&req.bind(&endpoint).expect("free")).expect("an endpoint");
            }
            for number in 0..42 {
                req.send(&sample(number)).expect("its turn");
                let question = done::<R, _>(rep.recv_timeout(LIMIT)).await.expect("a question");
                assert_eq!(parts(&question), sample(number), "{endpoint}, {number}");
                done::<R, _>(rep.send(question)).await.expect("its turn");
                assert_eq!(req.recv().expect("an answer"), sample(number));
            }
            done::<R, _>(rep.close()).await;
        }
    }
}

#[test]
fn libzmq_asks_and_we_answer() {
    on_every_runtime(ours_answers::<Tokio>("j"), ours_answers::<Smol>("k"), ours_answers::<Threads>("l"));
}

/// The side that binds goes under load and comes back at the same port.
#[test]
fn libzmq_comes_back() {
    let push = Socket::<Threads, kinds::Push>::builder()
        .reconnect(ReconnectPolicy::fixed(Duration::from_millis(10)))
        .open()
        .expect("sound");
    let context = Context::default();
    let pull = context.socket(Kind::Pull);
    let bound = pull.bind("tcp://127.0.0.1:*").expect("free");
    push.connect(&bound).expect("an endpoint");
    let mut pull = Some(pull);
    for number in 0..5_u32 {
        push.send(&number.to_be_bytes()).expect("open");
        let came = pull.as_ref().expect("it is there").recv().expect("a message");
        assert_eq!(came, [number.to_be_bytes().to_vec()]);
        // The old one is closed before the new one binds.
        drop(pull.take());
        // What is written before its end is known may be lost with the connection.
        while !matches!(push.take_event(), Some(SocketEvent::PeerDown(..))) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let again = context.socket(Kind::Pull);
        let mut tries = 0;
        while let Err(error) = again.bind(&bound) {
            tries += 1;
            assert!(tries < 500, "{error}");
            std::thread::sleep(Duration::from_millis(10));
        }
        pull = Some(again);
    }
    push.close();
}

/// Every other pair of types, at work.
#[test]
fn the_other_types_talk_to_libzmq() {
    let context = Context::default();
    // Publishing, both ways.
    let theirs = context.socket(Kind::Sub);
    theirs.set_bytes(Option::Subscribe, b"a");
    let ours = Socket::<Threads, kinds::Pub>::new();
    theirs.connect(&ours.bind("tcp://127.0.0.1:*").expect("free")).expect("an endpoint");
    ours.wait_for_subscribers(1).expect("open");
    ours.send(["b", "not subscribed"]).expect("open");
    ours.send(["a1", "x"]).expect("open");
    assert_eq!(theirs.recv().expect("a message"), [b"a1".to_vec(), b"x".to_vec()]);
    ours.close();

    let theirs = context.socket(Kind::XPub);
    let ours = Socket::<Threads, kinds::Sub>::new();
    ours.connect(&theirs.bind("tcp://127.0.0.1:*").expect("free")).expect("an endpoint");
    ours.subscribe("topic");
    assert_eq!(theirs.recv().expect("a subscription"), [b"\x01topic".to_vec()]);
    theirs.send(&["topic", "x"]).expect("there is room");
    assert_eq!(parts(&ours.recv().expect("a message")), [b"topic".to_vec(), b"x".to_vec()]);
    assert!(ours.unsubscribe("topic"));
    assert_eq!(theirs.recv().expect("its end"), [b"\0topic".to_vec()]);
    ours.close();

    // DEALER and ROUTER, both ways, by name.
    let theirs = context.socket(Kind::Dealer);
    theirs.set_bytes(Option::RoutingId, b"them");
    let ours = Socket::<Threads, kinds::Router>::new();
    theirs.connect(&ours.bind("tcp://127.0.0.1:*").expect("free")).expect("an endpoint");
    theirs.send(&["", "question"]).expect("there is room");
    let came = ours.recv().expect("a message");
    assert_eq!(parts(&came), [b"them".to_vec(), Vec::new(), b"question".to_vec()]);
    ours.send(["them", "", "answer"]).expect("it is there");
    assert_eq!(theirs.recv().expect("an answer"), [Vec::new(), b"answer".to_vec()]);
    assert!(ours.send(["nobody", "x"]).is_err());
    ours.close();

    let theirs = context.socket(Kind::Router);
    let ours = Socket::<Threads, kinds::Dealer>::builder()
        .options(|options| options.routing_id("us"))
        .open()
        .expect("sound");
    ours.connect(&theirs.bind("tcp://127.0.0.1:*").expect("free")).expect("an endpoint");
    ours.send("question").expect("open");
    assert_eq!(theirs.recv().expect("a question"), [b"us".to_vec(), b"question".to_vec()]);
    theirs.send(&["us", "answer"]).expect("it is there");
    assert_eq!(parts(&ours.recv().expect("an answer")), [b"answer".to_vec()]);
    ours.close();

    // PAIR.
    let theirs = context.socket(Kind::Pair);
    let ours = Socket::<Threads, kinds::Pair>::new();
    ours.connect(&theirs.bind("tcp://127.0.0.1:*").expect("free")).expect("an endpoint");
    ours.send(["one", "two"]).expect("open");
    assert_eq!(theirs.recv().expect("a message"), [b"one".to_vec(), b"two".to_vec()]);
    theirs.send(&["back"]).expect("there is room");
    assert_eq!(parts(&ours.recv().expect("a message")), [b"back".to_vec()]);
    ours.close();
}

/// Heartbeats both ways keep a quiet connection.
#[test]
fn a_quiet_connection_stays() {
    let context = Context::default();
    let theirs = context.socket(Kind::Pull);
    theirs.set(Option::HeartbeatInterval, 20);
    theirs.set(Option::HeartbeatTimeout, 500);
    let ours = Socket::<Threads, kinds::Push>::new();
    ours.connect(&theirs.bind("tcp://127.0.0.1:*").expect("free")).expect("an endpoint");
    ours.send("first").expect("open");
    theirs.recv().expect("a message");
    std::thread::sleep(Duration::from_millis(1_200));
    let mut downs = 0;
    while let Some(event) = ours.take_event() {
        downs += usize::from(matches!(event, SocketEvent::PeerDown(..)));
    }
    assert_eq!(downs, 0, "it answered each ping");
    ours.send("last").expect("open");
    theirs.recv().expect("a message");
    ours.close();
}
