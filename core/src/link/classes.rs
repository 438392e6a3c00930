//! The two classes of users' messages, and what a message costs of the peer's credit.

use crate::frame::Class;
use crate::frame::native::MESSAGE_COST;

/// The place of a class in pairs of normal and bulk.
pub(super) const fn lane(class: Class) -> usize {
    matches!(class, Class::Bulk) as usize
}

/// The classes of users' messages, by place.
pub(super) const CLASSES: [Class; 2] = [Class::Normal, Class::Bulk];

/// What a whole message costs whose frame is so long.
pub(super) const fn cost(frame: usize) -> u64 {
    frame as u64 + MESSAGE_COST
}

/// The place of the normal class.
pub(super) const NORMAL: usize = lane(Class::Normal);
