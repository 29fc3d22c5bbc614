//! End to end: the real binaries, real HTTP and gRPC, the embedded store, and either log. Tests named
//! `kafka` need real brokers; the others run on the embedded log.

mod alerts;
mod config;
mod dead_letters;
mod docs;
mod doctor;
mod durable;
mod fleet;
mod idle;
mod influx;
mod loggers;
mod metrics;
mod oracle;
mod outages;
mod rebuild;
mod registry;
mod secrets;
mod separate;
mod spine;
mod support;
mod torture;
mod trace;
mod unguarded;
mod upload;
