//! How many connections a listener has, so that someone hears of it when it can take no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The room that a listener has for connections.
pub struct Room {
    listener: &'static str,
    most: usize,
    taken: AtomicUsize,
    is_told: AtomicBool,
}

/// The room that a connection takes until this is dropped.
pub(super) struct Seat(Arc<Room>);

/// Whether there is something to be told.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// The last place was taken, which nobody was told yet.
    Full,
    None,
}

impl Room {
    /// Room for `most` connections.
    #[must_use]
    pub fn new(listener: &'static str, most: usize) -> Arc<Self> {
        let (taken, is_told) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { listener, most, taken, is_told })
    }

    pub(super) fn seat(self: &Arc<Self>) -> Seat {
        if self.take() == News::Full {
            let (listener, connections) = (self.listener, self.most);
            tracing::warn!(
                listener,
                connections,
                "all connections of a listener are taken: further ones wait until one is closed; \
                 limits.connections allows more"
            );
        }
        Seat(self.clone())
    }

    fn take(&self) -> News {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let is_news = taken >= self.most && !self.is_told.swap(true, Ordering::Relaxed);
        if is_news { News::Full } else { News::None }
    }

    /// It is told again only after half of them were free: who comes and goes fills no log.
    fn give_back(&self) {
        let taken = self.taken.fetch_sub(1, Ordering::Relaxed).saturating_sub(1);
        if taken <= self.most / 2 {
            self.is_told.store(false, Ordering::Relaxed);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_is_full_is_told_once_until_half_of_it_is_free() {
        let room = Room::new("internal", 4);
        let taken = |room: &Room| (0..4).map(|_| room.take()).collect::<Vec<_>>();
        assert_eq!(taken(&room), [News::None, News::None, News::None, News::Full]);
        room.give_back();
        assert_eq!(room.take(), News::None);
        room.give_back();
        room.give_back();
        assert_eq!([room.take(), room.take()], [News::None, News::Full]);
    }
}
