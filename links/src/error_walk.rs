//! Every error of this crate follows the rules for errors.

use std::io;
use std::sync::Arc;

use bowline_core::error::{CastError, CastRefusal, ConfigError, Full, Outcome, Undeliverable};
use bowline_driver::error::{BindError, ConnectError, RuntimeMissing};
use bowline_driver::{PeerId, StartError};
use bowline_error_rules::{check_delivery, walk};

use crate::batcher::OpenBatcherError;
use crate::{ManagerError, PushError};

fn casts() -> Vec<CastError> {
    let undelivered = |outcome| CastRefusal::Undelivered { outcome, reason: Undeliverable::Closed };
    let reasons = [
        CastRefusal::Full(Full::WriteQueue { bytes: 1, messages: 2 }),
        CastRefusal::Closed,
        CastRefusal::WouldPark,
        undelivered(Outcome::NeverSent),
        undelivered(Outcome::MaybeDelivered),
    ];
    reasons.into_iter().map(|reason| CastError::new(reason, None)).collect()
}

fn pushes() -> Vec<PushError> {
    [PushError::Gone(PeerId(3))].into_iter().chain(casts().into_iter().map(PushError::Cast)).collect()
}

fn config() -> ConfigError {
    ConfigError::Address("there.example".into())
}

fn managers() -> Vec<ManagerError> {
    let address = || "127.0.0.1:7001".to_owned();
    let mut errors = vec![
        ManagerError::AlreadyOpened(address()),
        ManagerError::NotOpened(address()),
        ManagerError::Config(config()),
        ManagerError::Connect(ConnectError::Closed),
        ManagerError::Bind(BindError::Io { address: address(), source: io::Error::from_raw_os_error(98) }),
    ];
    errors.extend(casts().into_iter().map(ManagerError::Cast));
    errors
}

#[test]
fn every_error_follows_the_rules() {
    walk!(PushError { Gone, Cast }, pushes());
    walk!(ManagerError { AlreadyOpened, NotOpened, Config, Connect, Bind, Cast }, managers());
    let thread = StartError::Thread(Arc::new(io::Error::from_raw_os_error(11)));
    walk!(
        OpenBatcherError { Config, Start },
        [
            OpenBatcherError::Config(config()),
            OpenBatcherError::Start(thread),
            OpenBatcherError::Start(StartError::Runtime(RuntimeMissing("tokio"))),
        ]
    );
}

#[test]
fn what_says_of_delivery_is_what_the_cast_says() {
    let maybe = |error: &CastError| error.outcome() == Outcome::MaybeDelivered;
    for error in pushes() {
        let is_maybe = matches!(&error, PushError::Cast(cast) if maybe(cast));
        check_delivery(&error, is_maybe, error.is_retryable());
    }
    for error in managers() {
        let is_maybe = matches!(&error, ManagerError::Cast(cast) if maybe(cast));
        check_delivery(&error, is_maybe, error.is_retryable());
    }
}
