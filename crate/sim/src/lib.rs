//! The simulator: many [replicas](offprint_core::Replica) and their [primaries](offprint_core::Primary) in one process,
//! with a network and disks that do their worst. A seed is a whole run; the first violation ends it.
//!
//! A tour: [`world`] takes the steps and carries effects out, [`network`] and [`faults`] are what goes wrong, [`tab`]
//! is what an app sees, [`workload`] what it does, [`back_end`] is who has no replica, [`book`] and [`inspect`] are the oracles.

pub mod back_end;
pub mod book;
pub mod faults;
pub mod inspect;
pub mod network;
mod past;
pub mod random;
pub mod tab;
pub mod workload;
pub mod world;

pub use faults::{Fault, Faults};
pub use world::{Plan, Report, World};
