//! Every event that is public, of all services: what a consumer matches on.

use crate::{notification, order, payment, product, stock, user};

crate::events! {
    /// A public event of any service. Types that services invent for themselves, and custom events, are not in it.
    #[non_exhaustive]
    pub enum PublicEvent {
        /// An account was made.
        public "user.registered" 1 => UserRegistered(user::Registered),
        /// A profile or a role changed.
        public "user.updated" 1 => UserUpdated(user::Updated),
        /// Somebody signed in.
        public "user.logged_in" 1 => UserLoggedIn(user::LoggedIn),
        /// Somebody read an account. An access event: on live streams only.
        public "user.viewed" 1 => UserViewed(user::Viewed),
        /// An account was deleted, with all personal data.
        public "user.erased" 1 => UserErased(user::Erased),

        /// A product joined the catalogue.
        public "product.created" 1 => ProductCreated(product::Created),
        /// A product changed.
        public "product.updated" 1 => ProductUpdated(product::Updated),
        /// A product left the catalogue.
        public "product.archived" 1 => ProductArchived(product::Archived),

        /// What lies in the warehouse changed.
        public "inventory.updated" 1 => InventoryUpdated(stock::Updated),
        /// All lines of an order were reserved.
        public "inventory.reserved" 1 => InventoryReserved(stock::Reserved),
        /// An order could not be reserved; nothing was.
        public "inventory.rejected" 1 => InventoryRejected(stock::Rejected),
        /// What was reserved or sold is available again.
        public "inventory.released" 1 => InventoryReleased(stock::Released),
        /// A reservation became a sale.
        public "inventory.sold" 1 => InventorySold(stock::Sold),

        /// An order was placed.
        public "order.placed" 1 => OrderPlaced(order::Placed),
        /// Its stock is reserved; it can be paid.
        public "order.confirmed" 1 => OrderConfirmed(order::Confirmed),
        /// Its stock is not to be had.
        public "order.rejected" 1 => OrderRejected(order::Rejected),
        /// It was paid.
        public "order.paid" 1 => OrderPaid(order::Paid),
        /// It was cancelled.
        public "order.cancelled" 1 => OrderCancelled(order::Cancelled),
        /// It was not paid in time.
        public "order.expired" 1 => OrderExpired(order::Expired),
        /// It was delivered.
        public "order.fulfilled" 1 => OrderFulfilled(order::Fulfilled),
        /// All of its money was given back.
        public "order.refunded" 1 => OrderRefunded(order::Refunded),
        /// Its address or its metadata changed.
        public "order.updated" 1 => OrderUpdated(order::Updated),
        /// Somebody read it. An access event: on live streams only.
        public "order.viewed" 1 => OrderViewed(order::Viewed),

        /// A payment began.
        public "payment.initiated" 1 => PaymentInitiated(payment::Initiated),
        /// The provider holds the money ready.
        public "payment.authorized" 1 => PaymentAuthorized(payment::Authorized),
        /// The money was taken.
        public "payment.captured" 1 => PaymentCaptured(payment::Captured),
        /// The money could not be had.
        public "payment.failed" 1 => PaymentFailed(payment::Failed),
        /// The money that was held ready was let go.
        public "payment.voided" 1 => PaymentVoided(payment::Voided),
        /// Money was given back, all or a part.
        public "payment.refunded" 1 => PaymentRefunded(payment::Refunded),

        /// A message was sent.
        public "notification.sent" 1 => NotificationSent(notification::Sent),
        /// A message could not be sent.
        public "notification.failed" 1 => NotificationFailed(notification::Failed),
    }
}
