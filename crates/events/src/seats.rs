//! How many live streams there may be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use contracts::UserId;

use crate::Error;

/// Live streams of one process.
pub(crate) const STREAMS_MAX: usize = 10_000;
/// Live streams of one user: a few devices with a few windows each.
pub(crate) const STREAMS_PER_USER_MAX: usize = 32;

/// The places of a process.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_user: HashMap<UserId, usize>,
}

/// One place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    seats: Arc<Seats>,
    user: UserId,
}

impl Seats {
    pub(crate) fn take(self: &Arc<Self>, user: UserId) -> Result<Seat, Error> {
        let mut taken = self.taken();
        if taken.all >= STREAMS_MAX {
            return Err(Error::TooMany);
        }
        let of_user = taken.by_user.entry(user).or_default();
        if *of_user >= STREAMS_PER_USER_MAX {
            return Err(Error::TooManyOfOne);
        }
        *of_user += 1;
        taken.all += 1;
        Ok(Seat {
            seats: Arc::clone(self),
            user,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.all -= 1;
        if let Some(of_user) = taken.by_user.get_mut(&self.user) {
            *of_user -= 1;
            if *of_user == 0 {
                taken.by_user.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u128) -> UserId {
        UserId::from_uuid(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn a_user_has_so_many_places_and_gets_them_back() {
        let seats = Arc::new(Seats::default());
        let mut held: Vec<Seat> = (0..STREAMS_PER_USER_MAX)
            .map(|_| seats.take(user(1)).unwrap())
            .collect();
        assert!(matches!(seats.take(user(1)), Err(Error::TooManyOfOne)));
        assert!(seats.take(user(2)).is_ok());
        held.pop();
        assert!(seats.take(user(1)).is_ok());
        drop(held);
        assert!(seats.taken().by_user.is_empty());
    }

    #[test]
    fn all_users_together_have_so_many_places() {
        let seats = Arc::new(Seats::default());
        let held: Vec<Seat> = (0..STREAMS_MAX as u128)
            .map(|number| seats.take(user(number)).unwrap())
            .collect();
        assert!(matches!(seats.take(user(u128::MAX)), Err(Error::TooMany)));
        drop(held);
        assert!(seats.take(user(1)).is_ok());
    }
}
