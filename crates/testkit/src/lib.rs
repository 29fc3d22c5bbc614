//! What tests and benchmarks share: a running installation, real Kafka, what logs say.

pub mod faulty;
pub mod grpc;
pub mod installation;
pub mod kafka;
pub mod leaks;
pub mod logs;
pub mod proxy;
pub mod scripted;
