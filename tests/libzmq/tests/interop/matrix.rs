//! Every pair of compatible types, with either side binding, over TCP and Unix sockets: messages of every
//! size and number of parts, in both directions.

use bowline::driver::runtime::Runtime;
use bowline::zmtp::{PipeId, Refusal, SocketEvent, SocketType};
use bowline_libzmq::{Context, Option as TheirOption, Socket as Theirs};
use bowline_zmtp::socket::SendError as Unsent;

use crate::endpoints;
use crate::ours::{Ours, Parts, open, theirs};
use crate::security::{EVERY, Secured, Security};

use SocketType::{
    Client, Dealer, Dish, Peer, Pub, Pull, Push, Radio, Rep, Req, Router, Server, Sub, XPub, XSub,
};

const SIZES: [usize; 6] = [0, 1, 255, 256, 8_192, 65_536];
const LARGE: usize = 8 << 20;

/// Messages of every size; of every number of parts where there may be several.
fn samples(single: bool, with_large: bool) -> Vec<Parts> {
    let mut samples = Vec::new();
    for (at, size) in SIZES.into_iter().chain(with_large.then_some(LARGE)).enumerate() {
        // Not 0 or 1: such a message from an XSUB is a subscription.
        let body = vec![b'a' + at as u8; size];
        samples.push(vec![body.clone()]);
        if !single && size < LARGE {
            samples.push(vec![b"head".to_vec(), body.clone()]);
            samples.push(vec![body, Vec::new(), b"tail".to_vec()]);
        }
    }
    samples
}

/// Two sockets that talk, and what each calls the other.
struct Talk<'a> {
    kinds: (SocketType, SocketType),
    ours: &'a dyn Ours,
    theirs: &'a Theirs,
    /// The routing id that Bowline's SERVER or PEER uses for libzmq's socket.
    their_id: Vec<u8>,
    /// The routing id that libzmq's SERVER or PEER uses for Bowline's socket.
    our_number: u32,
}

/// Whether a type has to write the delimiter that its peer expects.
fn delimits((one, other): (SocketType, SocketType)) -> bool {
    matches!((one, other), (Dealer | Router, Req | Rep))
}

