//! Every recording, split at every byte: the same frames.

use std::ops::Range;

use bowline_core::frame::{Framing, Meta, Step};
use bowline_forestbus::wire::CborRpc;

use crate::record::{all, frames};

/// A link's reader, as far as a framing sees it: the frames out of bytes that arrive in pieces.
#[derive(Default)]
struct Reading {
    framing: CborRpc,
    unread: Vec<u8>,
    frames: Vec<(Meta, Vec<u8>, Vec<u8>)>,
}

impl Reading {
    fn arrive(&mut self, piece: &[u8]) {
        self.unread.extend_from_slice(piece);
        loop {
            match self.framing.next_frame(&self.unread).unwrap() {
                Step::Need(need) => {
                    assert!(need > self.unread.len());
                    return;
                }
                Step::Frame { meta, extensions, body, consumed } => {
                    let part = |range: Range<usize>| self.unread[range].to_vec();
                    self.frames.push((meta, part(extensions), part(body)));
                    self.unread.drain(..consumed);
                }
            }
        }
    }
}

#[test]
fn frames_are_the_same_at_each_cut() {
    for record in ["cbor", "cbor_2015"].into_iter().flat_map(all) {
        for stream in [&record.request, &record.response] {
            if stream.len() > 4096 {
                continue;
            }
            let mut whole = Reading::default();
            whole.arrive(stream);
            assert_eq!(whole.frames.len(), frames(stream).0.len());
            for cut in 0..=stream.len() {
                let mut two = Reading::default();
                two.arrive(&stream[..cut]);
                two.arrive(&stream[cut..]);
                assert_eq!(two.frames, whole.frames, "{} at {cut}", record.name);
                assert!(two.unread.is_empty());
            }
        }
    }
}

#[test]
fn frames_are_the_same_byte_by_byte() {
    for record in ["cbor", "cbor_2015"].into_iter().flat_map(all) {
        for stream in [&record.request, &record.response] {
            let mut whole = Reading::default();
            whole.arrive(stream);
            let mut bytewise = Reading::default();
            stream.iter().for_each(|byte| bytewise.arrive(&[*byte]));
            assert_eq!(bytewise.frames, whole.frames, "{}", record.name);
            assert!(bytewise.unread.is_empty());
        }
    }
}

/// Where a frame ends is known when its last byte is there, and not before; each need is at most that.
#[test]
fn a_cut_frame_needs_no_more_than_it_has() {
    for record in all("cbor") {
        for frame in frames(&record.response).0 {
            let whole = &frame.whole;
            for cut in 0..whole.len().min(4096) {
                match CborRpc::new().next_frame(&whole[..cut]) {
                    Ok(Step::Need(need)) => assert!(need > cut && need <= whole.len(), "{}", record.name),
                    other => panic!("{} at {cut}: {other:?}", record.name),
                }
            }
        }
    }
}
