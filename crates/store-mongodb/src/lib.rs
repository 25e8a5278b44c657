//! The [`kernel::store::Store`] port on MongoDB: a database for each service, on a replica set.
