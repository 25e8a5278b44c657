//! What the gateway promises, with services that only say what reached them.

mod admission;
mod answers;
mod bodies;
mod dead_letters;
mod fixture;
mod limits;
mod pages;
mod routing;
