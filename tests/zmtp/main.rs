//! ZeroMQ sockets on every runtime: one source for all of them.

use std::time::Duration;

#[path = "../frame/mod.rs"]
#[macro_use]
mod frame;
#[path = "../frame/facade.rs"]
mod runtimes;

#[path = "endpoints.rs"]
mod addresses;
mod behaviours;
mod channels;
mod contexts;
mod deciding;
mod halves;
mod inproc;
mod limits;
mod monitor;
mod pipelines;
mod proxies;
mod requests;
mod security;

use behaviours::{drafts, endpoints, publishing, raw, requests as asking, routing, sharing, spreading};
use frame::{aside, done};

/// A test that hangs ends after so long.
const LIMIT: Duration = Duration::from_secs(60);

on_every_runtime! {
    inproc::types_find_each_other,
    inproc::topics_and_groups,
    inproc::the_limits_of_both_sides_add_up,
    inproc::a_sender_waits_for_room,
    inproc::another_takes_the_name,
    inproc::who_does_not_fit_is_refused,
    inproc::what_was_sent_is_received_or_comes_back,
    inproc::what_waits_for_a_name_goes_first,
    inproc::two_runtimes_meet,
    inproc::many_at_a_time,
    pipelines::messages_arrive_once_and_in_order,
    pipelines::a_pusher_waits_for_room_and_for_a_peer,
    pipelines::pullers_share_the_work,
    pipelines::what_no_peer_got_comes_back,
    pipelines::the_binder_comes_back,
    pipelines::a_closed_socket_says_so,
    requests::a_question_and_its_answer,
    requests::the_turns_are_kept,
    requests::a_lost_peer_is_told,
    requests::an_answer_outlives_its_socket,
    security::names_and_passwords,
    security::keys,
    security::a_server_says_who_is_let_in,
    halves::halves_keep_their_socket_open,
    halves::halves_are_polled,
    halves::any_of_several_sockets,
    halves::readiness_follows_room_and_turns,
    halves::waiting_is_no_work,
    halves::a_new_endpoint_ends_the_wait,
    halves::closing_ends_the_wait_for_subscribers,
    channels::ping_and_pong,
    channels::what_a_type_has_no_use_for_is_refused,
    channels::a_socket_is_taken_as_it_is,
    channels::buffers_do_as_they_say,
    channels::closing_in_gives_messages_back,
    channels::closing_the_socket_releases_its_channels,
    channels::a_full_out_stalls_its_own_socket_only,
    channels::a_req_asks_one_at_a_time,
    channels::refused_messages_are_told,
    channels::the_last_answer_is_sent,
    channels::sockets_share_an_out,
    proxies::requests_go_through,
    proxies::a_proxy_reads_nothing_that_it_cannot_pass_on,
    proxies::a_proxy_ends_with_its_sockets,
    proxies::subscriptions_go_through,
    proxies::no_subscription_stays_behind_a_proxy,
    proxies::a_proxy_of_types_that_do_not_fit_is_refused,
    asking::a_req_asks_its_peers_in_turn,
    asking::a_req_listens_to_the_peer_that_it_asked,
    asking::a_req_waits_for_a_peer,
    asking::a_rep_takes_questions_in_turn,
    asking::an_envelope_comes_back_whole,
    asking::a_numbered_question_takes_its_own_reply,
    asking::a_relaxed_req_asks_again,
    routing::a_router_says_whom_it_cannot_reach,
    routing::an_id_is_handed_over,
    routing::a_probe_says_who_is_there,
    routing::a_router_names_whom_it_connects_to,
    routing::what_waits_for_a_peer_goes_with_it,
    routing::a_dealer_sends_in_turn,
    routing::peers_without_a_name_get_one,
    publishing::an_xpub_hears_of_subscriptions,
    publishing::an_xpub_subscribes_its_peers,
    publishing::a_publisher_may_fail_instead_of_dropping,
    publishing::a_slow_subscriber_is_left_out,
    publishing::a_subscriber_is_welcomed,
    publishing::matching_may_be_turned_round,
    spreading::a_forwarder_passes_both_ways,
    spreading::subscriptions_hold_for_all,
    spreading::only_the_newest_waits,
    spreading::a_late_receiver_has_the_newest,
    sharing::work_is_shared_and_taken_in_turn,
    sharing::nothing_waits_for_peers_that_are_not_there,
    sharing::a_pair_has_one_peer,
    sharing::a_message_over_the_limit_ends_its_connection,
    sharing::properties_are_told,
    sharing::many_sockets_work_side_by_side,
    endpoints::an_endpoint_is_said_with_its_port,
    endpoints::endpoints_are_given_up,
    endpoints::an_endpoint_has_one_binder,
    endpoints::connecting_may_come_first,
    endpoints::inproc_is_connected_again,
    endpoints::a_socket_has_many_places,
    drafts::a_server_answers_its_clients,
    drafts::a_dish_gets_what_its_groups_get,
    drafts::what_is_scattered_is_gathered,
    drafts::a_channel_has_one_peer,
    drafts::peers_know_each_other_by_number,
    raw::subscriptions_come_in_both_forms,
    raw::silent_peers_are_given_up,
    raw::other_protocols_are_turned_away,
    limits::what_all_peers_send_is_bounded,
    limits::the_memory_of_an_endpoint_is_shared,
    limits::a_message_that_does_not_come_is_not_waited_for,
    deciding::a_decision_may_take_its_time,
    deciding::only_so_many_are_decided_about_at_once,
    addresses::names_without_a_file,
    addresses::connections_come_from_the_source_that_was_said,
    addresses::wildcards_and_both_families,
    addresses::interfaces_stand_for_their_addresses,
    monitor::sockets_of_one_process_are_told_of,
    monitor::a_connection_is_told_from_its_begin_to_its_end,
    monitor::failed_attempts_say_why_and_when_the_next_is,
    monitor::a_failed_handshake_says_why,
    monitor::connections_beyond_the_limit_are_told,
    monitor::a_close_ends_every_wait,
    contexts::a_shutdown_ends_every_socket,
    contexts::no_socket_is_made_beyond_the_end_or_the_limit,
    contexts::what_closes_in_the_background_is_waited_for,
}

