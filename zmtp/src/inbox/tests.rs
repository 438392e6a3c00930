use super::*;
use proptest::prelude::*;

fn sizes(message: &Message) -> Vec<usize> {
    message.iter().map(|part| part.len()).collect()
}

#[test]
fn a_large_body_is_handed_over_and_not_copied() {
    let mut inbox = Inbox::new();
    let body = Bytes::from(alloc::vec![7; LARGE]);
    let mut staged = Staged::default();
    staged.push(true, b"head");
    staged.push_large(true, body.clone());
    staged.push(false, b"");
    inbox.append_staged(&mut staged);
    assert!(staged.is_empty());
    assert_eq!((inbox.messages(), inbox.bytes()), (1, 2 + 4 + 1 + LARGE + 2));
    let mut message = Message::new();
    assert!(inbox.pop_into(&mut message));
    assert_eq!(sizes(&message), [4, LARGE, 0]);
    assert_eq!(message[1].as_ptr(), body.as_ptr());
    assert_eq!((inbox.messages(), inbox.bytes()), (0, 0));
    assert!(!inbox.pop_into(&mut message) && message.len() == 3, "nothing is changed");
}

#[test]
fn what_one_holds_comes_behind_what_another_does() {
    let (mut one, mut two, mut message) = (Inbox::new(), Inbox::new(), Message::new());
    for size in [1, LARGE] {
        one.push([&alloc::vec![0; size][..]]);
        two.push([&alloc::vec![0; size + 1][..]]);
    }
    assert!(one.pop_into(&mut message), "the first chunk was read in part");
    one.append(&mut two);
    one.append(&mut Inbox::new());
    one.compact();
    assert_eq!(one.memory(), one.bytes());
    assert!(two.is_empty() && !two.pop_into(&mut message));
    let mut left = Vec::new();
    while one.pop_into(&mut message) {
        left.extend(sizes(&message));
    }
    assert_eq!(left, [LARGE, 2, LARGE + 1]);
    assert_eq!((one.messages(), one.bytes()), (0, 0));
}

#[test]
fn the_newest_of_each_first_part_stays_where_it_is() {
    let (mut inbox, mut message) = (Inbox::new(), Message::new());
    let large = alloc::vec![7; LARGE];
    for parts in [&[&b"a"[..], b"1"][..], &[b"b", &large], &[b"a", b"2", b""], &[b"c"], &[b"b", b"3"]] {
        inbox.push(parts.iter().copied());
    }
    assert_eq!(inbox.conflate(), 2);
    let mut left = Vec::new();
    while inbox.pop_into(&mut message) {
        left.push((message[0].to_vec(), message.len()));
    }
    assert_eq!(left, [(b"a".to_vec(), 3), (b"c".to_vec(), 1), (b"b".to_vec(), 2)]);
    assert_eq!((inbox.conflate(), inbox.bytes()), (0, 0));
}

#[test]
fn chunks_are_used_again() {
    let mut inbox = Inbox::new();
    let mut message = Message::new();
    for _ in 0..3 {
        for _ in 0..2000 {
            inbox.push([&[1; 100][..]]);
        }
        while inbox.pop_into(&mut message) {
            assert_eq!(sizes(&message), [100]);
        }
    }
    assert!(inbox.memory() <= (SPARE + 2) * CHUNK, "{}", inbox.memory());
    inbox.trim();
    assert_eq!(inbox.memory(), 0);
}

proptest! {
    #[test]
    fn messages_come_out_as_they_went_in(
        messages in proptest::collection::vec(
            proptest::collection::vec(prop_oneof![0_usize..300, LARGE - 1..LARGE + 2], 1..5), 0..40),
        takes in proptest::collection::vec(any::<bool>(), 80),
    ) {
        let (mut inbox, mut message) = (Inbox::new(), Message::new());
        let (mut pushed, mut popped) = (0, 0);
        for take in takes.into_iter().chain([true].into_iter().cycle()) {
            if !take && pushed < messages.len() {
                let parts: Vec<_> = messages[pushed].iter().map(|size| alloc::vec![3; *size]).collect();
                inbox.push(parts.iter().map(|part| &part[..]));
                pushed += 1;
            } else if inbox.pop_into(&mut message) {
                prop_assert_eq!(&sizes(&message), &messages[popped]);
                popped += 1;
            } else if take && popped == pushed {
                break;
            }
            prop_assert_eq!(inbox.messages(), pushed - popped);
        }
        prop_assert_eq!(inbox.bytes(), 0);
    }
}