impl Talk<'_> {
    fn swapped(&self) -> (SocketType, SocketType) {
        (self.kinds.1, self.kinds.0)
    }

    async fn we_send(&self, body: &[Vec<u8>]) {
        let mut parts = body.to_vec();
        if delimits(self.kinds) {
            parts.insert(0, Vec::new());
        }
        match self.kinds.0 {
            Router => parts.insert(0, b"them".to_vec()),
            Server | Peer => parts.insert(0, self.their_id.clone()),
            Radio => parts.insert(0, b"group".to_vec()),
            _ => {}
        }
        loop {
            match self.ours.send(parts).await {
                Ok(()) => return,
                // The peer is not there yet.
                Err(error) if matches!(error.reason(), Refusal::Socket(Unsent::Unroutable(_))) => {
                    parts = error.into_message().iter().map(|part| part.to_vec()).collect();
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                Err(error) => panic!("{:?}: {error}", self.kinds),
            }
        }
    }

    async fn we_receive(&mut self) -> Parts {
        let mut parts = self.ours.recv().await.unwrap_or_else(|error| panic!("{:?}: {error}", self.kinds));
        match self.kinds.0 {
            Router => assert_eq!(parts.remove(0), b"them"),
            Server | Peer => self.their_id = parts.remove(0),
            Dish => assert_eq!(parts.remove(0), b"group"),
            _ => {}
        }
        if delimits(self.kinds) {
            assert_eq!(parts.remove(0), b"");
        }
        parts
    }

    fn they_send(&self, body: &[Vec<u8>]) {
        let mut parts = body.to_vec();
        if delimits(self.swapped()) {
            parts.insert(0, Vec::new());
        }
        loop {
            let sent = match self.kinds.1 {
                Server | Peer => self.theirs.send_to(self.our_number, &parts[0]),
                Radio => self.theirs.send_in_group("group", &parts[0]),
                Router => {
                    let with_id: Vec<_> = std::iter::once(b"us".to_vec()).chain(parts.clone()).collect();
                    self.theirs.send(&with_id)
                }
                _ => self.theirs.send(&parts),
            };
            match sent {
                Ok(()) => return,
                // EHOSTUNREACH: the peer is not there yet.
                Err(error) if matches!(error.number, 113 | 65) => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                Err(error) => panic!("{:?}: {error}", self.kinds),
            }
        }
    }

    fn they_receive(&mut self) -> Parts {
        let failed = |error| -> ! { panic!("{:?}: {error}", self.kinds) };
        let mut parts = match self.kinds.1 {
            Server | Peer | Dish => {
                let received = self.theirs.recv_one("Socket-Type").unwrap_or_else(|error| failed(error));
                self.our_number = received.routing_id;
                assert_eq!(received.group, if self.kinds.1 == Dish { "group" } else { "" });
                vec![received.body]
            }
            _ => self.theirs.recv().unwrap_or_else(|error| failed(error)),
        };
        if self.kinds.1 == Router {
            assert_eq!(parts.remove(0), b"us");
        }
        if delimits(self.swapped()) {
            assert_eq!(parts.remove(0), b"");
        }
        parts
    }

    /// Subscriptions are where they have to be.
    async fn subscribe(&mut self) {
        match self.kinds.0 {
            Sub | XSub => self.ours.subscribe(b""),
            Dish => self.ours.subscribe(b"group"),
            Pub | XPub | Radio => {
                match self.kinds.1 {
                    Sub => self.theirs.set_bytes(TheirOption::Subscribe, b""),
                    Dish => self.theirs.join("group").expect("a group"),
                    _ => self.theirs.send(&[b"\x01"]).expect("there is room"),
                }
                while self.ours.subscriptions() == 0 {
                    // Their side sees to connections that it accepted when it is called, not before.
                    let _none = self.theirs.recv_within(1);
                }
                if self.kinds.0 == XPub {
                    assert_eq!(self.ours.recv().await.expect("a subscription"), [b"\x01"]);
                }
                return;
            }
            _ => return,
        }
        if self.kinds.1 == XPub {
            assert_eq!(self.theirs.recv().expect("a subscription"), [b"\x01"]);
            return;
        }
        // Their PUB and RADIO cannot say whom they know: the first thing that comes shows that they know us.
        let probe = [b"probe".to_vec()];
        loop {
            self.they_send(&probe);
            if self.ours.recv_within(std::time::Duration::from_millis(5)).await.is_ok() {
                break;
            }
        }
        self.they_send(&[b"last".to_vec()]);
        while self.we_receive().await != [b"last"] {}
    }

    async fn our_way(&mut self, samples: &[Parts]) {
        for sample in samples {
            self.we_send(sample).await;
            assert!(self.they_receive() == *sample, "{:?}: {:?} is another", self.kinds, sizes(sample));
        }
    }

    async fn their_way(&mut self, samples: &[Parts]) {
        for sample in samples {
            self.they_send(sample);
            assert!(self.we_receive().await == *sample, "{:?}: {:?} is another", self.kinds, sizes(sample));
        }
    }
}

fn sizes(parts: &[Vec<u8>]) -> Vec<usize> {
    parts.iter().map(Vec::len).collect()
}

