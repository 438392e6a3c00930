//! Every error of this crate follows the rules for errors.

use std::io;
use std::sync::Arc;

use bowline_core::address::Address;
use bowline_core::error::{ConfigError, TransportError, TransportKind};
use bowline_core::supervisor::DialFailure;
use bowline_driver::{BindError, RuntimeMissing, StartError};
use bowline_error_rules::{levels, walk};
use bowline_zmtp::endpoint::{Endpoint, EndpointError};
use bowline_zmtp::error::OptionError;
use bowline_zmtp::message::Message;
use bowline_zmtp::socket::{RecvError, SendError as SocketSendError};
use bowline_zmtp::socket_type::SocketType;

use crate::{
    ConnectError, OpenError, PollError, ProxyError, ReceiveError, Refusal, RegisterError, SendError,
    SendManyError,
};

fn refusals() -> [Refusal; 8] {
    [
        Refusal::Socket(SocketSendError::WouldBlock),
        Refusal::Socket(SocketSendError::Full),
        Refusal::Socket(SocketSendError::State(SocketType::Req)),
        Refusal::TimedOut,
        Refusal::Closed,
        Refusal::WouldPark,
        Refusal::ChannelFull,
        Refusal::ChannelClosed,
    ]
}

fn starts() -> [StartError; 2] {
    let system = io::Error::from_raw_os_error(11);
    [StartError::Runtime(RuntimeMissing("tokio")), StartError::Thread(Arc::new(system))]
}

fn options() -> OptionError {
    OptionError { field: "send_limit", value: 3, limit: 2 }
}

fn config() -> ConfigError {
    ConfigError::Conflict { field: "tls", why: "is not set, and the address begins with tls://" }
}

fn endpoint_error() -> EndpointError {
    "tcp://there.example".parse::<Endpoint>().expect_err("it has no port")
}

fn refused() -> DialFailure {
    let address: Address = "127.0.0.1:7001".parse().expect("an address");
    let cause = TransportError::new(TransportKind::Refused, "os error 111").at(address.clone());
    DialFailure::new(address.clone().into(), Some(address), cause.into())
}

fn connects() -> Vec<ConnectError> {
    let endpoint = || "tcp://127.0.0.1:7001".to_owned();
    let bind = |source| ConnectError::Bind { endpoint: endpoint(), source };
    let system = || io::Error::from_raw_os_error(98);
    let mut errors = vec![
        ConnectError::Endpoint(endpoint_error()),
        ConnectError::Open("tcp://*:7001".into()),
        ConnectError::Unsupported("ipc:///run/there.sock".into()),
        ConnectError::Option(options()),
        ConnectError::Config(config()),
        ConnectError::Unknown(endpoint()),
        bind(BindError::Config(config())),
        bind(BindError::Io { address: "127.0.0.1:7001".into(), source: system() }),
        ConnectError::Failed(Box::new(refused())),
        ConnectError::Closed,
        ConnectError::WouldPark,
    ];
    errors.extend(starts().map(|error| bind(BindError::from(error))));
    errors.extend(starts().map(ConnectError::Start));
    errors
}

#[test]
fn every_error_follows_the_rules() {
    walk!(Refusal { Socket, TimedOut, Closed, WouldPark, ChannelFull, ChannelClosed }, refusals());
    walk!(SendError, refusals().map(|why| SendError::new(why, Message::new())));
    walk!(SendManyError, refusals().map(|why| SendManyError::new(why, 3)));
    walk!(
        ReceiveError { Socket, TimedOut, Closed, WouldPark },
        [
            ReceiveError::Socket(RecvError::State(SocketType::Req)),
            ReceiveError::TimedOut,
            ReceiveError::Closed,
            ReceiveError::WouldPark,
        ]
    );
    let context = || "default".to_owned();
    walk!(
        OpenError { Option, Config, ShutDown, Sockets },
        [
            OpenError::Option(options()),
            OpenError::Config(config()),
            OpenError::ShutDown { context: context() },
            OpenError::Sockets { context: context(), value: 3, limit: 2 },
        ]
    );
    walk!(
        ConnectError {
            Endpoint,
            Open,
            Unsupported,
            Option,
            Config,
            Unknown,
            Bind,
            Failed,
            Closed,
            WouldPark,
            Start,
        },
        connects()
    );
    walk!(
        PollError { TimedOut, WouldPark, Empty },
        [PollError::TimedOut, PollError::WouldPark, PollError::Empty]
    );
    let mut proxies =
        vec![ProxyError::NoFlow(SocketType::Pub, SocketType::Push), ProxyError::TakesTurns(SocketType::Req)];
    proxies.extend(starts().map(ProxyError::Start));
    walk!(ProxyError { NoFlow, TakesTurns, Start }, proxies);
    let mut registers = vec![
        RegisterError::NoChannel(SocketType::Pub),
        RegisterError::NoIn(SocketType::Pull),
        RegisterError::NoOut(SocketType::Push),
        RegisterError::NeedsBoth(SocketType::Req),
    ];
    registers.extend(connects().into_iter().map(RegisterError::Configure));
    registers.extend(starts().map(RegisterError::Start));
    walk!(RegisterError { NoChannel, NoIn, NoOut, NeedsBoth, Configure, Start }, registers);
}

/// As the links' error does: which address, then why.
#[test]
fn a_failed_connect_names_the_address_first() {
    let levels = levels(&ConnectError::Failed(Box::new(refused())));
    assert_eq!(
        levels,
        ["could not connect to 127.0.0.1:7001", "127.0.0.1:7001 refused the connection", "os error 111"]
    );
}

/// What a message that was not sent says is its reason, which alone decides whether it is worth a retry.
#[test]
fn an_unsent_message_says_why() {
    for why in refusals() {
        let (one, many) = (SendError::new(why.clone(), Message::new()), SendManyError::new(why.clone(), 3));
        assert_eq!(one.to_string(), why.to_string());
        assert!(many.to_string().starts_with(&why.to_string()), "{many}");
        assert_eq!((one.is_retryable(), many.is_retryable()), (why.is_retryable(), why.is_retryable()));
    }
    assert!(!Refusal::WouldPark.is_retryable());
}
