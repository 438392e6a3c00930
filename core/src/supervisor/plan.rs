//! The settings of a supervisor: its own, or those that many links share.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::time::Duration;

use super::ReconnectPolicy;
use crate::config::Settings;

#[derive(Clone, Debug)]
pub(super) enum Plan {
    Own(Box<OwnPlan>),
    Shared(Arc<Settings>),
}

#[derive(Clone, Debug)]
pub(super) struct OwnPlan {
    pub(super) policy: ReconnectPolicy,
    pub(super) connect_timeout: Duration,
    pub(super) attempt_delay: Duration,
}

impl Plan {
    pub(super) fn policy(&self) -> &ReconnectPolicy {
        match self {
            Self::Own(plan) => &plan.policy,
            Self::Shared(settings) => &settings.reconnect,
        }
    }

    /// The time limit for name resolution, dialing and handshake together.
    pub(super) fn connect_timeout(&self) -> Duration {
        match self {
            Self::Own(plan) => plan.connect_timeout,
            Self::Shared(settings) => settings.connect_timeout,
        }
    }

    /// The head start of one address over the next.
    pub(super) fn attempt_delay(&self) -> Duration {
        match self {
            Self::Own(plan) => plan.attempt_delay,
            Self::Shared(settings) => settings.attempt_delay,
        }
    }
}
