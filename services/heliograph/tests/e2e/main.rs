//! End to end: the real binary, real HTTP and gRPC, the embedded log and store.

mod config;
mod dead_letters;
mod docs;
mod doctor;
mod durable;
mod idle;
mod influx;
mod leaks;
mod loggers;
mod metrics;
mod oracle;
mod rebuild;
mod registry;
mod secrets;
mod separate;
mod spine;
mod support;
mod torture;
mod trace;
mod upload;
