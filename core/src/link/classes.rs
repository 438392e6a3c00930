//! The two classes of applications' messages, and the cost of a message.

use crate::frame::Class;
use crate::frame::native::MESSAGE_COST;

/// The index of a class in arrays of normal and bulk.
pub(super) const fn lane(class: Class) -> usize {
    matches!(class, Class::Bulk) as usize
}

/// The classes of applications' messages, by index.
pub(super) const CLASSES: [Class; 2] = [Class::Normal, Class::Bulk];

/// The cost of a message with a frame of this length.
pub(super) const fn cost(frame: usize) -> u64 {
    frame as u64 + MESSAGE_COST
}

/// The index of the normal class.
pub(super) const NORMAL: usize = lane(Class::Normal);
