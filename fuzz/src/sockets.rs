//! Whole ZMTP sockets of every pairing over an unreliable network, with operations chosen by the input; uses
//! the model of `zmtp/tests/world`.

use std::cell::RefCell;
use std::rc::Rc;

use crate::Input;

#[path = "../../zmtp/tests/world/announced.rs"]
mod announced;
#[path = "../../zmtp/tests/world/exchanging.rs"]
mod exchanging;
#[path = "../../zmtp/tests/world/network.rs"]
mod network;
#[path = "../../zmtp/tests/world/operations.rs"]
mod operations;
#[path = "../../zmtp/tests/world/reference.rs"]
mod reference;
#[path = "../../zmtp/tests/world/security.rs"]
mod security;
#[path = "../../zmtp/tests/world/settling.rs"]
mod settling;

use operations::{Choices, Model, PAIRINGS};

/// Most operations of the programs and the network.
const MOST: usize = 150;

/// Sockets of the pairing that the first byte chooses: each message arrives whole, in order and once, or is
/// accounted for.
pub fn zmtp_socket_ops(data: &[u8]) {
    let mut input = Input(data);
    let kinds = PAIRINGS[usize::from(input.byte()) % PAIRINGS.len()];
    let seed = u64::from(input.byte());
    let input = Rc::new(RefCell::new(input));
    let choose = Rc::clone(&input);
    let choices = Choices(Box::new(move |bound| {
        let mut input = choose.borrow_mut();
        let high = if bound > 256 { u64::from(input.byte()) << 8 } else { 0 };
        (high | u64::from(input.byte())) % bound
    }));
    let mut model = Model::new(kinds, seed, choices);
    for _ in 0..MOST {
        if input.borrow().is_empty() {
            break;
        }
        model.step();
    }
    model.finish();
}
