//! The [`kernel::bus::Bus`] port on NATS JetStream.
