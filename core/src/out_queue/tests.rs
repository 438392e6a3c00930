use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::{Fate, OutMessage, OutQueue, QueueLimit};
use crate::arena::Batch;

fn bytes_of(batch: &Batch) -> Vec<u8> {
    let mut slices = [&[][..]; 64];
    let filled = batch.slices(&mut slices);
    slices[..filled].concat()
}

/// The numbers of the messages that the queue asked about.
fn numbers(queue: &mut OutQueue, batch: Batch) -> Vec<u64> {
    let mut left = Vec::new();
    queue.end_write(batch, |message| {
        assert_eq!(message.fate(), Fate::Left);
        left.push(message.number());
        false
    });
    left
}

#[test]
fn a_large_body_is_not_copied_and_parts_stay_in_order() {
    let mut queue = OutQueue::new();
    let bodies = [Bytes::from(vec![1; 20_000]), Bytes::from(vec![2; 30_000])];
    let len = queue.push(9, 4, |message| {
        message.put(b"ab");
        message.body(&bodies[0]);
        message.body(&bodies[1]);
        message.put(b"cd");
        message.body(b"short");
    });
    assert_eq!(len, 50_009);
    let batch = queue.begin_write(true).unwrap();
    let mut slices = [&[][..]; 8];
    assert_eq!(batch.slices(&mut slices), 4);
    assert_eq!(slices[0], b"ab");
    assert_eq!((slices[1].as_ptr(), slices[2].as_ptr()), (bodies[0].as_ptr(), bodies[1].as_ptr()));
    assert_eq!(slices[3], b"cdshort");
    assert_eq!((queue.messages(), queue.bytes()), (0, 0));
}

#[test]
fn a_message_that_does_not_come_about_leaves_no_trace() {
    let mut queue = OutQueue::new();
    queue.push_slice(1, b"one");
    let body = Bytes::from(vec![1; 20_000]);
    let failed = queue.try_push(2, 10, |message| {
        message.body(&body);
        message.put(b"more");
        message.body(&body);
        Err::<(), _>("no")
    });
    assert_eq!(failed, Err("no"));
    queue.push(3, 0, |_| {});
    queue.push_slice(4, b"four");
    assert_eq!((queue.messages(), queue.bytes()), (2, 7));
    let mut batch = queue.begin_write(true).unwrap();
    assert_eq!(bytes_of(&batch), b"onefour");
    batch.wrote(7);
    assert_eq!(numbers(&mut queue, batch), [1, 4]);
}

/// A caller writes the batch; the driver looks in the meantime, finds nothing, and sleeps.
#[test]
fn what_comes_after_a_caller_wrote_everything_wakes_the_driver() {
    let mut queue = OutQueue::new();
    queue.push_slice(1, b"one");
    assert!(queue.take_wake());
    let mut batch = queue.begin_write(true).unwrap();
    assert!(queue.begin_write(true).is_none(), "it is out");
    let len = bytes_of(&batch).len();
    batch.wrote(len);
    queue.end_write(batch, |_| false);
    queue.push_slice(2, b"two");
    assert!(queue.take_wake(), "nobody else would write it");
}

#[test]
fn what_belongs_to_the_connection_goes_first_and_goes_with_it() {
    let mut queue = OutQueue::new();
    queue.push_slice(1, b"message");
    queue.push_connection(b"greeting");
    let mut batch = queue.begin_write(false).unwrap();
    assert_eq!(bytes_of(&batch), b"greeting");
    batch.wrote(8);
    queue.end_write(batch, |_| panic!("it is no message"));
    assert!(queue.begin_write(false).is_none());
    queue.push_connection(b"heartbeat");
    queue.disconnect(None, |_| panic!("none was lent"));
    let batch = queue.begin_write(true).unwrap();
    assert_eq!(bytes_of(&batch), b"message");
}

#[test]
fn the_driver_is_woken_once_and_only_where_it_sleeps() {
    let mut queue = OutQueue::new();
    queue.push_slice(1, b"a");
    queue.push_slice(2, b"b");
    assert!(queue.take_wake());
    assert!(!queue.take_wake());
    let mut batch = queue.begin_write(true).unwrap();
    queue.push_slice(3, b"c");
    assert!(!queue.take_wake(), "it will ask again");
    batch.wrote(2);
    queue.end_write(batch, |_| false);
    assert!(queue.has_batch(true));
    let mut batch = queue.begin_write(true).unwrap();
    batch.wrote(1);
    queue.end_write(batch, |_| false);
    assert!(!queue.has_batch(true) && queue.begin_write(true).is_none());
    queue.push_slice(4, b"d");
    assert!(queue.take_wake());
}