/// Methods that only tasks have, and methods that only threads have.
mod one_after_another {
    use smol::stream::StreamExt;

    use bowline::zmtp::Buffer;

    #[test]
    fn messages_are_a_stream_for_tasks() {
        use bowline::smol::zmtp::{Pull, Push, channel};

        smol::block_on(crate::frame::watchdog::within(crate::LIMIT, async {
            let (push, pull) = (Push::new(), Pull::new());
            let endpoint = pull.bind("tcp://127.0.0.1:*").expect("it is free");
            push.connect_ready(&endpoint).await.expect("it listens");
            for number in 0..10_u8 {
                push.send(vec![number]).await.expect("open");
            }
            let mut messages = pull.messages();
            for number in 0..10_u8 {
                assert_eq!(messages.next().await.expect("open").expect("a message")[0][..], [number]);
            }
            pull.close().await;
            assert!(messages.next().await.is_none());

            let (sender, mut receiver) = channel(Buffer::fixed(2));
            sender.send("one").await.expect("open");
            drop(sender);
            assert!(receiver.next().await.expect("one").is_ok() && receiver.next().await.is_none());
        }));
    }

    #[test]
    fn messages_are_an_iterator_on_threads() {
        use bowline::blocking::zmtp::{Pull, Push, channel};

        let (push, pull) = (Push::new(), Pull::new());
        let endpoint = pull.bind("tcp://127.0.0.1:*").expect("it is free");
        push.connect_ready(&endpoint).expect("it listens");
        for number in 0..10_u8 {
            push.send(vec![number]).expect("open");
        }
        let came: Vec<_> = pull.messages().take(10).map(|message| message.expect("open")[0][0]).collect();
        assert!(came.into_iter().eq(0..10));
        let messages = pull.messages();
        pull.close();
        assert_eq!(messages.count(), 0);

        let (sender, receiver) = channel(Buffer::fixed(2));
        sender.send("one").expect("open");
        drop(sender);
        assert_eq!(receiver.count(), 1);
    }

    /// A socket on tokio, behind channels that threads use; a proxy on threads between sockets of both.
    #[test]
    fn runtimes_share_channels_and_proxies() {
        use bowline::blocking::Threads;
        use bowline::blocking::zmtp::{Proxy, Router};
        use bowline::tokio::zmtp::{Dealer, Rep, Req, channel};

        let runtime = ::tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let entered = runtime.enter();
        let (front, back) = (Router::new(), Dealer::new());
        let [asked, answered] = [front.bind("tcp://127.0.0.1:*"), back.bind("inproc://runtimes-share")]
            .map(|bound| bound.expect("free"));
        let proxy = Proxy::builder(&front, &back).start().expect("they fit");
        let (sender, requests) = channel(Buffer::fixed(2));
        let (replies, receiver) = channel(Buffer::fixed(2));
        Req::register_new(|socket| socket.connect(&asked), requests, replies).expect("both channels");
        let (input, served) = channel(Buffer::fixed(2));
        let (questions, output) = channel(Buffer::fixed(2));
        Rep::register_new(|socket| socket.connect(&answered), served, questions).expect("both channels");
        drop(entered);
        let serving = std::thread::spawn(move || {
            let (input, output) = (input.on::<Threads>(), output.on::<Threads>());
            for question in output {
                input.pass_on(question.expect("a question")).expect("open");
            }
        });
        let (sender, mut receiver) = (sender.on::<Threads>(), receiver.on::<Threads>());
        for number in 0..20_u8 {
            sender.send(vec![number]).expect("open");
            assert_eq!(receiver.recv().expect("an answer")[0][..], [number]);
        }
        assert_eq!((proxy.stats().forth.messages, proxy.stats().back.messages), (20, 20));
        runtime.block_on(back.close());
        drop(runtime);
        serving.join().expect("its channel was closed");
    }
}
