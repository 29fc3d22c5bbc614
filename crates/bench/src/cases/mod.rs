//! The cases, each in its own words about what is compared with what and why that is honest.

pub mod bulkheads;
pub mod freshness;
pub mod gateway;
pub mod inserts;
pub mod outage;
pub mod overload;
pub mod query;
pub mod recovery;
pub mod replay;
pub mod silence;
pub mod writer;
