//! Batchers as sequences of operations, against a model.

mod batcher_model;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Whatever is done in whatever order: every message has one outcome, in the order of sending, no bound is
    /// passed, and everybody who can go on is woken.
    #[test]
    fn a_batcher_is_as_its_model(input in prop::collection::vec(any::<u8>(), 8..600)) {
        batcher_model::run(&input);
    }
}
