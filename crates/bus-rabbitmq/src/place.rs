//! Places in a stream as [`kernel::bus::log`] has them: one number that grows, in which it can be seen whether the stream still is
//! the one that it was.
//!
//! The broker does not say which stream it is that has a name, and a stream that was made anew begins with offset 0 again. So a place
//! has the id that its message was published under besides, and before the offset a count of how often the ids did not agree. And a message
//! may hold several events, so it has how many of them are done with.

use crate::fold::Spot;

const ID_BITS: u32 = 40;
const EVENTS_BITS: u32 = 16;
const COUNT_BITS: u32 = 56;
/// What is kept of an id.
pub(crate) const ID_MASK: u64 = (1 << ID_BITS) - 1;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

impl Spot {
    pub(crate) fn of(place: u128) -> Self {
        let part = |shift: u32, mask: u64| u64::try_from((place >> shift) & u128::from(mask)).unwrap_or(mask);
        Self {
            life: u16::try_from(place >> (ID_BITS + EVENTS_BITS + COUNT_BITS)).unwrap_or(u16::MAX),
            count: part(ID_BITS + EVENTS_BITS, COUNT_MASK),
            events: u16::try_from(part(ID_BITS, u64::from(u16::MAX))).unwrap_or(u16::MAX),
            id: part(0, ID_MASK),
        }
    }

    pub(crate) fn place(self) -> u128 {
        let life = u128::from(self.life) << (ID_BITS + EVENTS_BITS + COUNT_BITS);
        let count = u128::from(self.count & COUNT_MASK) << (ID_BITS + EVENTS_BITS);
        life | count | u128::from(self.events) << ID_BITS | u128::from(self.id & ID_MASK)
    }

    /// After so many events in the message with this offset.
    pub(crate) fn after(life: u16, offset: u64, events: u16, id: u64) -> Self {
        let (count, id) = ((offset + 1) & COUNT_MASK, id & ID_MASK);
        Self {
            life,
            count,
            events,
            id,
        }
    }

    /// The offset of the last message that was come to.
    pub(crate) fn offset(self) -> Option<u64> {
        self.count.checked_sub(1)
    }

    /// Before everything in a stream that is not this one's any more.
    pub(crate) fn anew(self) -> Self {
        Self {
            life: self.life.saturating_add(1),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_tells_what_it_was_made_of() {
        for spot in [
            Spot::default(),
            Spot::after(0, 0, 0, 0),
            Spot::after(3, 41, 5, 7),
            Spot::after(u16::MAX, (1 << 56) - 2, u16::MAX, u64::MAX),
        ] {
            assert_eq!(Spot::of(spot.place()), spot);
        }
        assert_eq!(Spot::after(3, 41, 5, 7).offset(), Some(41));
        assert_eq!(Spot::default().place(), 0);
    }

    #[test]
    fn places_grow_within_a_stream_and_from_one_to_the_next() {
        let spots = [
            Spot::default(),
            Spot::after(0, 0, 1, 9),
            Spot::after(0, 0, 2, 9),
            Spot::after(0, 1, 1, 2),
            Spot::after(0, u64::from(u32::MAX), 1, 1),
            Spot::after(0, 9, 1, 1).anew(),
            Spot::after(1, 0, 1, 0),
        ];
        assert!(spots.is_sorted_by_key(|spot| spot.place()) && spots.is_sorted());
    }
}
