//! REQ and REP.

use std::time::Duration;

use bowline::ReconnectPolicy;
use bowline::driver::runtime::Runtime;
use bowline::zmtp::{ReceiveError, Refusal, SocketType, kinds};
use bowline_zmtp::socket::{RecvError, SendError as SocketSendError};
use bowline_zmtp_driver::Socket;

use crate::done;

type Req<R> = Socket<R, kinds::Req>;
type Rep<R> = Socket<R, kinds::Rep>;

const MS: Duration = Duration::from_millis(1);

pub(crate) async fn a_question_and_its_answer<R: Runtime>() {
    let (req, rep) = (Req::<R>::new(), Rep::<R>::new());
    let bound = rep.bind("tcp://127.0.0.1:*").expect("it is free");
    done::<R, _>(req.connect_ready(&bound)).await.expect("it listens");
    for number in 0..100_u32 {
        let question = number.to_be_bytes();
        done::<R, _>(req.send([&question[..], b"and more"])).await.expect("its turn");
        let asked = done::<R, _>(rep.recv()).await.expect("its turn");
        assert_eq!((&asked[0][..], &asked[1][..]), (&question[..], &b"and more"[..]));
        done::<R, _>(rep.send(&asked[0])).await.expect("its turn");
        let answer = done::<R, _>(req.recv()).await.expect("its turn");
        assert_eq!((answer.len(), &answer[0][..]), (1, &question[..]));
    }
    done::<R, _>(req.close()).await;
    done::<R, _>(rep.close()).await;
}

pub(crate) async fn the_turns_are_kept<R: Runtime>() {
    let (req, rep) = (Req::<R>::new(), Rep::<R>::new());
    let state = |kind| Refusal::Socket(SocketSendError::State(kind));
    assert_eq!(
        done::<R, _>(req.recv()).await,
        Err(ReceiveError::Socket(RecvError::State(SocketType::Req))),
        "nothing was asked"
    );
    let early = done::<R, _>(rep.send("nobody asked")).await.expect_err("nobody asked");
    assert_eq!(early.reason(), &state(SocketType::Rep));
    let bound = rep.bind("tcp://127.0.0.1:*").expect("it is free");
    done::<R, _>(req.connect_ready(&bound)).await.expect("it listens");
    done::<R, _>(req.send("first")).await.expect("its turn");
    let second = done::<R, _>(req.send("second")).await.expect_err("the first has no answer");
    assert_eq!(second.reason(), &state(SocketType::Req));
    assert_eq!(&done::<R, _>(rep.recv()).await.expect("a question")[0][..], b"first");
    assert_eq!(
        rep.try_recv(),
        Err(ReceiveError::Socket(RecvError::State(SocketType::Rep))),
        "the first has no answer"
    );
    done::<R, _>(rep.send("answer")).await.expect("its turn");
    assert_eq!(&done::<R, _>(req.recv()).await.expect("an answer")[0][..], b"answer");
    done::<R, _>(req.close()).await;
    done::<R, _>(rep.close()).await;
}

/// A peer disconnects after the request was sent: the REQ gets an error, and may ask again.
pub(crate) async fn a_lost_peer_is_told<R: Runtime>() {
    let req = Req::<R>::builder().reconnect(ReconnectPolicy::fixed(MS * 5)).open().expect("sound");
    let rep = Rep::<R>::builder().linger(Duration::ZERO).open().expect("sound");
    let bound = rep.bind("tcp://127.0.0.1:*").expect("it is free");
    done::<R, _>(req.connect_ready(&bound)).await.expect("it listens");
    done::<R, _>(req.send("first")).await.expect("its turn");
    done::<R, _>(rep.recv()).await.expect("a question");
    done::<R, _>(rep.close()).await;
    assert_eq!(done::<R, _>(req.recv()).await, Err(ReceiveError::Socket(RecvError::PeerLost)));
    let rep = Rep::<R>::new();
    while rep.bind(&bound).is_err() {
        done::<R, _>(rep.recv_timeout(MS * 10)).await.expect_err("nothing is there");
    }
    done::<R, _>(req.send("second")).await.expect("its turn");
    assert_eq!(&done::<R, _>(rep.recv()).await.expect("a question")[0][..], b"second");
    done::<R, _>(rep.send("answer")).await.expect("its turn");
    assert_eq!(&done::<R, _>(req.recv()).await.expect("an answer")[0][..], b"answer");
    done::<R, _>(req.close()).await;
    done::<R, _>(rep.close()).await;
}

/// A reply that was sent before its socket closed arrives, even if the requesting peer is gone by then.
pub(crate) async fn an_answer_outlives_its_socket<R: Runtime>() {
    let name = std::any::type_name::<R>();
    for round in 0..60 {
        let endpoint =
            if round % 2 == 0 { format!("inproc://{round}-{name}") } else { "tcp://127.0.0.1:*".to_owned() };
        let (req, rep) = (Req::<R>::new(), Rep::<R>::new());
        let bound = rep.bind(&endpoint).expect("it is free");
        done::<R, _>(req.connect_ready(&bound)).await.expect("it listens");
        done::<R, _>(req.send("question")).await.expect("its turn");
        done::<R, _>(rep.recv()).await.expect("a question");
        done::<R, _>(rep.send("answer")).await.expect("its turn");
        if round % 3 == 0 {
            done::<R, _>(rep.close()).await;
        } else {
            drop(rep);
        }
        let answer = done::<R, _>(req.recv()).await;
        assert_eq!(
            answer.map(|answer| answer[0].to_vec()),
            Ok(b"answer".to_vec()),
            "{endpoint}, round {round}"
        );
    }
}
