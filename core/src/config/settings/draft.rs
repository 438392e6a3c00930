//! A builder's values while settings are put into it: those that several keys make together are joined last.

use alloc::string::String;
use core::time::Duration;

use crate::config::{Delivery, OnFailure, Settings};
use crate::error::ConfigError;
use crate::supervisor::{Delay, ReconnectPolicy};

/// [`Delivery`] without its limit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Level {
    AtMostOnce,
    AtLeastOnce,
    Session,
}

/// [`OnFailure`] without its method.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failing {
    Silence,
    Disconnect,
    Answer,
}

/// How a [`ReconnectPolicy`] waits, without its times.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wait {
    Backoff,
    Fixed,
    Never,
}

#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) max_message: Option<usize>,
    pub(super) settings: Settings,
    pub(super) level: Option<Level>,
    pub(super) resends: Option<u32>,
    pub(super) failing: Option<Failing>,
    pub(super) failing_method: Option<u32>,
    pub(super) wait: Option<Wait>,
    pub(super) base: Option<Duration>,
    pub(super) cap: Option<Duration>,
    pub(super) delay: Option<Duration>,
    pub(super) no_proxy: Option<String>,
}

fn conflict(field: &'static str, why: &'static str) -> ConfigError {
    ConfigError::Conflict { field, why }
}

impl Draft {
    pub(super) fn new(max_message: Option<usize>, settings: Settings) -> Self {
        Self { max_message, settings, ..Self::default() }
    }

    /// Joins what belongs together.
    pub(super) fn finish(&mut self) -> Result<(), ConfigError> {
        self.settings.delivery = self.delivery()?;
        self.settings.on_failure = self.on_failure()?;
        self.settings.reconnect.delay = self.waiting()?;
        if let Some(targets) = self.no_proxy.take() {
            let Some(proxy) = self.settings.proxy.take() else {
                return Err(conflict("no_proxy", "there is no proxy"));
            };
            self.settings.proxy = Some(proxy.except(&targets)?);
        }
        Ok(())
    }

    fn delivery(&self) -> Result<Delivery, ConfigError> {
        let before = self.settings.delivery;
        let delivery = match (self.level, before) {
            (None, before) => before,
            (Some(Level::AtMostOnce), _) => Delivery::AtMostOnce,
            (Some(Level::Session), _) => Delivery::Session,
            (Some(Level::AtLeastOnce), Delivery::AtLeastOnce { .. }) => before,
            (Some(Level::AtLeastOnce), _) => Delivery::at_least_once(),
        };
        match (self.resends, delivery) {
            (None, delivery) => Ok(delivery),
            (Some(retry_limit), Delivery::AtLeastOnce { .. }) => Ok(Delivery::AtLeastOnce { retry_limit }),
            (Some(_), _) => Err(conflict("delivery_retry_limit", "is for the delivery at_least_once")),
        }
    }

    fn on_failure(&self) -> Result<OnFailure, ConfigError> {
        let before = match self.settings.on_failure {
            OnFailure::Answer { method } => Some(method),
            _ => None,
        };
        let answers = match self.failing {
            None => before.is_some(),
            Some(failing) => matches!(failing, Failing::Answer),
        };
        match (answers, self.failing_method.or(before)) {
            (true, Some(method)) => Ok(OnFailure::Answer { method }),
            (true, None) => Err(conflict("on_failure", "needs on_failure_method, the type of such answers")),
            (false, _) if self.failing_method.is_some() => {
                Err(conflict("on_failure_method", "is for the on_failure answer"))
            }
            (false, _) => Ok(match self.failing {
                None => self.settings.on_failure,
                Some(Failing::Disconnect) => OnFailure::Disconnect,
                Some(_) => OnFailure::Silence,
            }),
        }
    }

    fn waiting(&self) -> Result<Delay, ConfigError> {
        let before = self.settings.reconnect.delay;
        let delay = match (self.wait, before) {
            (None, before) => before,
            (Some(Wait::Never), _) => Delay::Never,
            (Some(Wait::Fixed), Delay::Fixed(_)) | (Some(Wait::Backoff), Delay::Backoff { .. }) => before,
            (Some(Wait::Backoff), _) => ReconnectPolicy::default().delay,
            (Some(Wait::Fixed), _) => match self.delay {
                Some(delay) => Delay::Fixed(delay),
                None => return Err(conflict("reconnect.policy", "needs reconnect.delay")),
            },
        };
        match delay {
            Delay::Backoff { base, cap } if self.delay.is_none() => {
                Ok(Delay::Backoff { base: self.base.unwrap_or(base), cap: self.cap.unwrap_or(cap) })
            }
            Delay::Fixed(delay) if self.base.is_none() && self.cap.is_none() => {
                Ok(Delay::Fixed(self.delay.unwrap_or(delay)))
            }
            Delay::Never if self.base.is_none() && self.cap.is_none() && self.delay.is_none() => {
                Ok(Delay::Never)
            }
            _ if self.delay.is_some() => Err(conflict("reconnect.delay", "is for the policy fixed")),
            _ if self.base.is_some() => Err(conflict("reconnect.base", "is for the policy backoff")),
            _ => Err(conflict("reconnect.cap", "is for the policy backoff")),
        }
    }
}
