//! Sockets behind channels and a proxy between them allocate nothing for a message of short parts: the
//! allocations for a batch (to wake each other) do not depend on the number of its messages.

use std::time::Duration;

use bowline::blocking::IoGroup;
use bowline::blocking::zmtp::{Proxy, Pull, Push, Receiver, Sender, channel};
use bowline::zmtp::Buffer;
use bowline_counting::{Counting, allocations};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of a batch that goes through, everything on this thread.
fn batch(group: &IoGroup, sender: &Sender, receiver: &mut Receiver, messages: u32) -> u64 {
    let before = allocations();
    let body = [7; 100];
    for _ in 0..messages {
        sender.try_send(&body).expect("there is room");
    }
    let mut came = 0;
    while came < messages {
        group.turn(Some(Duration::ZERO)).expect("it turns");
        while let Some(message) = receiver.try_recv().expect("open") {
            assert_eq!(message[0].len(), body.len());
            came += 1;
        }
    }
    allocations() - before
}

#[test]
fn messages_through_channels_and_a_proxy_allocate_nothing() {
    let group = IoGroup::manual().expect("descriptors");
    let entered = group.enter();
    let (push, pull) = (Push::new(), Pull::new());
    let (front, back) = (Pull::new(), Push::new());
    push.connect(&front.bind("inproc://zero-alloc-front").expect("it is free")).expect("it is bound");
    pull.connect(&back.bind("inproc://zero-alloc-back").expect("it is free")).expect("it is bound");
    let proxy = Proxy::builder(&front, &back).start().expect("they fit");
    let (sender, requests) = channel(Buffer::fixed(1_000));
    let (replies, mut receiver) = channel(Buffer::fixed(1_000));
    push.register(requests, None).expect("a PUSH sends");
    pull.register(None, replies).expect("a PULL receives");
    for _ in 0..10 {
        batch(&group, &sender, &mut receiver, 120);
    }
    let least = |messages: u32, receiver: &mut Receiver| {
        (0..20).map(|_| batch(&group, &sender, receiver, messages)).min().expect("some")
    };
    let (few, many) = (least(20, &mut receiver), least(120, &mut receiver));
    assert!(many <= few + 5, "{few} for 20 messages, {many} for 120");
    assert_eq!(proxy.stats().forth.messages, 10 * 120 + 20 * 140);
    drop(entered);
}
