//! Batchers as sequences of operations, against a model.

#[path = "../../core/tests/batcher_model/mod.rs"]
mod batcher_model;

/// A batcher and its model carry out the operations of the input.
pub fn batcher_ops(data: &[u8]) {
    batcher_model::run(data);
}
