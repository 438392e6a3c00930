//! ROUTER, SERVER and PEER: addressing peers by routing id.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bowline_core::body::Body;

use super::PipeId;
use crate::error::ZmtpError;
use crate::options::Options;
use crate::socket_type::SocketType;

/// The peers by routing id.
#[derive(Debug)]
pub(crate) struct Router {
    routes: BTreeMap<Vec<u8>, PipeId>,
    ids: BTreeMap<PipeId, Body>,
    /// The next generated id, for peers without one.
    next: u32,
    /// Whether this side assigns ids of 32 bits instead of using the peers' own.
    numbered: bool,
}

impl Router {
    pub(crate) fn new(kind: SocketType, seed: u32) -> Self {
        let numbered = matches!(kind, SocketType::Server | SocketType::Peer);
        Self { routes: BTreeMap::new(), ids: BTreeMap::new(), next: seed, numbered }
    }

    /// Adds a peer. Returns the pipe whose id it takes over, if there is one.
    pub(crate) fn add(
        &mut self,
        options: &Options,
        pipe: PipeId,
        chosen: Option<&[u8]>,
        theirs: &[u8],
    ) -> Result<Option<PipeId>, ZmtpError> {
        let id = match chosen.unwrap_or(theirs) {
            _ if self.numbered => self.make_id(),
            [] => self.make_id(),
            id => id.to_vec(),
        };
        let before = self.routes.get(&id).copied();
        if before.is_some() && !options.router_handover {
            return Err(ZmtpError::DuplicateRoutingId { length: id.len() });
        }
        if let Some(before) = before {
            self.ids.remove(&before);
        }
        self.ids.insert(pipe, Body::copy_from(&id));
        self.routes.insert(id, pipe);
        Ok(before)
    }

    /// Generates an unused id: 00 and four bytes, or four bytes that are not all zero.
    fn make_id(&mut self) -> Vec<u8> {
        loop {
            let number = self.next;
            self.next = self.next.wrapping_add(1);
            let mut id = Vec::with_capacity(5);
            if !self.numbered {
                id.push(0);
            }
            id.extend_from_slice(&number.to_be_bytes());
            let is_zero = self.numbered && number == 0;
            if !is_zero && !self.routes.contains_key(&id) {
                return id;
            }
        }
    }

    /// Removes a peer. Its id is free at once.
    pub(crate) fn remove(&mut self, pipe: PipeId) {
        if let Some(id) = self.ids.remove(&pipe) {
            self.routes.remove(id.as_slice());
        }
    }

    /// The pipe with that id.
    pub(crate) fn route(&self, id: &[u8]) -> Option<PipeId> {
        self.routes.get(id).copied()
    }

    /// The id of a peer.
    pub(crate) fn id_of(&self, pipe: PipeId) -> Option<&Body> {
        self.ids.get(&pipe)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(handover: bool) -> alloc::sync::Arc<Options> {
        Options::new(SocketType::Router).router_handover(handover).build().unwrap()
    }

    #[test]
    fn ids_are_the_peers_own_or_made_up_and_never_twice() {
        let mut router = Router::new(SocketType::Router, 5);
        let options = options(false);
        // A peer may have chosen the id that would be generated next.
        assert_eq!(router.add(&options, PipeId(1), None, b"\0\0\0\0\x05"), Ok(None));
        assert_eq!(router.add(&options, PipeId(2), None, b""), Ok(None));
        assert_eq!(router.id_of(PipeId(2)).unwrap().as_slice(), b"\0\0\0\0\x06");
        let duplicate = ZmtpError::DuplicateRoutingId { length: 5 };
        assert_eq!(router.add(&options, PipeId(3), None, b"\0\0\0\0\x06"), Err(duplicate));
        assert_eq!(router.id_of(PipeId(3)), None);
        router.remove(PipeId(3));
        assert_eq!(router.route(b"\0\0\0\0\x06"), Some(PipeId(2)), "the refused one took nothing along");
        router.remove(PipeId(2));
        assert_eq!(router.route(b"\0\0\0\0\x06"), None);
        assert_eq!(router.add(&options, PipeId(4), Some(b"chosen"), b"own"), Ok(None));
        assert_eq!((router.route(b"chosen"), router.route(b"own")), (Some(PipeId(4)), None));
    }

    #[test]
    fn an_id_is_taken_over_and_the_one_before_takes_nothing_along() {
        let mut router = Router::new(SocketType::Router, 0);
        let options = options(true);
        router.add(&options, PipeId(1), None, b"x").unwrap();
        assert_eq!(router.add(&options, PipeId(2), None, b"x"), Ok(Some(PipeId(1))));
        router.remove(PipeId(1));
        assert_eq!(router.route(b"x"), Some(PipeId(2)));
    }

    #[test]
    fn numbers_of_a_server_are_not_zero() {
        let mut server = Router::new(SocketType::Server, u32::MAX);
        let options = options(false);
        for (pipe, id) in [(1, [255; 4]), (2, [0, 0, 0, 1])] {
            server.add(&options, PipeId(pipe), None, b"ignored").unwrap();
            assert_eq!(server.id_of(PipeId(pipe)).unwrap().as_slice(), id);
        }
    }
}
