pub mod grpc;
pub mod kafka;
