//! What happens in the warehouse. A SKU and a reservation each have a stream of their own.

use contracts::stock::{Rejected, Released, Reserved, Sold, Updated};

contracts::events! {
    /// What happened to what lies in the warehouse, other than by a sale. Stream: `sku:<SKU>`.
    pub enum StockEvent {
        /// Pieces came or went.
        public "inventory.updated" 1 => Updated(Updated),
    }
}

contracts::events! {
    /// What happened to the reservation of an order. Stream: the reservation's id.
    pub enum ReservationEvent {
        /// All lines were reserved.
        public "inventory.reserved" 1 => Reserved(Reserved),
        /// A line could not be reserved, and so none was.
        public "inventory.rejected" 1 => Rejected(Rejected),
        /// What was reserved or sold is available again.
        public "inventory.released" 1 => Released(Released),
        /// The reservation became a sale.
        public "inventory.sold" 1 => Sold(Sold),
    }
}
