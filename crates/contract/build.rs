//! Compiles `proto/` with protox, a protobuf compiler in Rust: no `protoc` is needed.

use std::{env, error::Error, fs, path::PathBuf};

const SECRET: [&str; 3] = ["PutSiteResponse", "RotateSiteTokenResponse", "CreateApiTokenResponse"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    let files = ["upload", "event", "snapshot", "query", "admin"]
        .map(|name| root.join(format!("heliograph/v1/{name}.proto")));
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(&files, [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("heliograph.v1.bin"), prost::Message::encode_to_vec(&descriptors))?;
    let grpc = env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(grpc)
        .build_server(grpc)
        .bytes(".")
        // They carry a token: src/secret.rs shows them without it.
        .skip_debug(SECRET.map(|message| format!(".heliograph.v1.{message}")))
        .compile_fds(descriptors)?;
    Ok(())
}