#[test]
fn a_batch_that_comes_back_late_keeps_its_place() {
    let mut queue = OutQueue::new();
    queue.push_slice(1, b"one");
    queue.push_slice(2, b"two");
    let mut late = queue.begin_write(true).unwrap();
    late.wrote(4);
    queue.disconnect(None, |_| panic!("it is with its writer"));
    queue.push_slice(3, b"three");
    assert!(queue.begin_write(true).is_none(), "nothing overtakes it");
    queue.push_connection(b"hello");
    let batch = queue.begin_write(true).unwrap();
    assert_eq!(bytes_of(&batch), b"hello");
    let mut fates = Vec::new();
    queue.end_write(late, |message| {
        fates.push((message.number(), message.fate()));
        message.fate() != Fate::Left
    });
    assert_eq!(fates, [(1, Fate::Left), (2, Fate::InPart)]);
    let mut batch = batch;
    batch.wrote(5);
    queue.end_write(batch, |_| false);
    let mut rest = Vec::new();
    while let Some(mut batch) = queue.begin_write(true) {
        rest.extend(bytes_of(&batch));
        batch.wrote(batch.len());
        queue.end_write(batch, |_| false);
    }
    assert_eq!(rest, b"twothree");
}

#[test]
fn the_oldest_can_be_dropped_and_read_back() {
    let mut queue = OutQueue::new();
    let body = Bytes::from(vec![5; 16 * 1024]);
    queue.push(1, 2, |message: &mut OutMessage<'_>| {
        message.put(b"h1");
        message.body(&body);
    });
    queue.push_slice(2, b"h2");
    assert!(queue.is_full(&QueueLimit { messages: 2, bytes: usize::MAX }));
    assert!(queue.drop_oldest(|message| {
        assert_eq!((message.number(), message.fate()), (1, Fate::Waiting));
        assert_eq!(message.to_vec(), [b"h1", &body[..]].concat());
        assert_eq!(message.parts().nth(1).unwrap().as_ptr(), body.as_ptr());
    }));
    assert_eq!((queue.messages(), queue.bytes()), (1, 2));
    assert!(queue.drop_oldest(|message| assert_eq!(message.to_vec(), b"h2")));
    assert!(!queue.drop_oldest(|_| {}) && queue.is_empty());
}

/// Messages with their numbers.
type Messages = Vec<(u64, Vec<u8>)>;

/// The effect of an operation; numbers choose sizes.
#[derive(Clone, Debug)]
enum Op {
    Push(Vec<usize>),
    Lend,
    Write(usize),
    GiveBack,
    Disconnect { with_batch: bool, keep: u8 },
    Late(u8),
    Retain(u8),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let part = prop_oneof![0_usize..40, 16_000..20_000_usize];
    let op = prop_oneof![
        4 => prop::collection::vec(part, 1..5).prop_map(Op::Push),
        3 => Just(Op::Lend),
        3 => (0_usize..90_000).prop_map(Op::Write),
        3 => Just(Op::GiveBack),
        1 => (any::<bool>(), 0_u8..4).prop_map(|(with_batch, keep)| Op::Disconnect { with_batch, keep }),
        1 => (0_u8..4).prop_map(Op::Late),
        1 => (0_u8..4).prop_map(Op::Retain),
    ];
    prop::collection::vec(op, 1..80)
}

fn wanted(keep: u8, number: u64) -> bool {
    keep > 0 && number % 4 != u64::from(keep)
}

