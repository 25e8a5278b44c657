//! Where something is in a lane.

use kafka_protocol::records::NO_PARTITION_LEADER_EPOCH;

/// A place in a partition: where the next record is, and the epoch of the leader that wrote the one before. By that a broker
/// tells when records were lost that had been there, and others are in their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: i64,
    pub(super) epoch: i32,
}

impl Place {
    const EPOCH_BITS: u32 = u32::BITS;

    /// As a number that grows with the offset, and is 0 at the beginning.
    pub(super) fn number(self) -> u128 {
        let epoch = u32::try_from(self.epoch + 1).unwrap_or(0);
        (u128::try_from(self.offset).unwrap_or(0) << Self::EPOCH_BITS) | u128::from(epoch)
    }

    pub(super) fn from_number(number: u128) -> Self {
        let epoch = u32::try_from(number & u128::from(u32::MAX)).unwrap_or(0);
        Self {
            offset: i64::try_from(number >> Self::EPOCH_BITS).unwrap_or(i64::MAX),
            epoch: i32::try_from(epoch).map_or(NO_PARTITION_LEADER_EPOCH, |epoch| epoch - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_numbers_that_grow_with_the_offset() {
        let place = |offset, epoch| Place { offset, epoch };
        assert_eq!(place(0, -1).number(), 0);
        for it in [place(0, -1), place(0, 7), place(1, 0), place(i64::MAX, i32::MAX - 1)] {
            assert_eq!(Place::from_number(it.number()), it);
        }
        assert!(place(2, 0).number() > place(1, 9).number());
    }
}
