//! The memory of a reader and of its receive buffer.

use super::kept_messages::Parked;
use super::{LONG, Reader};
use crate::frame::Framing;
use crate::link::Link;
use crate::machine::Access;
use crate::recv_buf::RecvBuf;

impl<F: Framing> Reader<F> {
    /// Bytes of memory the reader holds besides the receive buffer.
    #[must_use]
    pub fn memory(&self) -> usize {
        let assemblies = self.assemblies.iter().flatten().map(|assembly| assembly.memory()).sum::<usize>();
        let parked = self.parked.iter().map(Parked::cost).sum::<u64>();
        assemblies + usize::try_from(parked).unwrap_or(usize::MAX)
    }

    /// Reports the memory for received bytes that are not in a message yet, and of the blocks that are kept.
    pub(super) fn count_buffer<T: Send + 'static>(&self, link: &mut Link<F, T>, buf: &RecvBuf) {
        let ahead = self.assemblies.iter().flatten().map(|assembly| assembly.ahead()).sum::<usize>();
        link.conn.reading.set_buffered(buf.capacity() + ahead);
        link.conn.reading.is_long = buf.is_longer_than(LONG);
    }

    /// Blocks that nothing holds are no reason to ask the server for more memory.
    #[inline]
    pub(super) fn spare_memory<T: Send + 'static>(&self, link: &mut Link<F, T>, buf: &mut RecvBuf) {
        if link.conn.reading.kept_blocks.is_some() && link.lacks_memory() {
            buf.free_whole();
            if !buf.has_whole() {
                link.count_blocks_apart();
            }
            self.count_buffer(link, buf);
        }
    }

    /// A deadline was due. Frees the memory of the receive buffer, if nothing is unread, and the blocks of assembled
    /// messages, if it is their time: those that messages hold are counted with the messages from now on.
    pub(in crate::link) fn release_memory<T: Send + 'static>(
        &self,
        access: &mut impl Access<Link<F, T>>,
        buf: &mut RecvBuf,
    ) {
        let before = buf.capacity();
        buf.release_if_empty();
        if !buf.has_whole() && buf.capacity() == before {
            return;
        }
        let link = access.machine();
        if link.frees_blocks() {
            buf.forget_whole();
            link.count_blocks_apart();
            if link.waits_for_memory() {
                // It may need to wait no longer.
                link.say_holding();
            }
        }
        self.count_buffer(link, buf);
        link.note_memory();
    }
}