/// The peer that our PEER has connected to.
async fn number_of_peer(ours: &dyn Ours) -> Vec<u8> {
    let up = |ours: &dyn Ours| -> Option<PipeId> {
        std::iter::from_fn(|| ours.take_event()).find_map(|event| match event {
            SocketEvent::PeerUp(peer, _) => Some(peer),
            _ => None,
        })
    };
    loop {
        if let Some(peer) = up(ours) {
            return ours.routing_id(peer).expect("it is there");
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Which sockets talk, and how.
struct Case<'a> {
    kinds: (SocketType, SocketType),
    endpoint: &'a str,
    we_bind: bool,
    security: Security,
    with_large: bool,
}

async fn talk<R: Runtime>(case: Case<'_>) {
    let Case { kinds, endpoint, we_bind, .. } = case;
    let (context, secured) = (Context::default(), Secured::new(case.security));
    let ours = open::<R>(kinds.0, |options| {
        let options = if kinds.0.says_identity() { options.routing_id("us") } else { options };
        secured.ours(options.max_message(LARGE + 64))
    });
    let theirs = context.socket(theirs(kinds.1));
    let _zap = secured.theirs(&context, &theirs);
    if matches!(kinds.1, Req | Dealer | Router) {
        theirs.set_bytes(TheirOption::RoutingId, b"them");
    }
    if kinds.1 == Router {
        theirs.set(TheirOption::RouterMandatory, 1);
    }
    let (mut their_id, mut our_number) = (Vec::new(), 0);
    if we_bind {
        let bound = ours.bind(endpoint);
        match kinds.1 {
            Peer => our_number = theirs.connect_peer(&bound).expect("an endpoint"),
            _ => theirs.connect(&bound).expect("an endpoint"),
        }
    } else {
        ours.connect(&theirs.bind(endpoint).expect("free"));
        if kinds.0 == Peer {
            their_id = number_of_peer(&*ours).await;
        }
    }
    let mut talk = Talk { kinds, ours: &*ours, theirs: &theirs, their_id, our_number };
    talk.subscribe().await;
    let single = kinds.0.is_single_part();
    let samples = samples(single, case.with_large);
    let (ours_first, theirs_first) = match kinds {
        (Req | Client, _) | (Dealer, Rep) => (true, false),
        (_, Req | Client) | (Rep, Dealer) => (false, true),
        (Peer, _) => (!we_bind, we_bind),
        _ => (false, false),
    };
    if ours_first || theirs_first {
        // Question by question.
        for sample in &samples {
            let sample = std::slice::from_ref(sample);
            if ours_first {
                talk.our_way(sample).await;
                talk.their_way(sample).await;
            } else {
                talk.their_way(sample).await;
                talk.our_way(sample).await;
            }
        }
    } else {
        if kinds.0.sends() && kinds.1.receives() && !matches!(kinds, (XSub, Pub)) {
            talk.our_way(&samples).await;
        }
        if kinds.1.sends() && kinds.0.receives() && !matches!(kinds, (Pub, XSub)) {
            talk.their_way(&samples).await;
        }
    }
    ours.close().await;
}

/// Every pair of ours and theirs, whichever side binds.
async fn every_pair<R: Runtime>(name: &str, security: Security, with_large: bool, only_tcp: bool) {
    let mut pairs = 0;
    for one in SocketType::ALL {
        for other in SocketType::ALL.into_iter().filter(|other| one.goes_with(*other)) {
            for endpoint in &endpoints(&format!("{name}-{one}-{other}"))[..if only_tcp { 1 } else { 2 }] {
                for we_bind in [false, true] {
                    talk::<R>(Case { kinds: (one, other), endpoint, we_bind, security, with_large }).await;
                }
            }
            pairs += 1;
        }
    }
    assert_eq!(pairs, 29);
}

/// The name of a runtime.
fn name_of<R: Runtime>() -> &'static str {
    std::any::type_name::<R>().rsplit("::").next().expect("a name")
}

pub(crate) async fn every_pair_talks<R: Runtime>() {
    every_pair::<R>(name_of::<R>(), Security::Null, false, false).await;
}

pub(crate) async fn every_pair_takes_long_messages<R: Runtime>() {
    every_pair::<R>(&format!("large-{}", name_of::<R>()), Security::Null, true, false).await;
}

pub(crate) async fn every_pair_talks_with_every_mechanism<R: Runtime>() {
    for security in EVERY {
        every_pair::<R>("secured", security, false, true).await;
    }
}

/// PLAIN and CURVE over Unix sockets, either side as the server, whichever side binds.
pub(crate) async fn mechanisms_work_over_unix_sockets<R: Runtime>() {
    for (one, other) in [(Push, Pull), (Req, Rep), (Dealer, Router), (Pub, Sub)] {
        for kinds in [(one, other), (other, one)] {
            let [_, endpoint] = endpoints(&format!("secured-{}-{one}-{other}", name_of::<R>()));
            for security in &EVERY[1..] {
                for we_bind in [false, true] {
                    let with_large = one == Dealer;
                    let endpoint = &endpoint;
                    talk::<R>(Case { kinds, endpoint, we_bind, security: *security, with_large }).await;
                }
            }
        }
    }
}
