//! Bowline's sockets with libzmq's; either side binds.

use std::time::Duration;

#[path = "../../../frame/mod.rs"]
#[macro_use]
mod frame;
#[path = "../../../frame/facade.rs"]
mod runtimes;

mod lifecycle;
mod matrix;
mod ours;
mod patterns;
mod refusals;
mod security;
mod unix;

use frame::done;

/// A message that has not arrived after this time never will.
pub(crate) const MESSAGE_LIMIT: Duration = Duration::from_secs(20);

/// A test that hangs ends after so long.
const LIMIT: Duration = Duration::from_secs(240);

/// Where sockets are bound: a free port, and a Unix socket of that name.
pub(crate) fn endpoints(name: &str) -> [String; 2] {
    let path = std::env::temp_dir().join(format!("bowline-libzmq-{}-{name}", std::process::id()));
    ["tcp://127.0.0.1:*".to_owned(), format!("ipc://{}", path.display())]
}

on_every_runtime! {
    matrix::every_pair_talks,
    matrix::every_pair_takes_long_messages,
    matrix::mechanisms_work_over_unix_sockets,
    lifecycle::their_binder_goes_under_load,
    lifecycle::our_binder_goes_under_load,
    lifecycle::connecting_sides_go_under_load,
    lifecycle::a_question_is_lost_with_their_answerer,
    lifecycle::a_quiet_connection_stays,
    lifecycle::a_full_receiver_does_not_seem_dead,
    patterns::topics_begin_and_end,
    patterns::many_topics_are_said,
    patterns::publishers_have_their_options,
    patterns::peers_are_numbered_probed_and_named,
    patterns::groups_begin_and_end,
    refusals::their_handler_refuses_us,
    refusals::we_have_the_wrong_server_key,
    refusals::mechanisms_have_to_be_the_same,
    refusals::a_mechanism_takes_a_client_and_a_server,
    refusals::we_refuse_them,
    refusals::their_keys_are_wrong,
    refusals::types_have_to_go_together,
    refusals::who_is_let_in_is_told,
    unix::credentials_are_refused_over_unix_sockets,
}

on_runtime!(
    once,
    bowline::tokio::Tokio,
    crate::frame::run::tokio,
    [matrix::every_pair_talks_with_every_mechanism,]
);
