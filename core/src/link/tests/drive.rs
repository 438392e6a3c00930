//! The methods that a driver calls between a link's steps.

use super::*;

#[test]
fn a_link_says_whether_anybody_has_to_be_woken() {
    let mut pair = native();
    let link = &mut pair.a.link;
    let (_, mut tokens) = (link.take_wake(), Vec::new());
    link.take_tokens(&mut tokens);
    assert!(!link.has_wakes());
    let id = call(&mut pair.a, b"x", 7).unwrap();
    assert!(pair.a.link.has_wakes(), "there is something to write");
    assert!(pair.a.link.take_wake().any());
    assert!(!pair.a.link.has_wakes());
    pair.run(Instant::ZERO);
    assert!(pair.a.link.has_wakes(), "the caller has its reply");
    assert_eq!(pair.a.tokens(), [7]);
    let _ = pair.a.link.take_wake();
    assert!(!pair.a.link.has_wakes());
    assert!(pair.a.link.poll_reply(id, || 0).is_some());
    pair.a.link.supersede();
    assert!(pair.a.link.has_wakes(), "the connection has to end");
}

#[test]
fn answers_are_handed_over_early_once_there_is_a_pile_of_them() {
    let mut pair = native();
    pair.b.answer = false;
    let id = call(&mut pair.a, b"x", 1).unwrap();
    pair.run(Instant::ZERO);
    let End { link, reader, .. } = &mut pair.b;
    reader.answer(id.get(), (&[1; 1_000]).into()).unwrap();
    let mut access = &mut *link;
    assert!(!Link::flush_answers(reader, &mut access, 2_000), "less than a pile");
    assert_eq!(access.write_queue(), (0, 0), "and the reader keeps it back");
    assert!(Link::flush_answers(reader, &mut access, 1_000));
    assert_eq!(access.write_queue().0, 1);
}