/// The parts of a message: some are owned, and kept by reference if they are large.
fn parts(number: u64, sizes: &[usize]) -> Vec<Vec<u8>> {
    let seed = (number % 250) as u8;
    sizes.iter().zip(0..).map(|(&size, at)| vec![seed.wrapping_add(at); size]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The queue compared with a plain list of messages: the same bytes are sent, and the same fates are
    /// reported.
    #[test]
    fn agrees_with_a_list(ops in ops()) {
        let mut queue = OutQueue::new();
        let mut model: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
        let mut out: Option<(Batch, Messages)> = None;
        let mut late: Option<(Batch, Messages)> = None;
        let mut returned: Option<Messages> = None;
        let mut number = 0;
        // The fates of the messages of a batch, and which of them are kept.
        fn judge(batch: &Batch, of: Messages, keep: u8) -> (Vec<(u64, Fate)>, Messages) {
            let mut end = 0;
            let fates = of.iter().map(|(number, bytes)| {
                let start = end;
                end += bytes.len();
                let fate = if end <= batch.written() {
                    Fate::Left
                } else if start < batch.written() {
                    Fate::InPart
                } else {
                    Fate::Unsent
                };
                (*number, fate)
            });
            (fates.collect(), of.into_iter().filter(|(number, _)| wanted(keep, *number)).collect())
        }
        for op in ops {
            match op {
                Op::Push(sizes) => {
                    number += 1;
                    let parts = parts(number, &sizes);
                    let whole = parts.concat();
                    queue.push(number, 40, |message| {
                        for (at, part) in parts.into_iter().enumerate() {
                            if at % 2 == 0 { message.body(part) } else { message.put(&part) }
                        }
                    });
                    if !whole.is_empty() {
                        model.push_back((number, whole));
                    }
                }
                Op::Lend if out.is_none() => {
                    let Some(batch) = queue.begin_write(true) else {
                        prop_assert!(late.is_some() || (model.is_empty() && returned.is_none()));
                        continue;
                    };
                    let of = returned.take().unwrap_or_else(|| {
                        let mut len = 0;
                        let mut of = Vec::new();
                        while len < batch.len() {
                            let message = model.pop_front().unwrap();
                            len += message.1.len();
                            of.push(message);
                        }
                        of
                    });
                    let all: Vec<u8> = of.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
                    prop_assert!(bytes_of(&batch) == all[batch.written()..]);
                    out = Some((batch, of));
                }
                Op::Write(n) => if let Some((batch, _)) = &mut out {
                    batch.wrote(n.min(batch.len() - batch.written()));
                },
                Op::GiveBack => if let Some((batch, of)) = out.take() {
                    let done = batch.is_done();
                    let (fates, _) = judge(&batch, of.clone(), 0);
                    let mut told = Vec::new();
                    queue.end_write(batch, |message| {
                        told.push((message.number(), message.fate()));
                        true
                    });
                    prop_assert_eq!(told, if done { fates } else { vec![] });
                    returned = (!done).then_some(of);
                },
                Op::Disconnect { with_batch, keep } => {
                    let mut told = Vec::new();
                    let (mut fates, mut kept, mut lent) = (vec![], vec![], None);
                    if let Some((batch, of)) = out.take() {
                        if with_batch || late.is_some() {
                            (fates, kept) = judge(&batch, of, keep);
                            lent = Some(batch);
                        } else {
                            late = Some((batch, of));
                        }
                    } else if let Some(of) = returned.take() {
                        // The number of written bytes is unknown here: only the numbers of messages are
                        // compared.
                        kept = of.iter().filter(|(number, _)| wanted(keep, *number)).cloned().collect();
                        fates = of.into_iter().map(|(number, _)| (number, Fate::Waiting)).collect();
                    }
                    queue.disconnect(lent, |message| {
                        told.push((message.number(), message.fate()));
                        wanted(keep, message.number())
                    });
                    let is_exact = fates.iter().all(|(_, fate)| *fate != Fate::Waiting);
                    if is_exact {
                        prop_assert_eq!(told, fates);
                    } else {
                        prop_assert!(told.iter().map(|(n, _)| n).eq(fates.iter().map(|(n, _)| n)));
                    }
                    kept.into_iter().rev().for_each(|message| model.push_front(message));
                }
                Op::Late(keep) => if let Some((batch, of)) = late.take() {
                    let (fates, kept) = judge(&batch, of, keep);
                    let mut told = Vec::new();
                    queue.end_write(batch, |message| {
                        told.push((message.number(), message.fate()));
                        wanted(keep, message.number())
                    });
                    prop_assert_eq!(told, fates);
                    kept.into_iter().rev().for_each(|message| model.push_front(message));
                },
                Op::Retain(keep) => {
                    let mut told = Vec::new();
                    queue.retain(|message| {
                        told.push((message.number(), message.to_vec()));
                        wanted(keep, message.number())
                    });
                    prop_assert!(told.iter().eq(model.iter()));
                    model.retain(|(number, _)| wanted(keep, *number));
                }
                Op::Lend => {}
            }
            prop_assert_eq!(queue.messages(), model.len());
            prop_assert_eq!(queue.bytes(), model.iter().map(|(_, bytes)| bytes.len()).sum::<usize>());
        }
    }
}
