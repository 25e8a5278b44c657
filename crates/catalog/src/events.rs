//! What happens in the catalogue.

use contracts::product::{Archived, Created, Updated};

contracts::events! {
    /// What happened to a product.
    pub enum Event {
        /// It joined the catalogue.
        public "product.created" 1 => Created(Created),
        /// It changed.
        public "product.updated" 1 => Updated(Updated),
        /// It left the catalogue.
        public "product.archived" 1 => Archived(Archived),
    }
}
