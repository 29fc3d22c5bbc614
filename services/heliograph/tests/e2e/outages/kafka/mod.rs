//! Outages of ClickHouse, with each service as its own process: what stands before the store is the
//! test's.

mod bulkheads;
mod clickhouse;
