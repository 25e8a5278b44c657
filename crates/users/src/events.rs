//! What happens to accounts. All of it is public, and none of it is personal.

use contracts::user::{Erased, LoggedIn, Registered, Updated};

contracts::events! {
    /// What happened to an account.
    pub enum Event {
        /// It was made.
        public "user.registered" 1 => Registered(Registered),
        /// Its profile, its password or its role changed.
        public "user.updated" 1 => Updated(Updated),
        /// Its owner signed in.
        public "user.logged_in" 1 => LoggedIn(LoggedIn),
        /// It was deleted, with all personal data.
        public "user.erased" 1 => Erased(Erased),
    }
}
