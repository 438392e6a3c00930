//! The events of a server as a whole.

use bowline_driver::accept::{ServerEvent, tell};
use bowline_driver::gate::Gate;
use bowline_driver::sync::Arc;
use bowline_driver::workers::Aside;

use crate::handler::Handlers;

/// The program's function for events.
pub(crate) type OnEvent = Box<dyn Fn(&ServerEvent) + Send + Sync>;

/// At most this many events wait, where they are not reported directly.
const MOST_EVENTS: usize = 1024;

/// Passes the events of one server to the program.
pub(crate) struct ServerEvents {
    gate: Arc<Gate>,
    to: To,
}

/// The receiver of events.
enum To {
    Nobody,
    InPlace(OnEvent),
    Aside(Aside<ServerEvent>),
}

impl ServerEvents {
    pub(crate) fn new<F: bowline_core::frame::Framing>(
        gate: Arc<Gate>,
        on_event: Option<OnEvent>,
        handlers: &Handlers<F>,
    ) -> Arc<Self> {
        let to = match (on_event, handlers.workers_aside()) {
            (None, _) => To::Nobody,
            (Some(on_event), None) => To::InPlace(on_event),
            (Some(on_event), Some(workers)) => {
                To::Aside(Aside::new(workers, MOST_EVENTS, move |event| on_event(event)))
            }
        };
        Arc::new(Self { gate, to })
    }

    /// Passes the event to the program. `false`: too many wait.
    pub(crate) fn hand_over(&self, event: ServerEvent) -> bool {
        match &self.to {
            To::Nobody => true,
            To::InPlace(on_event) => {
                on_event(&event);
                true
            }
            To::Aside(aside) => aside.push(event),
        }
    }

    /// Reports an event that does not come from the door. Call this without a lock.
    pub(crate) fn tell(&self, event: ServerEvent) {
        tell(&self.gate, event, |event| self.hand_over(event));
    }
}
